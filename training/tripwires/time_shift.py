"""Tripwire: the label window must look from the instant as the window before it looked from its beginning.

What was known at an instant cannot tell more of the window that follows than it told, one window earlier, of the window
that followed then, and what somebody wrote down once cannot tell more of who buys than all that they did. Where it
does, labels were copied into the past, or attributes were filled in afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.definitions import ITEM_FEATURES, is_column_of
from features.schema import DAY_MS, Columns, EventType
from features.sequences import Histories
from features.snapshot import Snapshot
from features.split import Labelled
from training.folds import folds_of
from training.tripwires.alarms import Alarm, auc, beyond, share

WIRE = "time shift"

#: Differences below these prove nothing, however sure: windows differ, seasons come.
LEAST_SHARE, LEAST_AREA = 0.1, 0.15

#: The same of answers that were met before. Where a log keeps one time per user and item, as Retailrocket's public one
#: does, that share moves by up to a tenth from window to window.
LEAST_ECHO = 0.2

#: How long before an instant copies of labels are looked for.
ECHO_DAYS = (1, 7, 30)

#: Rows that a value's rate is drawn to the mean by, and parts for estimates that do not see their own row.
_STRENGTH, _FOLDS = 10, 5

#: A value of fewer rows than this says little about another row.
_FEWEST_ROWS = 200

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Window:
    """Who bought what in a window, among the users and items that were there when it began.

    Attributes:
        start_ms: When it began.
        pairs: (m, 2) int64 rows of ``user_matrix`` and ``item_matrix``.
    """

    start_ms: int
    pairs: NDArray[np.int64]


def time_shift(snapshot: Snapshot, asked: Labelled, until_ms: int) -> list[Alarm]:
    """Alarms about the label window ``[as_of, until)``, held against the window of the same length before ``as_of``.

    Args:
        snapshot: As of the window's beginning.
        asked: Who bought what in it.
    """
    length_ms = until_ms - snapshot.as_of_ms
    later = _labelled(snapshot, asked)
    earlier = _bought(snapshot.sequences, snapshot.as_of_ms - length_ms, snapshot.as_of_ms)
    return [*_echoes(snapshot, later, earlier), *_telling(snapshot, later, earlier)]


def _labelled(snapshot: Snapshot, asked: Labelled) -> _Window:
    users = snapshot.users.encode(asked.histories.user_ids)[asked.labels.rows].astype(np.int64)
    items = asked.labels.values.astype(np.int64)
    known = (users >= 0) & (items < len(snapshot.items))
    return _Window(snapshot.as_of_ms, np.stack([users[known], items[known]], axis=1))


def _bought(events: Histories, start_ms: int, until_ms: int) -> _Window:
    inside = (events.ts >= start_ms) & (events.ts < until_ms) & (events.items >= 0)
    inside &= events.event_types == EventType.PURCHASE.code
    pairs = np.stack([events.rows[inside], events.items[inside].astype(np.int64)], axis=1)
    return _Window(start_ms, np.unique(pairs, axis=0))


def _echoes(snapshot: Snapshot, later: _Window, earlier: _Window) -> list[Alarm]:
    """What is bought in the window was met by the same user shortly before it, more often than usual."""
    alarms = []
    for days in ECHO_DAYS:
        then, now = (share(_met(snapshot, window, days)) for window in (earlier, later))
        if beyond(now, then, LEAST_ECHO):
            told = (
                f"hold {now[0]:.0%} of the answers already in the {days} days before the question, "
                f"and {then[0]:.0%} a window earlier"
            )
            alarms.append(Alarm(WIRE, "events", told))
    return alarms[:1]


def _met(snapshot: Snapshot, window: _Window, days: int) -> Bools:
    """(m,) whether the user had an event with the item within ``days`` before the window."""
    events, n_items = snapshot.sequences, len(snapshot.items)
    recent = (events.ts < window.start_ms) & (events.ts >= window.start_ms - days * DAY_MS) & (events.items >= 0)
    known = np.unique(events.rows[recent] * n_items + events.items[recent])
    return np.isin(window.pairs[:, 0] * n_items + window.pairs[:, 1], known)


def _telling(snapshot: Snapshot, later: _Window, earlier: _Window) -> list[Alarm]:
    """Attributes that tell who buys, what is bought, or both, better than they did before and than behaviour does."""
    alarms = []
    events = snapshot.sequences
    for side, table, rows_of_event, names in (
        (0, snapshot.user_matrix, events.rows, list(snapshot.attributes)),
        (1, snapshot.item_matrix, events.items, _attributes_of_items(snapshot.item_matrix)),
    ):
        n = len(table)
        # Who or what was there before both windows; else it is the newcomers that make the difference.
        there = np.bincount(rows_of_event[(events.ts < earlier.start_ms) & (events.items >= 0)], minlength=n) > 0
        if int(there.sum()) < _FEWEST_ROWS:
            continue
        bought = [np.bincount(window.pairs[:, side], minlength=n)[there] > 0 for window in (earlier, later)]
        before = np.bincount(rows_of_event[(events.ts < later.start_ms) & (events.items >= 0)], minlength=n)[there]
        behaviour = auc(before.astype(np.float64), bought[1])
        for name in names:
            codes = _codes(table[name])[there]
            then, now = (auc(rates(codes, flags), flags) for flags in bought)
            what = ("user", "item")[side]
            if beyond(now, then, LEAST_AREA):
                told = f"tells who buys or is bought (area {now[0]:.2f}), and did not a window earlier ({then[0]:.2f})"
                alarms.append(Alarm(WIRE, f"{what} attribute {name}", told))
            elif beyond(now, behaviour, LEAST_AREA):
                told = (
                    f"tells more of who buys or is bought (area {now[0]:.2f}) than all behaviour ({behaviour[0]:.2f})"
                )
                alarms.append(Alarm(WIRE, f"{what} attribute {name}", told))
    return [*alarms, *_knowing_what(snapshot, later, earlier)]


def _knowing_what(snapshot: Snapshot, later: _Window, earlier: _Window) -> list[Alarm]:
    """User attributes that tell which category is bought better than they did a window earlier."""
    tops = snapshot.item_matrix[Columns.CATEGORY].astype(object).str.split("/", n=1).str[0]
    categories = _codes(tops)
    alarms = []
    for name in snapshot.attributes:
        codes = _codes(snapshot.user_matrix[name])
        then, now = (share(_guessed(codes, categories, window)) for window in (earlier, later))
        if beyond(now, then, LEAST_SHARE):
            told = f"tells the category of {now[0]:.0%} of the purchases, and of {then[0]:.0%} a window earlier"
            alarms.append(Alarm(WIRE, f"user attribute {name}", told))
    return alarms


def _guessed(codes: NDArray[np.int64], categories: NDArray[np.int64], window: _Window) -> Bools:
    """(u,) of each buyer's first purchase: whether its category is the most frequent of the other buyers of the same
    value, those of another fold."""
    users, first = np.unique(window.pairs[:, 0], return_index=True)
    if len(users) < _FEWEST_ROWS:
        return np.zeros(0, dtype=bool)
    values, bought = codes[users], categories[window.pairs[first, 1]]
    folds = folds_of(len(users), _FOLDS, 0)
    counts = np.zeros((_FOLDS, values.max() + 1, bought.max() + 1))
    np.add.at(counts, (folds, values, bought), 1)
    others = counts.sum(axis=0) - counts
    return np.asarray(others.argmax(axis=2)[folds, values] == bought)


def rates(codes: NDArray[np.int64], flags: Bools) -> Floats:
    """(n,) the share of flags among the rows of the same value in other folds, drawn to the share of all."""
    folds = folds_of(len(codes), _FOLDS, 0)
    counts, sums = (np.zeros((_FOLDS, codes.max(initial=0) + 1)) for _ in range(2))
    np.add.at(counts, (folds, codes), 1)
    np.add.at(sums, (folds, codes), flags)
    others, hits = counts.sum(axis=0) - counts, sums.sum(axis=0) - sums
    return np.asarray(((hits + _STRENGTH * flags.mean()) / (others + _STRENGTH))[folds, codes])


def _codes(values: pd.Series) -> NDArray[np.int64]:
    """(n,) a number for each value; what is not told is a value like any other, and may tell most."""
    return pd.factorize(values.astype(object), use_na_sentinel=False)[0].astype(np.int64)


def _attributes_of_items(items: pd.DataFrame) -> list[str]:
    """What the shop says of its items in words, but titles, which are too many to repeat."""
    return [
        name
        for name in map(str, items)
        if name != Columns.TITLE and pd.api.types.is_string_dtype(items[name]) and not is_column_of(name, ITEM_FEATURES)
    ]


__all__ = ["ECHO_DAYS", "LEAST_AREA", "LEAST_ECHO", "LEAST_SHARE", "WIRE", "rates", "time_shift"]
