"""Whole numbers per row and day: what all windows, decays and "days since" are read from.

Days are numbered from the epoch in steps of 24 hours that end at the time of day of the snapshot's instant, so that
every window ``[as_of - L, as_of)`` is made of whole days. Cells add up: those of yesterday and those of today's events
are those of both, whatever the order of arrival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from features.schema import DAY_MS

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]

Instants = TypeVar("Instants", int, Int64s)

#: Of a cell's key, below its row: days up to the year 4840.
_DAY_BITS = 20


def day_of(as_of_ms: int) -> int:
    """The first day that is not readable as of an instant; the day before it is 0 days old."""
    return -(-as_of_ms // DAY_MS)


def shift_ms(as_of_ms: int) -> int:
    """What is added to a time stamp before it is divided by ``DAY_MS`` to give its day."""
    return -as_of_ms % DAY_MS


def numbered_day(ts: Instants, as_of_ms: int) -> Instants:
    """The day of an instant, or of each of (m,) int64, where days end at the time of day of ``as_of_ms``.

    >>> numbered_day(DAY_MS, DAY_MS), numbered_day(DAY_MS - 1, DAY_MS), numbered_day(DAY_MS - 1, DAY_MS - 1)
    (1, 0, 1)
    """
    return (ts + shift_ms(as_of_ms)) // DAY_MS


@dataclass(frozen=True)
class Cells:
    """Cells sorted by row and day, each (row, day) at most once.

    Attributes:
        rows: (m,) int64, not negative.
        days: (m,) int32, see ``day_of``.
        counters: name to (m,) int64, or int32 where each row adds little.
    """

    rows: Int64s
    days: Int32s
    counters: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, rows: NDArray, days: NDArray, counters: Mapping[str, NDArray]) -> Cells:
        """From cells in any order; those of one row and day are added."""
        rows, days = np.asarray(rows, np.int64), np.asarray(days, np.int64)
        # Days are few where a log begins: short keys are sorted with their places, see ``_order``.
        origin = int(days.min()) if len(days) else 0
        day_bits = int(days.max() - origin).bit_length() if len(days) else 0
        keys = (rows << day_bits) | (days - origin)
        if (keys[1:] <= keys[:-1]).any():
            order = _order(keys)
            keys = keys[order]
            counters = {name: np.asarray(values)[order] for name, values in counters.items()}
        first = run_starts(keys)
        if len(first) < len(keys):
            counters = {name: np.add.reduceat(values, first) for name, values in counters.items()}
            keys = keys[first]
        return cls(
            keys >> day_bits,
            ((keys & ((1 << day_bits) - 1)) + origin).astype(np.int32),
            {name: np.asarray(values) for name, values in counters.items()},
        )

    def __len__(self) -> int:
        return len(self.rows)

    def plus(self, other: Cells, sign: int = 1) -> Cells:
        """These cells and ``sign`` times the others; cells that have become all zero disappear."""
        if not len(other):
            return self
        mine, theirs = _keys(self.rows, self.days), _keys(other.rows, other.days)
        at = np.searchsorted(mine, theirs)
        there = np.zeros(len(theirs), dtype=bool)
        if len(mine):
            inside = at < len(mine)
            there[inside] = mine[at[inside]] == theirs[inside]
        new, known = at[~there], at[there]
        counters, empty = {}, np.ones(len(theirs), dtype=bool)
        for name, values in self.counters.items():
            added = (sign * other.counters[name]).astype(values.dtype)
            summed = values.copy()
            summed[known] += added[there]
            empty[there] &= summed[known] == 0
            empty[~there] &= added[~there] == 0
            counters[name] = np.insert(summed, new, added[~there])
        sums = Cells(
            np.insert(self.rows, new, other.rows[~there]), np.insert(self.days, new, other.days[~there]), counters
        )
        if not empty.any():
            return sums
        keep = np.ones(len(sums), dtype=bool)
        # Behind every place stand the cells that were put in before it.
        keep[(at + np.cumsum(~there) - ~there)[empty]] = False
        return Cells(sums.rows[keep], sums.days[keep], {name: values[keep] for name, values in sums.counters.items()})

    def renumbered(self, numbers: Int32s) -> Cells:
        """With ``numbers[row]`` for each row; the numbers rise, so the order stays."""
        return Cells(numbers[self.rows].astype(np.int64), self.days, self.counters)

    def sums(self, counter: str, weights: Int64s, today: int, n: int) -> Int64s:
        """(n, k) int64: for each row the sum of the counter times the weight of the cell's age.

        Args:
            weights: (ages, k) int64; what is older has the weights of the last age.
            today: The day that is not readable any more; the one before it has age 0.
        """
        values = self.counters[counter]
        used = np.flatnonzero(values)
        rows = self.rows[used]
        starts = run_starts(rows)
        ages = np.minimum(today - 1 - self.days[used], len(weights) - 1)
        by_age = sparse.csr_array(
            (values[used].astype(np.int64), ages, np.append(starts, len(used))), shape=(len(starts), len(weights))
        )
        sums = np.zeros((n, weights.shape[1]), dtype=np.int64)
        sums[rows[starts]] = by_age @ weights
        return sums

    def days_since(self, counter: str, today: int, n: int, *, first: bool = False) -> Floats:
        """(n,) float64: whole days since the row's last (or first) cell with any of the counter; NaN if there is none.

        A day that is not over yet is 0 days old.
        """
        used = np.flatnonzero(self.counters[counter] > 0)
        rows = self.rows[used]
        starts = run_starts(rows)
        edge = starts if first else np.append(starts[1:], len(rows)) - 1
        since = np.full(n, np.nan)
        if len(starts):
            since[rows[starts]] = today - 1 - self.days[used[edge]]
        return since

    def present(self, n: int) -> NDArray[np.bool_]:
        """(n,) whether the row has any cell."""
        present = np.zeros(n, dtype=bool)
        present[self.rows] = True
        return present


def _keys(rows: NDArray, days: NDArray) -> Int64s:
    return (np.asarray(rows, np.int64) << _DAY_BITS) | np.asarray(days, np.int64)


def _order(keys: Int64s) -> Int64s:
    """The places of the keys in rising order."""
    place_bits = len(keys).bit_length()
    least = keys.min()
    if int(keys.max() - least).bit_length() + place_bits > 63:
        return np.argsort(keys, kind="stable")
    # Numpy sorts plain numbers several times faster than it finds their order.
    packed = ((keys - least) << place_bits) | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << place_bits) - 1)


def run_starts(rows: NDArray) -> Int64s:
    """Where each run of equal rows begins."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))


__all__ = ["Cells", "day_of", "numbered_day", "run_starts", "shift_ms"]
