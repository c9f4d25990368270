"""What the sessions benchmark learns from and what it asks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.benchmarks.published.fitted import Material
from experiments.benchmarks.published.snapshots import snapshot_of
from features.errors import InputError
from features.schema import EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.sources.made_times import END_MS
from features.sources.session_lists import STEP_MS
from features.split import Group, Labelled

#: Share of the training sessions that decisions are made on, and how many questions are drawn from them at most.
VALIDATION, QUESTIONS = 0.1, 10_000

#: The file of the training sessions and the source that reads it.
_READ_AS = ("train_sequences.parquet", "session_lists")


@dataclass(frozen=True, slots=True)
class Lists:
    """Sessions, or prefixes: row i holds the names ``items[offsets[i]:offsets[i + 1]]`` in order."""

    offsets: NDArray[np.int64]
    items: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, rows: pd.Series) -> Lists:
        """From a column of lists."""
        arrays = [np.asarray(row, dtype=np.int64) for row in rows]
        offsets = np.cumsum([0, *(len(row) for row in arrays)])
        return cls(offsets.astype(np.int64), np.concatenate(arrays) if arrays else np.zeros(0, np.int64))

    def next_items(self, shortest: int) -> NDArray[np.int64]:
        """Flat positions of all items that have at least ``shortest`` before them in their list."""
        place = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))
        return np.flatnonzero(place >= shortest)

    def before(self, targets: NDArray[np.int64]) -> Lists:
        """What is in the list before each of the items at flat positions ``targets``."""
        begins = self.offsets[np.searchsorted(self.offsets, targets, side="right") - 1]
        offsets = np.concatenate([[0], np.cumsum(targets - begins)])
        flat = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], targets - begins)
        return Lists(offsets, self.items[flat])


def hold_out(train: pd.DataFrame, rng: np.random.Generator) -> Material:
    """All sessions, all but a random tenth, and what comes next in that tenth, asked as often as the test does.

    Prefixes are as long as the papers' preparation leaves them: it has dropped short sessions, and the shortest that is
    left says how much of a session is always known. Questions at even and at odd positions are from different sessions.

    Raises:
        InputError: Nothing follows anything in the held sessions.
    """
    held = rng.random(len(train)) < VALIDATION
    shortest = shortest_prefix(train["items"])
    halves = []
    for half in (0, 1):
        lists = Lists.of(train["items"][held][half::2])
        targets = rng.permutation(lists.next_items(shortest))[: QUESTIONS // 2]
        halves.append((lists, targets))
    n = min(len(targets) for _, targets in halves)
    if n == 0:
        rule = "must hold sessions of two clicks and more"
        raise InputError("train_sequences.parquet", rule, mend="give more of them")
    early = snapshot_of(train[~held], *_READ_AS)
    asked = [questions(early, lists.before(targets[:n]), lists.items[targets[:n]]) for lists, targets in halves]
    return Material(early, interleaved(*asked), snapshot_of(train, *_READ_AS))


def shortest_prefix(sessions: pd.Series) -> int:
    """One less than the clicks of the shortest session that has two, at least 1."""
    lengths = sessions.map(len).to_numpy()
    lengths = lengths[lengths > 1]
    return int(lengths.min()) - 1 if len(lengths) else 1


def questions(snapshot: Snapshot, prefixes: Lists, targets: NDArray[np.int64]) -> Labelled:
    """What follows each prefix, asked of models that were fitted on ``snapshot``: everything in it is input.

    Raises:
        InputError: There is no question.
    """
    n = len(prefixes)
    if n == 0:
        raise InputError("test.parquet", "must hold a prefix and its target")
    names = [str(name) for name in targets.tolist()]
    vocabulary = snapshot.items.extended(names)
    from_end = np.repeat(prefixes.offsets[1:], np.diff(prefixes.offsets)) - 1 - np.arange(len(prefixes.items))
    histories = Histories(
        user_ids=np.array([f"prefix {row}" for row in range(n)], dtype=object),
        as_of_ms=np.full(n, snapshot.as_of_ms, np.int64),
        snapshot_ms=np.full(n, snapshot.as_of_ms, np.int64),
        offsets=prefixes.offsets,
        items=snapshot.items.encode([str(name) for name in prefixes.items.tolist()]),
        event_types=np.full(len(prefixes.items), EventType.VIEW.code, np.int8),
        ts=END_MS - from_end * STEP_MS,
    )
    labels = Ragged(np.arange(n + 1, dtype=np.int64), vocabulary.encode(names))
    return Labelled(histories, labels, vocabulary, np.full(n, Group.HOT.value, dtype=object))


def interleaved(even: Labelled, odd: Labelled) -> Labelled:
    """The questions of both, taking turns; they are equally many and about the same snapshot."""
    one, other, n = even.histories, odd.histories, len(even)
    vocabulary = even.vocabulary.extended(odd.vocabulary.ids)
    labels = np.concatenate([even.labels.values, vocabulary.encode(odd.vocabulary.decode(odd.labels.values))])
    both = Histories(
        user_ids=np.concatenate([one.user_ids + " even", other.user_ids + " odd"]),
        as_of_ms=np.concatenate([one.as_of_ms, other.as_of_ms]),
        snapshot_ms=np.concatenate([one.snapshot_ms, other.snapshot_ms]),
        offsets=np.concatenate([one.offsets, one.offsets[-1] + other.offsets[1:]]),
        items=np.concatenate([one.items, other.items]),
        event_types=np.concatenate([one.event_types, other.event_types]),
        ts=np.concatenate([one.ts, other.ts]),
    )
    groups = np.concatenate([even.groups, odd.groups])
    together = Labelled(both, Ragged(np.arange(2 * n + 1, dtype=np.int64), labels), vocabulary, groups)
    return together.take(np.arange(2 * n).reshape(2, n).T.ravel())


__all__ = ["QUESTIONS", "VALIDATION", "Lists", "hold_out", "interleaved", "questions", "shortest_prefix"]
