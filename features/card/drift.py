"""Drift: how far each feature's distribution moved between two instants, as a population stability index.

``PSI = sum over bins of (q - p) ln(q / p)`` with the shares ``p`` of the first and ``q`` of the second population. The
reading of ``READINGS`` is the usual one (Siddiqi, *Credit Risk Scorecards*, Wiley 2006). It knows nothing of sample
size: without any drift PSI is about ``(1 / n + 1 / m)`` times chi-square with ``bins - 1`` degrees of freedom (Yurdakul
& Naranjo, *Statistical properties of the population stability index*, Journal of Risk Model Validation 14(4), 2020), so
beside each index stands the 95 % quantile of that: what chance alone would do.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.instants import iso
from features.schema import DAY_MS, MISSING

#: Quantile bins of a number, and values of a text that get a bin of their own; all other texts share one.
BINS = 10

#: Added to the count of every bin, so that an empty one does not make the index infinite.
SMOOTHING = 0.5

#: The index from which a reading holds.
READINGS = {"stable": 0.0, "some": 0.1, "large": 0.25}

#: The first instant is this far before the second, or a quarter of the data's span if that is shorter.
GAP_DAYS = 30

_MISSING_BIN, _OTHER_BIN = "missing", "other"


def instants(first_event_ms: int, end_ms: int) -> tuple[int, int] | None:
    """The two instants to compare, the second being ``end_ms``; None where the data are of one instant only."""
    gap_ms = min(GAP_DAYS * DAY_MS, (end_ms - first_event_ms) // 4)
    return (end_ms - gap_ms, end_ms) if gap_ms > 0 else None


def drift(first: pd.DataFrame, then: pd.DataFrame, first_ms: int, then_ms: int) -> dict[str, Any]:
    """JSON-able PSI of every column that both user matrices have, largest first, and the names of the others.

    Args:
        first, then: One row per user, as of ``first_ms`` and ``then_ms``.
    """
    shared = [name for name in first.columns if name in then.columns]
    features = [compare(str(name), first[name], then[name]) for name in shared]
    return {
        "first": iso(first_ms),
        "then": iso(then_ms),
        "first_ms": first_ms,
        "then_ms": then_ms,
        "users_first": len(first),
        "users_then": len(then),
        "features": sorted(features, key=lambda feature: (-feature["psi"], feature["feature"])),
        "only_first": sorted(str(name) for name in first.columns if name not in then.columns),
        "only_then": sorted(str(name) for name in then.columns if name not in first.columns),
    }


def compare(name: str, first: pd.Series, then: pd.Series) -> dict[str, Any]:
    """PSI of one feature, its reading, its bins with the users in each, and the 95 % quantile without any drift.

    Bins come from the first population alone: one per value where a number has at most ``BINS`` values, else its
    quantiles, each including its upper edge; of a text the ``BINS`` most frequent values; one for all other values; one
    for missing ones. Bins that are empty twice do not count.
    """
    both_numbers = all(pd.api.types.is_numeric_dtype(values) for values in (first, then))
    rows = _number_bins(_numbers(first), _numbers(then)) if both_numbers else _text_bins(_texts(first), _texts(then))
    rows = [row for row in rows if row[1] or row[2]]
    counts = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 2).T
    index = psi(*counts)
    return {
        "feature": name,
        "psi": index,
        "reading": reading(index),
        "by_chance": by_chance(*counts),
        "bins": [{"bin": label, "first": before, "then": after} for label, before, after in rows],
    }


def psi(first: NDArray[np.int64], then: NDArray[np.int64]) -> float:
    """Population stability index of users per bin, (b,) each, with ``SMOOTHING`` added to every bin.

    >>> psi(np.array([5, 5]), np.array([50, 50]))
    0.0
    """
    p, q = ((counts + SMOOTHING) / (counts + SMOOTHING).sum() for counts in (first, then))
    return float(((q - p) * np.log(q / p)).sum())


def reading(index: float) -> str:
    """A key of ``READINGS``.

    >>> [reading(index) for index in (0.09, 0.1, 0.3)]
    ['stable', 'some', 'large']
    """
    return [word for word, bound in READINGS.items() if index >= bound][-1]


def by_chance(first: NDArray[np.int64], then: NDArray[np.int64]) -> float | None:
    """The index that two samples of these sizes from one population exceed in 5 % of cases; None if one is empty.

    Here both populations are largely the same users, which moves together: the bound is on the safe side.
    """
    from scipy.stats import chi2

    n, m = int(first.sum()), int(then.sum())
    if not n or not m:
        return None
    return float((1 / n + 1 / m) * chi2.ppf(0.95, len(first) - 1)) if len(first) > 1 else 0.0


def _number_bins(first: NDArray[np.float64], then: NDArray[np.float64]) -> list[tuple[str, int, int]]:
    known = first[~np.isnan(first)]
    values = np.unique(known)
    if len(values) <= BINS:
        return _tally([f"{value:.15g}" for value in values], *(_place(values, numbers) for numbers in (first, then)))
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    labels = [f"≤ {edges[0]:.6g}"]
    labels += [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)]
    labels.append(f"> {edges[-1]:.6g}")
    # Nothing falls into the bin of other values; NaN sorts behind every edge.
    bins = (np.where(np.isnan(x), len(labels) + 1, np.searchsorted(edges, x)) for x in (first, then))
    return _tally(labels, *bins)


def _place(values: NDArray[np.float64], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each number: its position among the sorted ``values``, the one after for others, then for missing."""
    if not len(values):
        return np.isnan(numbers).astype(np.int64)
    place = np.searchsorted(values, numbers).clip(max=len(values) - 1)
    other = np.where(np.isnan(numbers), len(values) + 1, len(values))
    return np.where(values[place] == numbers, place, other)


def _text_bins(first: pd.Series, then: pd.Series) -> list[tuple[str, int, int]]:
    frequent = first[first != MISSING].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    labels = frequent.index[:BINS].tolist()
    place = {label: i for i, label in enumerate(labels)} | {MISSING: len(labels) + 1}
    return _tally(labels, *(texts.map(place).fillna(len(labels)).to_numpy(np.int64) for texts in (first, then)))


def _tally(labels: list[str], first: NDArray[np.int64], then: NDArray[np.int64]) -> list[tuple[str, int, int]]:
    """Users per bin, given the number of each user's bin: those of ``labels``, other values, missing."""
    labels = [*labels, _OTHER_BIN, _MISSING_BIN]
    before, after = (np.bincount(bins, minlength=len(labels)).tolist() for bins in (first, then))
    return list(zip(labels, before, after, strict=True))


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    return np.asarray(values.astype("Float64").to_numpy(np.float64, na_value=np.nan))


def _texts(values: pd.Series) -> pd.Series:
    return values.astype(object).where(values.notna(), MISSING).map(str)


__all__ = ["BINS", "GAP_DAYS", "READINGS", "SMOOTHING", "by_chance", "compare", "drift", "instants", "psi", "reading"]
