"""Training batches of the sequence transformer: where it is asked, what it should answer, which events it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.schema import DAY_MS, EventType
from features.sequences import Histories, positions


@dataclass(frozen=True, slots=True)
class Supervision:
    """Where the model is asked and what it should answer.

    Attributes:
        asked: (q,) int64 flat positions of the last event of each visit that has an answer, sorted.
        first, last: (q,) int64: ``answers[first:last]`` are the items bought in the horizon after that visit.
        answers: (p,) int32 bought items, by user and time.
    """

    asked: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    answers: NDArray[np.int32]


def supervise(histories: Histories, horizon_days: float) -> Supervision:
    """Ask at the end of every visit what is bought in ``(end, end + horizon]``.

    Users are asked between visits, so that is where the model learns (dense all-action loss; Pancha et al. 2022,
    PinnerFormer), and never about the rest of the same visit, which would be easier than the question of the day. Where
    nothing was ever bought, every interaction is an answer.
    """
    rows, visits = histories.rows, histories.visits()
    bought = histories.event_types == EventType.PURCHASE.code
    if not bought.any():
        bought = np.ones_like(bought)
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


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded windows (b, length), and q questions: vectors at ``[row, column]`` should point at ``answers`` (q, a)."""

    items: Tensor
    types: Tensor
    gaps_ms: Tensor
    row: Tensor
    column: Tensor
    answers: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        return Batch(
            *(getattr(self, name).to(device) for name in ("items", "types", "gaps_ms", "row", "column", "answers"))
        )


def draw_batches(
    histories: Histories,
    supervision: Supervision,
    n_items: int,
    rng: np.random.Generator,
    *,
    length: int,
    batch_size: int,
    answers: int,
) -> Iterator[Batch]:
    """One epoch: windows of at most ``length`` events that together ask every question once.

    Each user's events are cut at multiples of half a window from a random phase, so that a question sees between half a
    window and a whole one. Windows of like length share a batch, so that little is padded.
    """
    if not len(supervision.asked):
        return
    stride = max(length // 2, 1)
    owners = histories.rows[supervision.asked]
    first_event = histories.offsets[owners]
    phase = rng.integers(0, stride, size=len(histories))[owners]
    piece = (supervision.asked - first_event + phase) // stride
    is_new = np.append(True, (np.diff(owners) != 0) | (np.diff(piece) != 0))[: len(owners)]
    question = np.append(np.flatnonzero(is_new), len(owners))  # window w asks questions [question[w], question[w + 1])
    stops = supervision.asked[question[1:] - 1] + 1
    begins = np.maximum(first_event[question[:-1]], stops - length)
    by_length = np.argsort(stops - begins + rng.random(len(stops)), kind="stable")
    groups = np.split(by_length, np.arange(batch_size, len(by_length), batch_size))
    for group in rng.permutation(len(groups)):
        windows = groups[group]
        counts = np.diff(question)[windows]
        row = np.repeat(np.arange(len(windows)), counts)
        asked = positions(question, windows)
        low, high = supervision.first[asked], supervision.last[asked]
        drawn = low[:, None] + (rng.random((len(asked), answers)) * (high - low)[:, None]).astype(np.int64)
        yield Batch(
            *padded(histories, begins[windows], stops[windows], n_items),
            row=torch.from_numpy(row),
            column=torch.from_numpy(supervision.asked[asked] - begins[windows][row]),
            answers=torch.from_numpy(supervision.answers[drawn].astype(np.int64)),
        )


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


__all__ = ["Batch", "Supervision", "draw_batches", "padded", "supervise"]
