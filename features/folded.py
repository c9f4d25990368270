"""What the folds of users and of items are made of: sums by day, what was seen already, and rows of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from features.cells import Cells
from features.declarations import Counter, Feature, Read, Stream
from features.definitions import ITEM_FEATURES, USER_FEATURES
from features.derived import Values
from features.listings import Event, Listing, amount
from features.schema import Columns, EventType

#: What was taken in already: ids of events and keys of impressions.
Seen = set[str | tuple[str, str, int]]

#: Three empty columns of numbers.
EMPTY = tuple(np.zeros(0, dtype=np.int64) for _ in range(3))


class Tally:
    """Whole numbers by day and name, of one id."""

    def __init__(self) -> None:
        self._days: dict[int, dict[str, int]] = {}

    def add(self, day: int, name: str, number: int = 1) -> None:
        """Add to one number."""
        counts = self._days.setdefault(day, {})
        counts[name] = counts.get(name, 0) + number

    def count(self, day: int, counters: tuple[Counter, ...], event: Event, listing: Listing) -> None:
        """Add an event to all counters of events."""
        for counter in _about(counters, EventType(event[Columns.EVENT_TYPE])):
            if added := amount(counter, event, listing):
                self.add(day, counter.name, added)

    def take(self, other: Tally) -> None:
        """Add everything of another."""
        for day, counts in other._days.items():
            for name, number in counts.items():
                self.add(day, name, number)

    @property
    def by_day(self) -> Mapping[int, Mapping[str, int]]:
        """Day to the numbers of that day by name."""
        return self._days

    def cells(self, names: Sequence[str], today: int) -> Cells:
        """Of the days before ``today``, as cells of row 0."""
        days = sorted(day for day in self._days if day < today)
        values = {name: np.array([self._days[day].get(name, 0) for day in days], dtype=np.int64) for name in names}
        return Cells.of(np.zeros(len(days), np.int64), np.array(days, dtype=np.int64), values)


@cache
def _about(counters: tuple[Counter, ...], kind: EventType) -> tuple[Counter, ...]:
    """The counters of events of a type."""
    return tuple(counter for counter in counters if counter.stream is Stream.EVENTS and kind in counter.events)


def is_new(impression: Event, seen: Seen) -> bool:
    """Whether an impression was not there yet; now it is."""
    key = (impression[Columns.REQUEST_ID], impression[Columns.SURFACE], int(impression[Columns.RANK]))
    if key in seen:
        return False
    seen.add(key)
    return True


#: Features in whole days, missing where there are none: floats while they are computed.
_WHOLE_DAYS = {
    declared.name
    for declared in (*USER_FEATURES, *ITEM_FEATURES)
    if declared.name == "age_days"
    or (isinstance(declared, Feature) and declared.read in (Read.DAYS_SINCE_FIRST, Read.DAYS_SINCE_LAST))
}


def plain(values: Values) -> dict[str, Any]:
    """The only row as plain Python values; None where a number is missing."""
    row: dict[str, Any] = {}
    for name, column in values.items():
        value = column.tolist()[0]
        missing = isinstance(value, float) and np.isnan(value)
        row[name] = None if missing else int(value) if name in _WHOLE_DAYS else value
    return row


__all__ = ["EMPTY", "Seen", "Tally", "is_new", "plain"]
