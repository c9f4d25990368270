"""The results of published benchmarks as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from experiments.benchmarks.cells import figure_cell


def render(result: dict[str, Any], shown: Sequence[str]) -> Table:
    """One line per model with the metrics ``shown``, ± the deviation over several seeds, seconds and memory."""
    about = f"{result['data']}: {result['users']:,} users, {result['items']:,} items, {result['seeds']} seed(s)"
    notes = [f"{name} {value:.3f}" for name, value in result["ratios"].items()]
    notes += [f"not used: {reason} ({count:,})" for reason, count in result["left_out"].items()]
    table = Table(title=about, caption=", ".join(notes))
    for column in ("model", *(name.replace("_", " ") for name in shown), "seconds", "peak MB"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in result["rows"]:
        values = [figure_cell(row, name, runs=result["seeds"]) for name in shown]
        table.add_row(row["model"], *values, f"{row['seconds']:,.0f}", f"{row['peak_mb']:,.0f}")
    return table


def render_leave_one_out(result: dict[str, Any]) -> Table:
    """What the papers report, at 10."""
    return render(result, ("validation_ndcg@10", "strict_hr@10", "strict_ndcg@10", "refit_hr@10", "refit_ndcg@10"))


def render_split(result: dict[str, Any]) -> Table:
    """What the papers report, at 20."""
    return render(result, ("validation_recall@20", "validation_ndcg@20", "recall@20", "ndcg@20"))


__all__ = ["render", "render_leave_one_out", "render_split"]
