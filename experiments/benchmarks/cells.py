"""How the tables of the benchmarks write what they found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def figure_cell(row: Mapping[str, Any], name: str, *, runs: int, form: str = ".4f") -> str:
    """A metric of a row, ± its standard deviation over ``runs``; one run tells nothing of how much they differ.

    Args:
        row: Has ``metrics`` and ``sd``; a metric that it lacks is an empty cell.
        runs: Seeds, shops or campaigns behind the mean.
        form: Of the mean and of the deviation.
    """
    if name not in row["metrics"]:
        return ""
    mean = format(row["metrics"][name], form)
    return f"{mean} ±{row['sd'][name]:{form}}" if runs > 1 else mean


def lift_cell(lift: Mapping[str, float] | None) -> str:
    """A difference with its interval; empty where there is none."""
    return "" if lift is None else f"{lift['difference']:+.4f} [{lift['low']:+.4f}, {lift['high']:+.4f}]"


__all__ = ["figure_cell", "lift_cell"]
