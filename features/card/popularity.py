"""How unequally interactions are spread over items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Points of the curve: enough for a smooth line on a logarithmic axis, few enough for a table.
CURVE_POINTS = 30


def gini(counts: NDArray[np.int64]) -> float | None:
    """Gini coefficient of (n,) counts: 0 if all are equal, towards 1 if one has all; None if there is nothing to share.

    With counts sorted upwards, ``sum((2 i - n - 1) x_i) / (n sum(x))`` for i from 1 to n.

    >>> gini(np.array([1, 1, 1, 1]))
    0.0
    >>> gini(np.array([0, 0, 0, 4]))
    0.75
    """
    n, total = len(counts), int(counts.sum())
    if not total:
        return None
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * np.sort(counts)).sum() / (n * total))


def top_share(counts: NDArray[np.int64], percent: float = 1) -> float | None:
    """Share of the total that the top ``percent`` of (n,) counts hold, at least one of them; None of nothing.

    >>> top_share(np.array([0, 0, 1, 4]))
    0.8
    """
    if not counts.sum():
        return None
    top = max(1, round(len(counts) * percent / 100))
    return float(np.sort(counts)[::-1][:top].sum() / counts.sum())


def popularity_curve(counts: NDArray[np.int64]) -> list[dict[str, int]]:
    """``{"rank", "interactions"}`` at about ``CURVE_POINTS`` ranks evenly spread on a logarithmic axis, first and last
    included; items without interactions have no rank.

    >>> popularity_curve(np.array([1, 0, 9]))
    [{'rank': 1, 'interactions': 9}, {'rank': 2, 'interactions': 1}]
    """
    hot = np.sort(counts[counts > 0])[::-1]
    if not len(hot):
        return []
    ranks = np.unique(np.geomspace(1, len(hot), CURVE_POINTS).round().astype(np.int64))
    return [{"rank": int(rank), "interactions": int(hot[rank - 1])} for rank in ranks]


__all__ = ["CURVE_POINTS", "gini", "popularity_curve", "top_share"]
