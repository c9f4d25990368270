"""Training batches of the sequence transformer: where it is asked, what it should answer, which events it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.schema import DAY_MS, EventType
from features.sequences import Histories, positions
from training.order import is_timed

#: A small log is cut into about this many batches, each of at least ``FEWEST_EVENTS``: few large steps teach little.
BATCHES, FEWEST_EVENTS = 32, 128


@dataclass(frozen=True, slots=True)
class Supervision:
    """Where the model is asked and what it should answer.

    Attributes:
        asked: (q,) int64 flat positions of the events after which it is asked, sorted.
        first, last: (q,) int64: ``answers[first:last]`` are the right answers to that question, at least one.
        answers: (p,) int32 items, by user and time.
    """

    asked: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    answers: NDArray[np.int32]


def supervise(histories: Histories, horizon_days: float) -> Supervision:
    """The questions that the log itself can answer, as they will be asked.

    Users of a shop are asked between visits what they will buy: see ``bought_within``. Where all of a log's gaps are
    equal its times were made up from an order, and where nobody came back there is nothing between visits: then the
    question is what comes next, see ``next_item``.
    """
    if is_timed(histories):
        found = bought_within(histories, horizon_days)
        if len(found.asked):
            return found
    return next_item(histories)


def bought_within(histories: Histories, horizon_days: float) -> Supervision:
    """Ask at the end of every visit what is bought in ``(end, end + horizon]``.

    Users are asked between visits, so that is where the model learns (dense all-action loss; Pancha et al. 2022,
    PinnerFormer), and never about the rest of the same visit, which would be easier than the question of the day. Where
    nothing was ever bought, every interaction is an answer.
    """
    rows, visits = histories.rows, histories.visits()
    bought = histories.event_types == EventType.PURCHASE.code
    if not bought.any():
        bought = np.ones_like(bought)
    bought = bought & (histories.items >= 0)
    ends = np.flatnonzero(np.append(np.diff(visits) != 0, True)[: len(visits)])
    # One increasing key for (user, time), so that a horizon is a range of it.
    start = int(histories.ts.min(initial=0))
    span = int(histories.ts.max(initial=0)) - start + int(horizon_days * DAY_MS) + 2
    keys = rows * span + (histories.ts - start)
    answer_keys = keys[bought]
    first = np.searchsorted(answer_keys, keys[ends], side="right")
    last = np.searchsorted(answer_keys, keys[ends] + int(horizon_days * DAY_MS), side="right")
    answered = last > first
    return Supervision(ends[answered], first[answered], last[answered], histories.items[bought])


def next_item(histories: Histories) -> Supervision:
    """Ask after every event what the user's next event is about."""
    followed = np.flatnonzero((np.diff(histories.rows) == 0) & (histories.items[1:] >= 0))
    return Supervision(followed, followed + 1, followed + 2, histories.items)


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded windows (b, length), and q questions: vectors at ``[row, column]`` should point at ``answers`` (q, a).

    Questions are sorted by row and column.
    """

    items: Tensor
    types: Tensor
    gaps_ms: Tensor
    row: Tensor
    column: Tensor
    answers: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


@dataclass(frozen=True)
class Epoch:
    """The batches of one epoch, made one by one: windows that together ask every question once.

    Attributes:
        begins, stops: (w,) int64: the events of each window.
        question: (w + 1,) int64: window w asks ``question[w]:question[w + 1]`` of the supervision's.
        groups: Windows of like length that share a batch, so that little is padded.
    """

    histories: Histories
    supervision: Supervision
    n_items: int
    rng: np.random.Generator
    answers: int
    begins: NDArray[np.int64]
    stops: NDArray[np.int64]
    question: NDArray[np.int64]
    groups: list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Batch]:
        for group in self.rng.permutation(len(self.groups)):
            yield self._batch(self.groups[group])

    def _batch(self, windows: NDArray[np.int64]) -> Batch:
        supervision, begins = self.supervision, self.begins[windows]
        row = np.repeat(np.arange(len(windows)), np.diff(self.question)[windows])
        asked = positions(self.question, windows)
        low, high = supervision.first[asked], supervision.last[asked]
        drawn = low[:, None] + (self.rng.random((len(asked), self.answers)) * (high - low)[:, None]).astype(np.int64)
        return Batch(
            *padded(self.histories, begins, self.stops[windows], self.n_items),
            row=torch.from_numpy(row),
            column=torch.from_numpy(supervision.asked[asked] - begins[row]),
            answers=torch.from_numpy(supervision.answers[drawn].astype(np.int64)),
        )


def draw_batches(
    histories: Histories,
    supervision: Supervision,
    n_items: int,
    rng: np.random.Generator,
    *,
    length: int,
    batch_size: int,
    batch_events: int,
    answers: int,
    processes: int = 1,
) -> Epoch:
    """One epoch of windows of at most ``length`` events.

    Each user's events are cut at multiples of three quarters of a window from a random phase, so that a question sees
    at least a quarter of a window.

    Args:
        batch_size: The most windows in one batch.
        batch_events: The most events in one batch, padding counted, as long as it holds more than one window;
            fewer where the log is small.
        answers: How many of a question's answers are drawn, with repetition.
        processes: How many batches make one step; each is smaller by that.
    """
    owners = histories.rows[supervision.asked]
    first_event = histories.offsets[owners]
    stride = max(length * 3 // 4, 1)
    phase = rng.integers(0, stride, size=len(histories))[owners]
    piece = (supervision.asked - first_event + phase) // stride
    is_new = np.append(True, (np.diff(owners) != 0) | (np.diff(piece) != 0))[: len(owners)]
    question = np.append(np.flatnonzero(is_new), len(owners))
    stops = supervision.asked[question[1:] - 1] + 1
    begins = np.maximum(first_event[question[:-1]], stops - length)
    lengths = stops - begins
    by_length = np.argsort(lengths + rng.random(len(lengths)), kind="stable")
    batch_events = min(batch_events, max(int(lengths.sum()) // BATCHES, FEWEST_EVENTS)) // processes
    batch_size = max(batch_size // processes, 1)
    groups, start = [], 0
    while start < len(by_length):
        some = by_length[start : start + batch_size]
        events = lengths[some] * np.arange(1, len(some) + 1)
        size = max(int(np.searchsorted(events, batch_events, side="right")), 1)
        groups.append(some[:size])
        start += size
    answers = min(answers, int((supervision.last - supervision.first).max(initial=1)))
    return Epoch(histories, supervision, n_items, rng, answers, begins, stops, question, groups)


def padded(
    histories: Histories, begins: NDArray[np.int64], stops: NDArray[np.int64], n_items: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(b, longest) int64 items, event types and gaps in milliseconds of the events ``[begins, stops)`` of each row.

    Padded on the right; padding and unknown items have the id ``n_items``.
    """
    lengths = stops - begins
    place = np.arange(int(lengths.max()))
    inside = place < lengths[:, None]
    source = np.where(inside, begins[:, None] + place, begins[:, None])
    items = np.where(inside, histories.items[source], -1)
    ts = histories.ts[source]
    gaps = np.diff(ts, axis=1, prepend=ts[:, :1])
    return (
        torch.from_numpy(np.where(items < 0, n_items, items).astype(np.int64)),
        torch.from_numpy(histories.event_types[source].astype(np.int64)),
        torch.from_numpy(np.where(inside, gaps, 0)),
    )


__all__ = ["Batch", "Epoch", "Supervision", "draw_batches", "next_item", "padded", "supervise"]
