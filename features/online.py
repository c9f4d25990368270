"""The same features from events that come one by one: in any order, any number of times, for one user or one item.

A fold keeps what ``aggregate`` adds up, for one id. Rows are read at the borders between days (see ``features.cells``):
until its day is over, an event counts as of the border that comes next.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from features.affinities import POINTS
from features.catalogue import BAND_BORDERS_CENTS, Catalogue, band_labels, top_category
from features.cells import Cells, day_of, shift_ms
from features.consent import CHANNEL, Consents
from features.declarations import HOURS, Affinity, Amount, Condition, Counter, Feature, Read, Stream
from features.definitions import (
    ACTIVITY,
    AFFINITIES,
    ITEM_COUNTERS,
    ITEM_FEATURES,
    USER_COUNTERS,
    USER_FEATURES,
    counters_of,
)
from features.derived import Population, Values
from features.ids import Vocabulary
from features.readings import item_values, user_values
from features.schema import DAY_MS, INTERACTIONS, SESSION_GAP_S, Columns, EventType, Purpose

#: An event in the contract's columns; what is missing may be absent or None.
Event = Mapping[str, Any]

Counts = dict[int, dict[str, int]]

#: What was taken in already: ids of events and keys of impressions.
Seen = set[str | tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class Listing:
    """How an item stood when an event happened; None where nothing was known."""

    category_top: str | None = None
    brand: str | None = None
    list_cents: int | None = None


class Listings:
    """The listing of every item at every instant; of a catalogue as of its instant."""

    def __init__(self, catalogue: Catalogue) -> None:
        rows = catalogue.rows
        self._from_ms: defaultdict[str, list[int]] = defaultdict(list)
        self._listings: defaultdict[str, list[Listing]] = defaultdict(list)
        tops = top_category(rows[Columns.CATEGORY])
        columns = (
            rows[Columns.ITEM_ID],
            rows[Columns.VALID_FROM],
            tops,
            rows[Columns.BRAND],
            rows[Columns.PRICE_CENTS],
        )
        for item, valid_from, top, brand, cents in zip(*columns, strict=True):
            self._from_ms[item].append(int(valid_from))
            listing = Listing(top, None if pd.isna(brand) else brand, None if pd.isna(cents) else int(cents))
            self._listings[item].append(listing)

    def at(self, item_id: str | None, ts: int) -> Listing:
        """The listing that held at ``ts``."""
        if item_id is None:
            return Listing()
        place = bisect_right(self._from_ms.get(item_id, []), ts)
        return self._listings[item_id][place - 1] if place else Listing()


def amount(counter: Counter, event: Event, listing: Listing) -> int:
    """What an event adds to a counter of events."""
    if EventType(event[Columns.EVENT_TYPE]) not in counter.events:
        return 0
    ts, price = int(event[Columns.TS]), _whole(event, Columns.UNIT_PRICE_CENTS)
    match counter.condition:
        case None:
            holds = True
        case Condition.WEEKEND:
            holds = (ts // DAY_MS + 3) % 7 >= 5
        case Condition.LISTED:
            holds = price is not None and listing.list_cents is not None
        case Condition.DISCOUNTED:
            holds = price is not None and listing.list_cents is not None and price < listing.list_cents
        case part:
            first, last = HOURS[part]
            holds = first <= ts % DAY_MS // 3_600_000 < last
    if not holds:
        return 0
    units = _units(event)
    return {Amount.ONE: 1, Amount.UNITS: units, Amount.CENTS: units * (price or 0)}[counter.amount]


@dataclass
class UserFold:
    """Everything added up about one user id.

    Attributes:
        as_of_ms: Any instant of the time of day at which days end: the snapshot's.
        consents: What the user and all their visitors grant together (see ``Consents.strictest``); what may not be read
            leaves no trace. A change begins a new fold.
    """

    as_of_ms: int
    listings: Listings
    consents: Consents = field(default_factory=lambda: Consents.parse(None))
    _seen: Seen = field(default_factory=set)
    _counts: Counts = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    _shown: Counts = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    _points: dict[str, dict[tuple[str, int], int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    _orders: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _items: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _sessions: list[tuple[int, int]] = field(default_factory=list)

    def fold(self, event: Event) -> None:
        """Take in an event of this id; one that was seen before changes nothing."""
        kind, ts = EventType(event[Columns.EVENT_TYPE]), int(event[Columns.TS])
        properties = json.loads(event.get(Columns.PROPERTIES) or "{}")
        if event[Columns.EVENT_ID] in self._seen or not self.consents.permits(kind, properties):
            return
        self._seen.add(event[Columns.EVENT_ID])
        day, item = self._day(ts), event.get(Columns.ITEM_ID)
        listing = self.listings.at(item, ts)
        _count(self._counts[day], USER_COUNTERS, event, listing)
        labels = {
            "category_top": listing.category_top,
            "brand": listing.brand,
            "price_band": _band(_whole(event, Columns.UNIT_PRICE_CENTS), listing),
            "channel": properties[CHANNEL] if isinstance(properties.get(CHANNEL), str) else None,
        }
        for affinity in AFFINITIES:
            label, points = labels[affinity.label], dict(affinity.points).get(kind, 0)
            if label is not None and points:
                self._points[affinity.label][label, day] += points
        if kind is EventType.PURCHASE:
            order = event.get(Columns.ORDER_ID)
            self._orders[f"@{ts}" if order is None else f"#{order}"].add(day)
        if kind in INTERACTIONS and item is not None:
            self._items[item].add(day)
        if kind in ACTIVITY:
            self._sessions = _joined([*self._sessions, (ts, ts)])

    def show(self, impression: Event) -> None:
        """Take in an impression; one that was seen before changes nothing."""
        if Purpose.PERSONALISATION in self.consents.purposes and _is_new(impression, self._seen):
            self._shown[self._day(int(impression[Columns.TS]))]["impressions"] += 1

    def with_visitors(self, visitors: Iterable[UserFold]) -> UserFold:
        """What is known of a user together with the visitors that turned out to be them; nobody is changed by it.

        Raises:
            ValueError: A visitor's fold reads what the user's may not, or ends its days at another time.
        """
        whole = UserFold(self.as_of_ms, self.listings, self.consents)
        for part in (self, *visitors):
            if part.consents != self.consents or shift_ms(part.as_of_ms) != shift_ms(self.as_of_ms):
                raise ValueError("a user and their visitors are folded under the same consents and the same days")
            whole._seen |= part._seen
            for mine, theirs in ((whole._counts, part._counts), (whole._shown, part._shown)):
                for day, counts in theirs.items():
                    for name, count in counts.items():
                        mine[day][name] += count
            for label, points in part._points.items():
                for key, count in points.items():
                    whole._points[label][key] += count
            for own, other in ((whole._orders, part._orders), (whole._items, part._items)):
                for name, days in other.items():
                    own[name] |= days
            whole._sessions = _joined([*whole._sessions, *part._sessions])
        return whole

    def row(self, now_ms: int, population: Population, listed: Container[str]) -> dict[str, Any]:
        """Every declared user feature as of the border that is not before ``now_ms``.

        None where nothing is known, and for all that the user did not consent to.

        Args:
            population: What the user is compared with: the snapshot's.
            listed: The items that the snapshot knows.
        """
        today = self._day(now_ms - 1) + 1
        started: defaultdict[int, int] = defaultdict(int)
        last_lines: defaultdict[int, int] = defaultdict(int)
        for start, _ in self._sessions:
            started[self._day(start)] += 1
        for days in self._orders.values():
            before = [day for day in days if day < today]
            if before:
                last_lines[max(before)] += 1
        cells = {
            Stream.EVENTS: _cells(self._counts, counters_of(USER_COUNTERS)[Stream.EVENTS], today),
            Stream.IMPRESSIONS: _cells(self._shown, ["impressions"], today),
            Stream.SESSIONS: _cells({day: {"sessions": n} for day, n in started.items()}, ["sessions"], today),
            Stream.ORDERS: _cells({day: {"orders": n} for day, n in last_lines.items()}, ["orders"], today),
        }
        labels = {affinity.label: self._labels(affinity.label, affinity.name, population) for affinity in AFFINITIES}
        affinities = {name: self._label_cells(name, vocabulary, today) for name, vocabulary in labels.items()}
        distinct = sum(1 for item, days in self._items.items() if min(days) < today and item in listed)
        values = user_values(cells, affinities, labels, np.array([distinct]), today, 1, population, learn=False)
        refused = _refused(self.consents, population)
        return {name: None if name in refused else value for name, value in _plain(values).items()}

    def _day(self, ts: int) -> int:
        return (ts + shift_ms(self.as_of_ms)) // DAY_MS

    def _labels(self, column: str, name: str, population: Population) -> Vocabulary:
        if column == "price_band":
            return Vocabulary(band_labels())
        return Vocabulary(sorted({label for label, _ in self._points[column]} | set(population.labels.get(name, ()))))

    def _label_cells(self, column: str, labels: Vocabulary, today: int) -> Cells:
        told = [(labels.code(label), day, n) for (label, day), n in self._points[column].items() if day < today]
        rows, days, points = (np.array(part, dtype=np.int64) for part in zip(*told, strict=True)) if told else _EMPTY
        return Cells.of(rows, days, {POINTS: points})


@dataclass
class ItemFold:
    """Everything added up about one item, from events and impressions of users who may be read."""

    as_of_ms: int
    item_id: str
    _seen: Seen = field(default_factory=set)
    _counts: Counts = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    _shown: Counts = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    _bought: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def fold(self, event: Event) -> None:
        """Take in an event about the item, under the id of the user behind it; a repeated one changes nothing."""
        if event[Columns.EVENT_ID] in self._seen:
            return
        self._seen.add(event[Columns.EVENT_ID])
        day = self._day(int(event[Columns.TS]))
        _count(self._counts[day], ITEM_COUNTERS, event, Listing())
        if event[Columns.EVENT_TYPE] == EventType.PURCHASE:
            self._bought[event[Columns.USER_ID], day] += 1

    def show(self, impression: Event) -> None:
        """Take in an impression of the item; a repeated one changes nothing."""
        if _is_new(impression, self._seen):
            self._shown[self._day(int(impression[Columns.TS]))]["impressions"] += 1

    def row(self, now_ms: int, population: Population, catalogue: Catalogue) -> dict[str, Any]:
        """Every declared item feature as of the border that is not before ``now_ms``; the item is in the catalogue."""
        today = self._day(now_ms - 1) + 1
        buyers = Vocabulary(sorted({user for user, _ in self._bought}))
        bought = [(buyers.code(user), day, n) for (user, day), n in self._bought.items() if day < today]
        rows, days, lines = (np.array(part, dtype=np.int64) for part in zip(*bought, strict=True)) if bought else _EMPTY
        latest = catalogue.latest.loc[self.item_id]
        cents = latest[Columns.PRICE_CENTS]
        values = item_values(
            {
                Stream.EVENTS: _cells(self._counts, counters_of(ITEM_COUNTERS)[Stream.EVENTS], today),
                Stream.IMPRESSIONS: _cells(self._shown, ["impressions"], today),
            },
            Cells.of(rows, days, {POINTS: lines}),
            max(len(buyers), 1),
            np.array([today - 1 - self._day(int(catalogue.listed_ms[self.item_id]))], dtype=np.float64),
            np.array([np.nan if pd.isna(cents) else float(cents)]),
            np.array([latest[Columns.CATEGORY]], dtype=object),
            np.zeros(1, dtype=np.int64),
            today,
            1,
            population,
            learn=False,
        )
        return _plain(values)

    def _day(self, ts: int) -> int:
        return (ts + shift_ms(self.as_of_ms)) // DAY_MS


_EMPTY = tuple(np.zeros(0, dtype=np.int64) for _ in range(3))


def border_ms(as_of_ms: int, now_ms: int) -> int:
    """The first end of a day that is not before ``now_ms``, days ending at the time of day of ``as_of_ms``."""
    return day_of(now_ms + shift_ms(as_of_ms)) * DAY_MS - shift_ms(as_of_ms)


def _cells(counts: Mapping[int, Mapping[str, int]], names: Sequence[str], today: int) -> Cells:
    days = sorted(day for day in counts if day < today)
    values = {name: np.array([counts[day].get(name, 0) for day in days], dtype=np.int64) for name in names}
    return Cells.of(np.zeros(len(days), np.int64), np.array(days, dtype=np.int64), values)


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of time in order, those nearer to each other than a session's gap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] < SESSION_GAP_S * 1000:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _count(counts: dict[str, int], counters: Iterable[Counter], event: Event, listing: Listing) -> None:
    for counter in counters:
        if counter.stream is Stream.EVENTS and (added := amount(counter, event, listing)):
            counts[counter.name] += added


def _is_new(impression: Event, seen: Seen) -> bool:
    """Whether an impression was not there yet; now it is."""
    key = (impression[Columns.REQUEST_ID], impression[Columns.SURFACE], int(impression[Columns.RANK]))
    if key in seen:
        return False
    seen.add(key)
    return True


def _whole(event: Event, column: str) -> int | None:
    value = event.get(column)
    return None if value is None or pd.isna(value) else int(value)


def _units(event: Event) -> int:
    quantity = _whole(event, Columns.QUANTITY)
    return 1 if quantity is None else quantity


def _band(price: int | None, listing: Listing) -> str | None:
    cents = listing.list_cents if price is None else price
    return None if cents is None else band_labels()[bisect_right(BAND_BORDERS_CENTS, cents)]


def _refused(consents: Consents, population: Population) -> set[str]:
    """The columns of features that a user did not consent to."""
    refused: set[str] = set()
    for declared in USER_FEATURES:
        if {declared.purpose, Purpose.PERSONALISATION} <= consents.purposes:
            continue
        if isinstance(declared, Affinity):
            labels = population.labels.get(declared.name, ())
            refused |= {f"top_{declared.name}", f"top_{declared.name}_share", *(f"affinity:{one}" for one in labels)}
        else:
            refused.add(declared.name)
    return refused


#: Features in whole days, missing where there are none: floats while they are computed.
_WHOLE_DAYS = {
    declared.name
    for declared in (*USER_FEATURES, *ITEM_FEATURES)
    if declared.name == "age_days"
    or (isinstance(declared, Feature) and declared.read in (Read.DAYS_SINCE_FIRST, Read.DAYS_SINCE_LAST))
}


def _plain(values: Values) -> dict[str, Any]:
    """The only row as plain Python values; None where a number is missing."""
    row: dict[str, Any] = {}
    for name, column in values.items():
        value = column.tolist()[0]
        missing = isinstance(value, float) and np.isnan(value)
        row[name] = None if missing else int(value) if name in _WHOLE_DAYS else value
    return row


__all__ = ["ItemFold", "Listing", "Listings", "UserFold", "amount", "border_ms"]
