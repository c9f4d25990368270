"""What is known after every event of every session, as numbers: the inputs of session intent, offline and online."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.ids import UNKNOWN
from features.schema import DAY_MS, EventType
from features.sequences import Histories, session_starts

Floats = NDArray[np.float32]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Numbers of a step; those of the session include the event itself.
COLUMNS = (
    "events",
    "seconds_in_session",
    "seconds_since_last_event",
    "items",
    "times_this_item",
    "in_cart",
    "this_item_in_cart",
    "carted",
    "bought",
    "earlier_sessions",
    "earlier_purchases",
    "days_since_last_session",
    "times_this_item_earlier",
    "hour_sin",
    "hour_cos",
)
#: What a first session has for the days since the last one.
_NEVER_DAYS = 365.0


@dataclass(frozen=True, slots=True)
class Steps:
    """One row per event; those of session ``s`` are ``[offsets[s]:offsets[s + 1]]``, oldest first.

    Attributes:
        row: (s,) int64: which history each session is of; the sessions of one are in order of time.
        items: (m,) int32, -1 without an item; an unknown one is -1 too, or less than it, told apart from others.
        types: (m,) int8, ``EventType.code``.
        ts: (m,) int64, epoch milliseconds.
        numbers: (m, len(COLUMNS)) float32; counts and times as ``log(1 + x)``.
        cart: (m,) int64: distinct items that were carted in the session and not taken out or bought since.
    """

    offsets: Int64s
    row: Int64s
    items: NDArray[np.int32]
    types: NDArray[np.int8]
    ts: Int64s
    numbers: Floats
    cart: Int64s

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def session(self) -> Int64s:
        """(m,) int64: the session of each event."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


def steps_of(histories: Histories) -> Steps:
    """All sessions of all histories. Nothing that is said of an event depends on a later one."""
    starts = session_starts(histories.ts, histories.offsets)
    first = np.flatnonzero(starts)
    m = len(histories.items)
    offsets = np.append(first, m).astype(np.int64)
    session = np.cumsum(starts) - 1
    row = histories.rows
    types, ts = histories.event_types, histories.ts
    carted, bought = types == EventType.ADD_TO_CART.code, types == EventType.PURCHASE.code
    of_session = _Within(session)
    of_user = _Within(row)
    ordinal = of_user.running(starts) - 1
    times, is_new, cart_change, lies_in_cart = _about_items(session, histories)
    times_ever = _Within(row).of(histories.items).running(np.ones(m, dtype=np.int64))
    known = histories.items != UNKNOWN
    cart = of_session.running(cart_change)
    since_last = np.zeros(m)
    since_last[1:] = np.where(starts[1:], 0, np.diff(ts)) / 1_000
    hour = 2 * np.pi * (ts % DAY_MS) / DAY_MS
    counts = {
        "events": of_session.running(np.ones(m, dtype=np.int64)),
        "seconds_in_session": (ts - ts[first][session]) / 1_000 if m else np.zeros(0),
        "seconds_since_last_event": since_last,
        "items": of_session.running(is_new & known),
        "times_this_item": times * known,
        "in_cart": cart,
        "this_item_in_cart": lies_in_cart,
        "carted": of_session.running(carted),
        "bought": of_session.running(bought),
        "earlier_sessions": ordinal,
        "earlier_purchases": of_user.running(bought) - of_session.running(bought),
        "days_since_last_session": _days_since_last_session(ts, first, ordinal)[session],
        "times_this_item_earlier": (times_ever - times) * known,
    }
    columns = [np.log1p(np.asarray(counts[name], dtype=np.float64)) for name in COLUMNS if name in counts]
    numbers = np.stack([*columns, np.sin(hour), np.cos(hour)], axis=1).astype(np.float32)
    return Steps(offsets, row[first], histories.items, types, ts, numbers, cart)


class _Within:
    """Running sums within groups; the events of a group stand together, or are brought together by ``of``."""

    def __init__(self, group: Int64s) -> None:
        self.group = group
        self.order: Int64s | None = None

    def of(self, items: NDArray[np.int32]) -> _Within:
        """The same groups, each divided by item; what is returned keeps the order of events."""
        finer = _Within(self.group)
        finer.order = np.lexsort((np.arange(len(items)), items, self.group))
        items, group = items[finer.order], self.group[finer.order]
        border = np.ones(len(items), dtype=bool)
        border[1:] = (np.diff(items) != 0) | (np.diff(group) != 0)
        finer.group = np.cumsum(border) - 1
        return finer

    def running(self, values: NDArray) -> Int64s:
        """(m,) int64: for each event the sum of ``values`` up to and with it."""
        values = np.asarray(values, dtype=np.int64)
        if self.order is not None:
            values = values[self.order]
        total = np.cumsum(values)
        border = np.ones(len(values), dtype=bool)
        border[1:] = np.diff(self.group) != 0
        before = (total - values)[border]
        summed = total - np.repeat(before, np.diff(np.append(np.flatnonzero(border), len(values))))
        if self.order is None:
            return summed
        there = np.empty_like(summed)
        there[self.order] = summed
        return there


def _about_items(session: Int64s, histories: Histories) -> tuple[Int64s, Bools, Int64s, Bools]:
    """(m,) each: events about the item so far in the session; whether this is the first; by how much the event changes
    the number of items in the cart; whether its item lies in the cart after it."""
    m = len(session)
    by_item = _Within(session).of(histories.items)
    times = by_item.running(np.ones(m, dtype=np.int64))
    known = histories.items != UNKNOWN
    puts = (histories.event_types == EventType.ADD_TO_CART.code) & known
    takes = known & np.isin(histories.event_types, [EventType.REMOVE_FROM_CART.code, EventType.PURCHASE.code])
    assert by_item.order is not None
    order, group = by_item.order, by_item.group
    # The last event that put the item in or took it out decides; none of them is before the item's first event.
    place = np.arange(m)
    decided = np.maximum.accumulate(np.where((puts | takes)[order], place, -1))
    first = np.zeros(m, dtype=np.int64)
    if m:
        first = np.flatnonzero(np.append(True, np.diff(group) != 0))[group]
    inside = np.zeros(m, dtype=bool)
    valid = decided >= first
    inside[order[valid]] = puts[order][decided[valid]]
    before = np.zeros(m, dtype=bool)
    follows = order[1:][np.diff(group) == 0]
    before[follows] = inside[order[:-1][np.diff(group) == 0]]
    return times, times == 1, inside.astype(np.int64) - before.astype(np.int64), inside


def _days_since_last_session(ts: Int64s, first: Int64s, ordinal: Int64s) -> NDArray[np.float64]:
    """(s,) float64: from the last event of the user's session before to this one's first."""
    days = np.full(len(first), _NEVER_DAYS)
    again = ordinal[first] > 0
    days[again] = (ts[first[again]] - ts[first[again] - 1]) / DAY_MS
    return days


__all__ = ["COLUMNS", "Steps", "steps_of"]
