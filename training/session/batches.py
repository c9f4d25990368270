"""Sessions as tensors, and their batches for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from features.sequences import positions
from training.intent.piecewise import PiecewiseLinear
from training.session.followers import Known
from training.session.network import Sessions
from training.session.outcomes import SessionOutcomes
from training.session.steps import Floats, Int64s, Steps


@dataclass(frozen=True)
class Inputs:
    """All that the network reads of the m events and s sessions of some steps; see ``Sessions``.

    Attributes:
        near: (r, groups) float32, how often each group came near, see ``followers``.
        near_row: (m,) int64, the row of ``near`` that speaks of each event.
        earlier: (s, groups) float32.
    """

    steps: Steps
    types: Int64s
    groups: Int64s
    numbers: Floats
    near: sparse.csr_array
    near_row: Int64s
    earlier: Floats

    @classmethod
    def of(cls, steps: Steps, known: Known, basis: PiecewiseLinear) -> Inputs:
        """Args: known: of the events' items; basis: of the steps' numbers."""
        n_groups = known.near.shape[1]
        groups = np.where(known.groups < 0, n_groups, known.groups)
        numbers = basis.transform(steps.numbers)
        earlier = _earlier(steps, groups, n_groups)
        return cls(steps, steps.types.astype(np.int64), groups, numbers, known.near, known.row, earlier)

    def sessions(self, chosen: Int64s, length: int) -> tuple[Sessions, Int64s]:
        """The last ``length`` events of each session, and (q,) int64 their flat positions."""
        stops = self.steps.offsets[chosen + 1]
        lengths = np.minimum(stops - self.steps.offsets[chosen], length)
        row = np.repeat(np.arange(len(chosen)), lengths)
        column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = np.repeat(stops - lengths, lengths) + column
        arrays = (row, column, self.types[place], self.groups[place], self.numbers[place])
        near = _rows(self.near, self.near_row[place])
        return Sessions(*(torch.from_numpy(one) for one in (*arrays, near, self.earlier[chosen]))), place


@dataclass(frozen=True, slots=True)
class Batch:
    """Sessions and what followed each of their q events: ``happened`` (q, targets), ``next_type`` and ``next_group``
    (q,); a group of -1 is not asked for."""

    sessions: Sessions
    happened: Tensor
    next_type: Tensor
    next_group: Tensor


@dataclass(frozen=True)
class Epoch:
    """The batches of one epoch, made one by one; ``groups`` are the sessions of each."""

    inputs: Inputs
    outcomes: SessionOutcomes
    groups: list[Int64s]
    length: int

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Batch]:
        happened = np.stack(list(self.outcomes.happened.values()), axis=1).astype(np.float32)
        for chosen in self.groups:
            sessions, place = self.inputs.sessions(chosen, self.length)
            yield Batch(
                sessions,
                torch.from_numpy(happened[place]),
                torch.from_numpy(self.outcomes.next_type[place]),
                torch.from_numpy(self.outcomes.next_group[place]),
            )


def draw(
    inputs: Inputs, outcomes: SessionOutcomes, chosen: Int64s, length: int, events: int, rng: np.random.Generator
) -> Epoch:
    """Batches of the ``chosen`` sessions with about ``events`` events each, at random.

    Sessions of like length would need less padding, but how long a session is says how it ended: batches of buyers and
    batches of others pull the network to and fro.
    """
    shuffled = rng.permutation(chosen)
    lengths = np.minimum(np.diff(inputs.steps.offsets)[shuffled], length)
    number = (np.cumsum(lengths) - lengths) // events
    groups = np.split(shuffled, np.flatnonzero(np.diff(number)) + 1) if len(chosen) else []
    return Epoch(inputs, outcomes, groups, length)


def _rows(table: sparse.csr_array, rows: Int64s) -> Floats:
    """(q, groups) some rows, dense; for a few rows ten times faster than the library's own indexing."""
    dense = np.zeros((len(rows), table.shape[1]), dtype=np.float32)
    at = positions(table.indptr, rows)
    owner = np.repeat(np.arange(len(rows)), np.diff(table.indptr)[rows])
    dense[owner, table.indices[at]] = table.data[at]
    return dense


def _earlier(steps: Steps, groups: Int64s, n_groups: int) -> Floats:
    """(s, n_groups): by session first, then summed over the sessions of the same history before it."""
    n = len(steps)
    counts = np.zeros((n, n_groups + 1), dtype=np.float32)
    np.add.at(counts, (steps.session, groups), 1)
    counts = counts[:, :-1]
    total = np.cumsum(counts, axis=0) - counts
    first = np.searchsorted(steps.row, steps.row)
    return np.ascontiguousarray(total - total[first]) if n else counts


__all__ = ["Batch", "Epoch", "Inputs", "draw"]
