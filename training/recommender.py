"""The interface of every preference model, and the registry of their names.

One call serves training evaluation, batch export and the endpoint: a batch of histories goes in, ranked items come out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from features.schema import Level
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from training.configured import Configured, Registry
from training.reasons import Reason
from training.search_space import Space

Ids = NDArray[np.int32]
Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Called by a model that learns in epochs: (epochs done, epochs at most, metrics so far).
Progress = Callable[[int, int, dict[str, float]], None]

#: The most scores in one (n, n_items) matrix: 256 MiB, of which a model's own steps and a blend's parts take a few.
SCORES_AT_ONCE = 1 << 26


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a model may learn from.

    Attributes:
        snapshot: Everything known as of the end of the training period.
        validation: Questions at or after the snapshot's instant with their answers, for early stopping and for what is
            learned on top of fitted models; absent in a refit, where nothing is decided any more.
    """

    snapshot: Snapshot
    validation: Labelled | None = None


@dataclass
class Curve:
    """What happened: one entry per epoch, and which epoch's weights were kept."""

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int = 0


class Recommender(Configured, ABC):
    """A preference model over dense item ids of one snapshot's vocabulary."""

    kind = "model"
    #: The level of personalisation that its answers have.
    level: ClassVar[Level]
    #: What tuning tries; hyper-parameters that are not in it keep their defaults.
    space: ClassVar[Space] = {}

    n_items: int
    #: How the loss fell, for models that learn in epochs.
    curve: Curve | None = None

    @property
    def is_indexed(self) -> bool:
        """Whether ``recommend`` and ``score_candidates`` do without the scores of all items."""
        return False

    @abstractmethod
    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Learn from what the training set's snapshot knows."""

    def refit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """The same model on a later snapshot, with whatever validation decided before (epochs, weights) kept."""
        return type(self)(**self.config.model_dump()).fit(training_set, progress)

    @abstractmethod
    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items) float32 for one chunk of histories; zero or less means "nothing known that speaks for it".

        Only called with chunks that are small enough: see ``at_once``.
        """

    def score_candidates(self, histories: Histories, candidates: Ragged) -> Scores:
        """(m,) float32: the score of each candidate for the user of its row."""
        scores = np.empty(len(candidates.values), dtype=np.float32)
        for rows in chunks(len(histories), at_once(self.n_items)):
            flat = slice(int(candidates.offsets[rows.start]), int(candidates.offsets[rows.stop]))
            dense = self.score_all(histories.take(np.arange(rows.start, rows.stop)))
            scores[flat] = dense[candidates.rows[flat] - rows.start, candidates.values[flat]]
        return scores

    def recommend(self, histories: Histories, k: int, allowed: Mask | None = None) -> tuple[Ids, Scores]:
        """The ``k`` best items of each user, best first; ties go to the lower dense id.

        Args:
            histories: n questions.
            k: At least 1.
            allowed: (n_items,) bool, items that may be shown; all if absent.

        Returns:
            ids (n, k) int32 and scores (n, k) float32, padded with -1 and -inf where fewer than ``k`` items are
            allowed.
        """
        ids = np.full((len(histories), k), -1, dtype=np.int32)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        for rows in chunks(len(histories), at_once(self.n_items)):
            dense = self.score_all(histories.take(np.arange(rows.start, rows.stop)))
            ids[rows], scores[rows] = top_k(dense, k, allowed)
        return ids, scores

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Why each of ``items`` was recommended, for one question."""
        return [Reason("unexplained")] * len(items)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted model as JSON, npz and safetensors; nothing in it is executed on load."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; answers are equal to those of the saved model."""


def chunks(n: int, size: int = 256) -> Iterator[slice]:
    """Slices of at most ``size`` rows, so that no (users x items) matrix ever exists as a whole."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def at_once(n_items: int) -> int:
    """How many rows of all items' scores are held at once: 256, fewer of a catalogue so large that memory would not do.

    >>> at_once(10_000), at_once(1_000_000)
    (256, 67)
    """
    return min(256, max(SCORES_AT_ONCE // max(n_items, 1), 1))


def top_k(scores: Scores, k: int, allowed: Mask | None = None) -> tuple[Ids, Scores]:
    """The ``k`` largest of each row of (n, n_items) scores, best first, ties by lower id; padded with -1 and -inf."""
    n, n_items = scores.shape
    if allowed is not None:
        scores = np.where(allowed, scores, np.float32(-np.inf))
    ids = np.full((n, k), -1, dtype=np.int32)
    best = np.full((n, k), -np.inf, dtype=np.float32)
    width = min(k, n_items)
    if width < n_items:
        # argpartition leaves ties at the border in any order; everything at least as good as the k-th is sorted whole.
        kth = np.partition(scores, n_items - width, axis=1)[:, n_items - width]
    else:
        kth = np.full(n, -np.inf, dtype=np.float32)
    for row in range(n):
        shortlist = np.flatnonzero(scores[row] >= kth[row])
        order = shortlist[np.argsort(-scores[row, shortlist], kind="stable")[:width]]
        order = order[np.isfinite(scores[row, order])]
        ids[row, : len(order)] = order
        best[row, : len(order)] = scores[row, order]
    return ids, best


def top_of(chosen: Ragged, scores: Scores, k: int) -> tuple[Ids, Scores]:
    """As ``top_k``, of (m,) scores of n rows of distinct items."""
    ids = np.full((len(chosen), k), -1, dtype=np.int32)
    best = np.full((len(chosen), k), -np.inf, dtype=np.float32)
    rows, finite = chosen.rows, np.isfinite(scores)
    order = np.lexsort((chosen.values, -scores, ~finite, rows))
    place = np.arange(len(order)) - chosen.offsets[rows]
    kept = finite[order] & (place < k)
    ids[rows[kept], place[kept]] = chosen.values[order[kept]]
    best[rows[kept], place[kept]] = scores[order[kept]]
    return ids, best


_MODELS: Registry[Recommender] = Registry(Recommender.kind)

#: As ``Registry`` describes them.
register, models, model_class = _MODELS.register, _MODELS.all, _MODELS.find
