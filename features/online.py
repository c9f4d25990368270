"""The same features from events that come one by one: in any order, any number of times, for one user.

A fold keeps what ``aggregate`` adds up, for one id; it begins with nothing, or with what a snapshot knew of the id
(``features.known``). Rows are read at the borders between days (see ``features.cells``): until its day is over, an
event counts as of the border that comes next.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.cells import day_of, numbered_day, shift_ms
from features.consent import CHANNEL, Consents
from features.declarations import Affinity
from features.definitions import ACTIVITY, AFFINITIES, USER_COUNTERS, USER_FEATURES
from features.derived import Population
from features.folded import Seen, Tally, is_new
from features.ids import UNKNOWN, Vocabulary
from features.listings import Event, Listed, Listings, band
from features.one_row import Sums, user_row
from features.online_items import ItemFold
from features.schema import DAY_MS, INTERACTIONS, SESSION_GAP_S, Columns, EventType, Purpose

#: Label and day to the points that it got.
Points = dict[tuple[str, int], int]

#: So many items are looked up one by one.
_FEW = 32

#: First and last instant of a session, both in it.
Span = tuple[int, int]


@dataclass(frozen=True)
class Past:
    """What a snapshot knew of one id, added up; days end as the snapshot's do.

    Attributes:
        counts: (day, counter of events, number).
        shown: (day, number) of impressions.
        points: Label column to (label, day, points), each label and day at most once.
        orders: (order as the log names it, day of its last line).
        items: (item, day) of interactions.
        sessions: (day, number of sessions that began).
        spans: The sessions of which it is known when they were, in order; the last is among them if anything that comes
            could belong to it.
    """

    counts: Sequence[tuple[int, str, int]] = ()
    shown: Sequence[tuple[int, int]] = ()
    points: Mapping[str, Sequence[tuple[str, int, int]]] = field(default_factory=dict)
    orders: Sequence[tuple[str, int]] = ()
    items: Sequence[tuple[str, int]] = ()
    sessions: Sequence[tuple[int, int]] = ()
    spans: Sequence[Span] = ()


@dataclass
class UserFold:
    """Everything added up about one user id.

    Attributes:
        as_of_ms: Any instant of the time of day at which days end: the snapshot's.
        consents: What the user and all their visitors grant together (see ``Consents.strictest``); what may not be read
            leaves no trace. A change begins a new fold.
    """

    as_of_ms: int
    listings: Listed
    consents: Consents = field(default_factory=lambda: Consents.parse(None))
    _seen: Seen = field(default_factory=set)
    _counts: Tally = field(default_factory=Tally)
    _shown: Tally = field(default_factory=Tally)
    _points: dict[str, Points] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    _orders: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _items: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _sessions: list[Span] = field(default_factory=list)
    #: Day to sessions that a snapshot counted over those that begin in its spans.
    _uncounted: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @classmethod
    def after(cls, past: Past, as_of_ms: int, listings: Listed, consents: Consents) -> UserFold:
        """A fold that goes on from what a snapshot knew, which was read under the same consents.

        After events that the snapshot has not read, its rows are those of a fold of all events. Sessions alone may
        differ, and only if what comes late lies among activity without items, whose instants no snapshot keeps.
        """
        fold = cls(as_of_ms, listings, consents)
        for day, name, number in past.counts:
            fold._counts.add(day, name, number)
        for day, number in past.shown:
            fold._shown.add(day, "impressions", number)
        for column, told in past.points.items():
            fold._points[column] = defaultdict(int, {(label, day): number for label, day, number in told})
        for order, day in past.orders:
            fold._orders[order].add(day)
        for item, day in past.items:
            fold._items[item].add(day)
        fold._sessions = list(past.spans)
        for day, number in past.sessions:
            fold._uncounted[day] += number
        for start, _ in fold._sessions:
            fold._uncounted[numbered_day(start, as_of_ms)] -= 1
        return fold

    def fold(self, event: Event) -> None:
        """Take in an event of this id; one that was seen before changes nothing."""
        kind, ts = EventType(event[Columns.EVENT_TYPE]), int(event[Columns.TS])
        properties = json.loads(event.get(Columns.PROPERTIES) or "{}")
        if event[Columns.EVENT_ID] in self._seen or not self.consents.permits(kind, properties):
            return
        self._seen.add(event[Columns.EVENT_ID])
        day, item = numbered_day(ts, self.as_of_ms), event.get(Columns.ITEM_ID)
        listing = self.listings.at(item, ts)
        self._counts.count(day, USER_COUNTERS, event, listing)
        labels = {
            "category_top": listing.category_top,
            "brand": listing.brand,
            "price_band": band(event, listing),
            "channel": properties[CHANNEL] if isinstance(properties.get(CHANNEL), str) else None,
        }
        for affinity in AFFINITIES:
            label, points = labels[affinity.label], dict(affinity.points).get(kind, 0)
            if label is not None and points:
                self._points[affinity.label][label, day] += points
        if kind is EventType.PURCHASE:
            self._orders[order_key(event)].add(day)
        if kind in INTERACTIONS and item is not None:
            self._items[item].add(day)
        if kind in ACTIVITY:
            self._sessions.append((ts, ts))

    def show(self, impression: Event) -> None:
        """Take in an impression; one that was seen before changes nothing."""
        if Purpose.PERSONALISATION in self.consents.purposes and is_new(impression, self._seen):
            self._shown.add(numbered_day(int(impression[Columns.TS]), self.as_of_ms), "impressions")

    def show_by_day(self, shown: Iterable[tuple[int, int]]) -> None:
        """Take in (day, number) of impressions that were not told one by one; days are numbered as in ``Past``."""
        if Purpose.PERSONALISATION in self.consents.purposes:
            for day, number in shown:
                self._shown.add(day, "impressions", number)

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
            whole._counts.take(part._counts)
            whole._shown.take(part._shown)
            for label, points in part._points.items():
                for key, count in points.items():
                    whole._points[label][key] += count
            for own, other in ((whole._orders, part._orders), (whole._items, part._items)):
                for name, days in other.items():
                    own[name] |= days
            whole._sessions += part._sessions
            for day, number in part._uncounted.items():
                whole._uncounted[day] += number
        return whole

    def row(self, now_ms: int, population: Population, listed: Container[str]) -> dict[str, Any]:
        """Every declared user feature as of the border that is not before ``now_ms``.

        None where nothing is known, and for all that the user did not consent to.

        Args:
            population: What the user is compared with: the snapshot's.
            listed: The items that the snapshot knows.
        """
        today = numbered_day(now_ms - 1, self.as_of_ms) + 1
        sessions, orders = Tally(), Tally()
        self._sessions = _joined(self._sessions)
        for start, _ in self._sessions:
            sessions.add(numbered_day(start, self.as_of_ms), "sessions")
        for day, number in self._uncounted.items():
            if number:
                sessions.add(day, "sessions", number)
        for days in self._orders.values():
            before = [day for day in days if day < today]
            if before:
                orders.add(max(before), "orders")
        sums = Sums(today, self._counts.by_day, self._shown.by_day, sessions.by_day, orders.by_day)
        points = {
            column: [(label, day, n) for (label, day), n in told.items()] for column, told in self._points.items()
        }
        touched = [item for item, days in self._items.items() if min(days) < today]
        distinct = _how_many(touched, listed)
        row = user_row(sums, orders.by_day.keys(), points, distinct, today, population)
        refused = _refused(self.consents, population)
        return {name: None if name in refused else value for name, value in row.items()} if refused else row


def order_key(event: Event) -> str:
    """The order that a purchase is a line of: its id after ``#``, or its instant after ``@`` where it tells none."""
    order = event.get(Columns.ORDER_ID)
    return f"@{int(event[Columns.TS])}" if order is None else f"#{order}"


def border_ms(as_of_ms: int, now_ms: int) -> int:
    """The first end of a day that is not before ``now_ms``, days ending at the time of day of ``as_of_ms``."""
    return day_of(now_ms + shift_ms(as_of_ms)) * DAY_MS - shift_ms(as_of_ms)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans of time in order, those nearer to each other than a session's gap as one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] < SESSION_GAP_S * 1000:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _how_many(items: list[str], listed: Container[str]) -> int:
    """How many of the items are listed."""
    # One look-up of many is much faster than many of one, but it takes longer to begin.
    if isinstance(listed, Vocabulary) and len(items) > _FEW:
        return int(np.count_nonzero(listed.encode(items) != UNKNOWN))
    return sum(item in listed for item in items)


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


__all__ = ["ItemFold", "Listings", "Past", "Points", "Span", "UserFold", "border_ms", "order_key"]
