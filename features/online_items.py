"""The features of one item from events that come one by one: in any order, any number of times."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from features.affinities import POINTS
from features.catalogue import Catalogue
from features.cells import Cells, numbered_day
from features.declarations import Stream
from features.definitions import ITEM_COUNTERS, counters_of
from features.derived import Population
from features.folded import EMPTY, Seen, Tally, is_new, plain
from features.ids import Vocabulary
from features.listings import Event, Listing
from features.readings import item_values
from features.schema import Columns, EventType


@dataclass
class ItemFold:
    """Everything added up about one item, from events and impressions of users who may be read."""

    as_of_ms: int
    item_id: str
    _seen: Seen = field(default_factory=set)
    _counts: Tally = field(default_factory=Tally)
    _shown: Tally = field(default_factory=Tally)
    _bought: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def fold(self, event: Event) -> None:
        """Take in an event about the item, under the id of the user behind it; a repeated one changes nothing."""
        if event[Columns.EVENT_ID] in self._seen:
            return
        self._seen.add(event[Columns.EVENT_ID])
        day = numbered_day(int(event[Columns.TS]), self.as_of_ms)
        self._counts.count(day, ITEM_COUNTERS, event, Listing())
        if event[Columns.EVENT_TYPE] == EventType.PURCHASE:
            self._bought[event[Columns.USER_ID], day] += 1

    def show(self, impression: Event) -> None:
        """Take in an impression of the item; a repeated one changes nothing."""
        if is_new(impression, self._seen):
            self._shown.add(numbered_day(int(impression[Columns.TS]), self.as_of_ms), "impressions")

    def row(self, now_ms: int, population: Population, catalogue: Catalogue) -> dict[str, Any]:
        """Every declared item feature as of the border that is not before ``now_ms``; the item is in the catalogue."""
        today = numbered_day(now_ms - 1, self.as_of_ms) + 1
        buyers = Vocabulary(sorted({user for user, _ in self._bought}))
        bought = [(buyers.code(user), day, n) for (user, day), n in self._bought.items() if day < today]
        rows, days, lines = (np.array(part, dtype=np.int64) for part in zip(*bought, strict=True)) if bought else EMPTY
        latest = catalogue.latest.loc[self.item_id]
        cents, listed = latest[Columns.PRICE_CENTS], numbered_day(int(catalogue.listed_ms[self.item_id]), self.as_of_ms)
        values = item_values(
            {
                Stream.EVENTS: self._counts.cells(counters_of(ITEM_COUNTERS)[Stream.EVENTS], today),
                Stream.IMPRESSIONS: self._shown.cells(["impressions"], today),
            },
            Cells.of(rows, days, {POINTS: lines}),
            max(len(buyers), 1),
            np.array([today - 1 - listed], dtype=np.float64),
            np.array([np.nan if pd.isna(cents) else float(cents)]),
            np.array([latest[Columns.CATEGORY]], dtype=object),
            np.zeros(1, dtype=np.int64),
            today,
            1,
            population,
            learn=False,
        )
        return plain(values)


__all__ = ["ItemFold"]
