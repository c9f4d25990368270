"""Everybody's events by user and by item, and what a question to session neighbours is about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.sequences import Bools, Int8s, Int32s, Int64s, positions


@dataclass(frozen=True, slots=True)
class Timelines:
    """Everybody's events, and where each item is in them.

    Attributes:
        offsets: (users + 1,) int64; user u's events are ``offsets[u]:offsets[u + 1]``, oldest first.
        items, types, ts: (m,) events.
        rows: (m,) int64 user of each event.
        counts: (n_items,) int64 events of each item.
        postings: Positions of events, item by item; of a popular item only the most recently active users'.
        first: (n_items + 1,) int64; item i's postings are ``first[i]:first[i + 1]``.
        priority: (users,) int64, higher for users that were active later; random where there is no time.
        is_timed: Whether times are real: then nothing later than a question is seen, and age counts.
    """

    offsets: Int64s
    items: Int32s
    types: Int8s
    ts: Int64s
    rows: Int64s
    counts: Int64s
    postings: Int64s
    first: Int64s
    priority: Int64s
    is_timed: bool

    @classmethod
    def of(
        cls, offsets: Int64s, items: Int32s, types: Int8s, ts: Int64s, *, n_items: int, postings: int, is_timed: bool
    ) -> Timelines:
        """Index everybody's events, all of known items, with at most ``postings`` of one item."""
        lengths, n = np.diff(offsets), len(offsets) - 1
        rows = np.repeat(np.arange(n), lengths)
        last = np.full(n, np.iinfo(np.int64).min)
        last[lengths > 0] = ts[offsets[1:][lengths > 0] - 1]
        priority = np.empty(n, dtype=np.int64)
        # Which user is listed first means nothing: ties are broken by a draw, the same one each time.
        priority[np.lexsort((np.random.default_rng(0).permutation(n), last))] = np.arange(n)
        order = np.lexsort((-priority[rows], items))
        counts = np.bincount(items, minlength=n_items)
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = order[place < postings]
        first = np.concatenate([[0], np.cumsum(np.minimum(counts, postings))])
        return cls(
            offsets, items, types, ts, rows, counts, kept[np.lexsort((kept, items[kept]))], first, priority, is_timed
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """n questions: the last events of somebody, oldest first, and an instant.

    Attributes:
        own: (n,) int64 row of the user's own timeline, which does not answer; -1 if there is none.
    """

    offsets: Int64s
    items: Int32s
    types: Int8s
    ts: Int64s
    at_ms: Int64s
    own: Int64s

    def __len__(self) -> int:
        return len(self.at_ms)

    def take(self, rows: Int64s) -> Asked:
        """The questions at positions ``rows``."""
        events = positions(self.offsets, rows)
        offsets = np.concatenate([[0], np.cumsum(np.diff(self.offsets)[rows])])
        of_events = (self.items[events], self.types[events], self.ts[events])
        return Asked(offsets, *of_events, self.at_ms[rows], self.own[rows])


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct items of all questions, by question: when each came last and how often.

    Attributes:
        event: Flat position of its last event among the questions'.
        step: How many events of the question came after that.
    """

    question: Int64s
    item: Int32s
    step: Int64s
    event: Int64s
    times: Int64s


def distinct_items(asked: Asked) -> Distinct:
    """Each question's distinct items, in the order of their numbers."""
    lengths = np.diff(asked.offsets)
    question = np.repeat(np.arange(len(asked)), lengths)
    step = np.repeat(asked.offsets[1:], lengths) - 1 - np.arange(len(question))
    order = np.lexsort((step, asked.items, question))
    is_new = changes(question[order], asked.items[order])
    latest = order[is_new]
    times = np.diff(np.append(np.flatnonzero(is_new), len(order)))
    return Distinct(question[latest], asked.items[latest], step[latest], latest, times)


def changes(*keys: NDArray[np.integer]) -> Bools:
    """(m,) bool: whether any of the sorted keys differs from the one before; the first does."""
    changed = np.ones(len(keys[0]), dtype=bool)
    changed[1:] = np.logical_or.reduce([np.diff(key) != 0 for key in keys])
    return changed


__all__ = ["Asked", "Distinct", "Timelines", "changes", "distinct_items"]
