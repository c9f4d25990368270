"""What a user's interactions went to: shares of categories, brands, bands of prices and channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.cells import Cells, run_starts
from features.declarations import Affinity
from features.definitions import FIXED_POINT
from features.derived import Floats, Population, Values
from features.ids import Vocabulary
from features.schema import MISSING

POINTS = "points"


def decay_weights(half_life_days: int) -> NDArray[np.int64]:
    """(ages,) weight of a row by its age in days, in units of ``1 / FIXED_POINT``; 0 from the last age on."""
    ages = np.arange(half_life_days * (FIXED_POINT.bit_length() + 1))
    return np.append(np.floor(FIXED_POINT * 0.5 ** (ages / half_life_days) + 0.5).astype(np.int64), 0)


@dataclass(frozen=True)
class _Shares:
    """Decayed points of each (user, label) pair that has any, sorted by both."""

    users: NDArray[np.int64]
    labels: NDArray[np.int64]
    points: NDArray[np.int64]
    shares: Floats


def affinity_values(
    affinity: Affinity,
    cells: Cells,
    labels: Vocabulary,
    today: int,
    n: int,
    population: Population,
) -> Values:
    """Name to (n,) values: the strongest label, its share, and the share of each label that has a column."""
    pairs = _shares(affinity, cells, labels, today, n)
    values = _strongest(affinity, pairs, labels, n)
    if affinity.columns:
        totals = np.zeros(len(labels), dtype=np.int64)
        np.add.at(totals, pairs.labels, pairs.points)
        order = np.lexsort((np.arange(len(labels)), -totals))
        chosen = np.sort([code for code in order[: affinity.columns] if totals[code]])
        population.labels[affinity.name] = [labels.ids[code] for code in chosen]
        known = np.zeros(n, dtype=bool)
        known[pairs.users] = True
        for label in population.labels[affinity.name]:
            shares = np.where(known, 0.0, np.nan)
            of_label = pairs.labels == labels.code(label)
            shares[pairs.users[of_label]] = pairs.shares[of_label]
            values[f"affinity:{label}"] = shares
    return values


def _shares(affinity: Affinity, cells: Cells, labels: Vocabulary, today: int, n: int) -> _Shares:
    weights = decay_weights(affinity.half_life_days)
    ages = np.minimum(today - 1 - cells.days, len(weights) - 1)
    weighted = cells.counters[POINTS] * weights[ages]
    starts = run_starts(cells.rows)
    points = np.add.reduceat(weighted, starts) if len(cells) else weighted
    rows = cells.rows[starts]
    rows, points = rows[points > 0], points[points > 0]
    users, codes = rows // max(len(labels), 1), rows % max(len(labels), 1)
    totals = np.bincount(users, points, n)
    return _Shares(users, codes, points, points / totals[users])


def _strongest(affinity: Affinity, pairs: _Shares, labels: Vocabulary, n: int) -> Values:
    """The label with most points, the first of equals; ``MISSING`` where nothing is known."""
    best = np.full(n, MISSING, dtype=object)
    share = np.full(n, np.nan)
    starts = run_starts(pairs.users)
    if len(starts):
        most = np.maximum.reduceat(pairs.points, starts)
        lengths = np.diff(np.append(starts, len(pairs.users)))
        strongest = np.flatnonzero(pairs.points == np.repeat(most, lengths))
        first = strongest[run_starts(pairs.users[strongest])]
        best[pairs.users[first]] = labels.ids[pairs.labels[first]]
        share[pairs.users[first]] = pairs.shares[first]
    return {f"top_{affinity.name}": best, f"top_{affinity.name}_share": share}


__all__ = ["POINTS", "affinity_values", "decay_weights"]
