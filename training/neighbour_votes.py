"""What other users did around the items that a question is about: the events that session neighbours vote with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.schema import DAY_MS, EventType
from features.sequences import Bools, Int32s, Int64s, positions
from training.neighbour_timelines import Asked, Distinct, Timelines, changes, distinct_items

Floats = NDArray[np.float64]
Columns = NDArray[np.int16]

N_STEPS, N_OFFSETS, N_POPULARITIES, N_LENGTHS, N_AGES, N_MASSES = 10, 16, 12, 8, 12, 18

#: Numbers of shared items that are told apart, and of steps to the second of them, "there is none" included.
N_SHARED, N_SECONDS = 6, 6

#: Borders in milliseconds of how far apart in time two events of one user are.
GAPS_MS: Final = (DAY_MS // 48, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)

#: How many weights each property of a vote has: first of a match, then of an event, of one's own event, of none at all.
TABLES: Final = {
    "shared": 2 * N_SHARED,
    "second": N_STEPS * N_SECONDS,
    "anchor_popularity": N_POPULARITIES,
    "length": N_LENGTHS,
    "question": N_LENGTHS,
    "order": 3,
    "age": N_AGES,
    "anchor_type": len(EventType),
    "offset": N_STEPS * 2 * (N_OFFSETS // 2),
    "popularity": N_POPULARITIES,
    "seen": N_STEPS + 1,
    "gap": len(GAPS_MS) + 1,
    "type": len(EventType),
    "own_step": N_STEPS,
    "own_times": 3,
    "own_popularity": N_POPULARITIES,
    "own_mass": N_MASSES,
    "own_question": N_LENGTHS,
    "own_age": N_AGES,
    "own_type": len(EventType),
    "else_mass": N_MASSES,
}
FIRST: Final = dict(zip(TABLES, accumulate(TABLES.values(), initial=0), strict=False))
N_WEIGHTS: Final = sum(TABLES.values())


@dataclass(frozen=True, slots=True)
class Matches:
    """Where a question's latest shared item, the anchor, is in another user's timeline.

    Attributes:
        distinct: (p,) which of the questions' distinct items it is.
        event: (p,) where it is.
        columns: (p, 8) weights that its votes have in common.
    """

    question: Int64s
    distinct: Int64s
    event: Int64s
    columns: Columns


@dataclass(frozen=True, slots=True)
class Votes:
    """Every single vote for an item: by events of others, by one's own events, and by popularity.

    Attributes:
        match: (e,) of ``matches``.
        columns, own_columns: (e, 5) and (d, 7): weights of a vote, besides those of its match.
        else_columns: (n,) the weight of popularity.
    """

    matches: Matches
    question: Int32s
    item: Int32s
    match: Int32s
    columns: Columns
    distinct: Distinct
    own_columns: Columns
    else_columns: Columns

    @property
    def nbytes(self) -> int:
        """Bytes of the votes by others."""
        return sum(getattr(self, name).nbytes for name in ("question", "item", "match", "columns"))


def votes(timelines: Timelines, asked: Asked, neighbours: int, reach: int) -> Votes:
    """Who votes for what: events within ``reach`` of the anchors, in the timelines of the nearest ``neighbours``."""
    distinct = distinct_items(asked)
    matches = nearest_matches(timelines, asked, distinct, neighbours)
    match, event = _around(timelines, matches.event, reach)
    question = matches.question[match]
    if timelines.is_timed:
        known = timelines.ts[event] < asked.at_ms[question]
        match, event, question = match[known], event[known], question[known]
    item = timelines.items[event]
    apart = np.abs(timelines.ts[event] - timelines.ts[matches.event[match]]) if timelines.is_timed else 0 * event
    columns = {
        "offset": step_buckets(distinct.step)[matches.distinct[match]] * N_OFFSETS
        + offset_buckets(event - matches.event[match]),
        "popularity": logarithmic(timelines.counts, N_POPULARITIES)[item],
        "seen": _when_seen(distinct, question, item, len(timelines.counts)),
        "gap": np.searchsorted(GAPS_MS, apart, side="right"),
        "type": timelines.types[event].astype(np.int64),
    }
    mass = logarithmic(np.bincount(question, minlength=len(asked)) + 1, N_MASSES)
    return Votes(
        matches,
        question.astype(np.int32),
        item,
        match.astype(np.int32),
        _stacked(columns),
        distinct,
        _own_columns(timelines, asked, distinct, mass),
        _stacked({"else_mass": mass})[:, 0],
    )


def _around(timelines: Timelines, anchors: Int64s, reach: int) -> tuple[Int64s, Int64s]:
    """Which anchor and which event, for all events of the same user at most ``reach`` before or after an anchor."""
    owner = timelines.rows[anchors]
    starts = np.maximum(anchors - reach, timelines.offsets[owner])
    lengths = np.minimum(anchors + reach + 1, timelines.offsets[owner + 1]) - starts
    match = np.repeat(np.arange(len(anchors)), lengths)
    event = np.arange(len(match)) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    other = event != anchors[match]
    return match[other], event[other]


def nearest_matches(timelines: Timelines, asked: Asked, distinct: Distinct, neighbours: int) -> Matches:
    """The anchors in the timelines that share most with each question: ``sum of 1 / (1 + step)`` over shared items."""
    starts, stops = timelines.first[distinct.item], timelines.first[distinct.item + 1]
    which = np.repeat(np.arange(len(starts)), stops - starts)
    event = timelines.postings[positions(timelines.first, distinct.item.astype(np.int64))]
    question, user = distinct.question[which], timelines.rows[event]
    seen = user != asked.own[question]
    if timelines.is_timed:
        seen &= timelines.ts[event] < asked.at_ms[question]
    which, event, question, user = which[seen], event[seen], question[seen], user[seen]
    step = distinct.step[which]
    # One key sorts faster than three; of one item the events are in order already.
    longest = int(step.max(initial=0)) + 1
    order = np.argsort((question * len(timelines.priority) + user) * longest + step, kind="stable")
    which, event, question, user, step = (each[order] for each in (which, event, question, user, step))
    is_new = changes(question, user)
    pair = np.cumsum(is_new) - 1
    is_new_item = is_new | changes(step)
    shared = np.bincount(pair[is_new_item])
    nearness = np.bincount(pair[is_new_item], weights=1.0 / (1.0 + step[is_new_item])).astype(np.float64)
    by_item = np.flatnonzero(is_new_item)
    is_second = ~is_new[by_item] & np.append(True, is_new[by_item][:-1])[: len(by_item)]
    second = np.full(len(shared), -1)
    second[pair[by_item[is_second]]] = step[by_item[is_second]]
    pairs = np.flatnonzero(is_new)
    chosen = _nearest(question[pairs], nearness, timelines.priority[user[pairs]], neighbours)
    anchor = chosen[pair] & (step == step[pairs][pair])
    which, event, pair = which[anchor], event[anchor], pair[anchor]
    found = Matches(question[anchor], which, event, np.empty((0, 0), dtype=np.int16))
    columns = _match_columns(timelines, asked, distinct, found, shared[pair], second[pair])
    return Matches(found.question, which, event, columns)


def _nearest(question: Int64s, nearness: Floats, priority: Int64s, most: int) -> Bools:
    """Which pairs are among the ``most`` nearest of their question; ``question`` is sorted."""
    order = np.lexsort((-priority, -nearness, question))
    counts = np.bincount(question)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[place < most]] = True
    return chosen


def _match_columns(
    timelines: Timelines, asked: Asked, distinct: Distinct, found: Matches, shared: Int64s, second: Int64s
) -> Columns:
    question, event, which = found.question, found.event, found.distinct
    user = timelines.rows[event]
    n_distinct = np.bincount(distinct.question, minlength=len(asked))
    lengths = np.diff(asked.offsets)
    mine = distinct.event[which]
    before = np.flatnonzero((mine > asked.offsets[question]) & (event > timelines.offsets[user]))
    order = np.zeros(len(event), dtype=np.int64)
    order[before] = 1 + (asked.items[mine[before] - 1] == timelines.items[event[before] - 1])
    age_ms = asked.at_ms[question] - timelines.ts[event] if timelines.is_timed else 0 * event
    few = np.minimum(shared, N_SHARED)
    second_bucket = np.where(second < 0, N_SECONDS - 1, np.minimum(second, N_SECONDS - 2))
    columns = {
        "shared": few - 1 + N_SHARED * (few >= np.minimum(n_distinct[question], N_SHARED)),
        "second": step_buckets(distinct.step[which]) * N_SECONDS + second_bucket,
        "anchor_popularity": logarithmic(timelines.counts, N_POPULARITIES)[distinct.item[which]],
        "length": logarithmic(np.diff(timelines.offsets), N_LENGTHS)[user],
        "question": np.minimum(lengths[question], N_LENGTHS) - 1,
        "order": order,
        "age": logarithmic(age_ms // DAY_MS + 1, N_AGES),
        "anchor_type": asked.types[mine].astype(np.int64),
    }
    return _stacked(columns)


def _own_columns(timelines: Timelines, asked: Asked, distinct: Distinct, mass: Int64s) -> Columns:
    age_ms = asked.at_ms[distinct.question] - asked.ts[distinct.event] if timelines.is_timed else 0 * distinct.event
    columns = {
        "own_step": step_buckets(distinct.step),
        "own_times": np.minimum(distinct.times, 3) - 1,
        "own_popularity": logarithmic(timelines.counts, N_POPULARITIES)[distinct.item],
        "own_mass": mass[distinct.question],
        "own_question": np.minimum(np.diff(asked.offsets)[distinct.question], N_LENGTHS) - 1,
        "own_age": logarithmic(age_ms // DAY_MS + 1, N_AGES),
        "own_type": asked.types[distinct.event].astype(np.int64),
    }
    return _stacked(columns)


def _when_seen(distinct: Distinct, question: Int64s, item: Int32s, n_items: int) -> Int64s:
    """0 for items that the question does not hold, else one more than the bucket of its step."""
    if not len(question):
        return np.zeros(0, dtype=np.int64)
    known = distinct.question * n_items + distinct.item  # sorted
    wanted = question * n_items + item
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, 1 + step_buckets(distinct.step[place]), 0)


def _stacked(columns: dict[str, Int64s]) -> Columns:
    """One column of weight numbers per property."""
    return np.stack([FIRST[name] + values for name, values in columns.items()], axis=1).astype(np.int16)


def step_buckets(steps: Int64s) -> Int64s:
    """Buckets of how many events ago something was: one by one up to 5, then ever more roughly.

    >>> step_buckets(np.array([0, 1, 5, 6, 7, 8, 10, 11, 15, 16, 99])).tolist()
    [0, 1, 5, 6, 6, 7, 7, 8, 8, 9, 9]
    """
    return np.searchsorted((1, 2, 3, 4, 5, 6, 8, 11, 16), steps, side="right")


def offset_buckets(offsets: Int64s) -> Int64s:
    """Buckets of how far after (first half) or before (second half) an anchor an event is.

    >>> offset_buckets(np.array([1, 2, 4, 5, 7, 10, 16, -1, -16])).tolist()
    [0, 1, 3, 4, 5, 6, 7, 8, 15]
    """
    distance = np.searchsorted((2, 3, 4, 5, 7, 10, 16), np.abs(offsets), side="right")
    return np.where(offsets > 0, distance, N_OFFSETS // 2 + distance)


def logarithmic(values: Int64s, n: int) -> Int64s:
    """``floor(log2(value))``, at least 0 and below ``n``.

    >>> logarithmic(np.array([0, 1, 2, 3, 4, 1000]), 8).tolist()
    [0, 0, 1, 1, 2, 7]
    """
    return np.minimum(np.log2(np.maximum(values, 1)).astype(np.int64), n - 1)


__all__ = ["FIRST", "N_WEIGHTS", "TABLES", "Matches", "Votes", "votes"]
