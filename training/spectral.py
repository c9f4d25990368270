"""L3: taste as what is left of a history when only the broad patterns of the user-item graph are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from features.schema import Level
from features.sequences import Histories
from training.item_to_item import strongest_interest
from training.recommender import HyperParameters, Ids, Progress, Reason, Recommender, Scores, TrainingSet, register
from training.search_space import Between, Space

Floats = NDArray[np.float32]

#: Sweeps of the randomised decomposition, and directions that it tries beyond those that are kept (Halko et al. 2011).
SWEEPS, SPARE = 2, 30

#: Patterns of all items, or of all users, are never more numbers than this.
MOST_ENTRIES = 60_000_000


@register
class Spectral(Recommender):
    """``scores = z(past D^-a V V' D^a) + w z(past L)``: an ideal low-pass filter, and one step along the graph.

    ``V`` (items, rank) are the right singular vectors of ``U^-u R D^-i``, ``R`` being who took what, ``U`` and ``D``
    how many items each user took and how many users each item. ``L = D^-b R' U^-2c R D^-d`` leads to what those took
    who took the same. ``z`` makes both comparable: each user's scores are divided by their deviation over the items.

    Shen et al. 2021 (How powerful is graph convolution for recommendation?) filter with the symmetric normalisation;
    Fu et al. 2022 (Revisiting neighborhood-based link prediction for collaborative filtering) give each degree an
    exponent of its own. Milder exponents than one half keep more of what popular items and busy users tell.
    """

    name = "spectral"
    level = Level.PREFERENCE

    class Config(HyperParameters):
        """Exponents of degrees, how many patterns are kept, and the weight of the step along the graph.

        Attributes:
            rank: Patterns that are kept; fewer where users or items are few, or very many.
            user_power, item_power: ``u`` and ``i``.
            back_power: ``a``.
            graph: ``w``; 0 without that step.
            graph_user_power, graph_from_power, graph_to_power: ``c``, ``b`` and ``d``.
        """

        rank: int = Field(default=1_200, ge=1)
        user_power: float = Field(default=0.25, ge=0)
        item_power: float = Field(default=0.4, ge=0)
        back_power: float = Field(default=0.2, ge=0)
        graph: float = Field(default=0.6, ge=0)
        graph_user_power: float = Field(default=0.34, ge=0)
        graph_from_power: float = Field(default=0.5, ge=0)
        graph_to_power: float = Field(default=0.4, ge=0)

    space: ClassVar[Space] = {
        "rank": Between(64, 2_000, log=True),
        "user_power": Between(0.0, 0.5),
        "item_power": Between(0.0, 0.6),
        "back_power": Between(0.0, 0.6),
        "graph": Between(0.0, 3.0),
    }

    _patterns: Floats  # (items, rank): V
    _taken: sparse.csr_array  # (users, items): R

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Decompose; O(rank * interactions + (users + items) * rank ** 2)."""
        snapshot, c = training_set.snapshot, self.config
        self.n_items = len(snapshot.items)
        taken = self.past(snapshot.sequences)
        taken.data[:] = 1
        self._taken = taken
        scaled = sparse.csr_matrix(_scaled(taken, c.user_power, c.item_power))
        rank = min(c.rank, min(scaled.shape) // 2, MOST_ENTRIES // max(scaled.shape))
        self._patterns = np.zeros((self.n_items, 0), dtype=np.float32)
        if rank and scaled.nnz:
            _, _, patterns = randomized_svd(scaled, rank, n_oversamples=SPARE, n_iter=SWEEPS, random_state=0)
            self._patterns = np.ascontiguousarray(patterns.T, dtype=np.float32)
        self._prepare()
        return self

    def _prepare(self) -> None:
        """What follows from what is saved."""
        c, taken = self.config, self._taken
        busy, popular = degrees(taken)
        self._back = power(popular, c.back_power)
        self._forth = power(popular, -c.back_power)
        self._to_users = sparse.csr_array(taken.T * power(busy, -2 * c.graph_user_power))
        self._to_users = sparse.csr_array(sparse.diags_array(power(popular, -c.graph_from_power)) @ self._to_users)
        self._to_items = sparse.csr_array(taken * power(popular, -c.graph_to_power))

    def past(self, histories: Histories) -> sparse.csr_array:
        """(n, n_items) float32: the strongest interest of each user in each item, whenever it was."""
        return strongest_interest(histories, np.ones(len(histories.items)), self.n_items)

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items); 0 for users without a known item."""
        past = self.past(histories)
        smooth = (past * self._forth) @ self._patterns @ self._patterns.T * self._back
        scores = _comparable(np.asarray(smooth, dtype=np.float32), past)
        if self.config.graph:
            step = (past @ self._to_users @ self._to_items).toarray()
            scores += np.float32(self.config.graph) * _comparable(step, past)
        return scores

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the item of the history that adds most through the patterns to each of ``items``."""
        past = self.past(histories)
        if not past.nnz:
            return [Reason(self.name)] * len(items)
        sources = past.indices
        support = (self._patterns[sources] * (past.data * self._forth[sources])[:, None]) @ self._patterns[items].T
        return [Reason("same_taste_as", item=int(source)) for source in sources[support.argmax(axis=0)]]

    def save(self, folder: Path) -> None:
        """Two npz and one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "patterns.npz", patterns=self._patterns)
        sparse.save_npz(folder / "taken.npz", sparse.csr_matrix(self._taken))
        (folder / "model.json").write_text(json.dumps({"config": self.config.model_dump()}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        model = cls(**json.loads((folder / "model.json").read_text(encoding="utf-8"))["config"])
        with np.load(folder / "patterns.npz", allow_pickle=False) as arrays:
            model._patterns = arrays["patterns"]
        model._taken = sparse.csr_array(sparse.load_npz(folder / "taken.npz"))
        model.n_items = model._taken.shape[1]
        model._prepare()
        return model


def degrees(taken: sparse.csr_array) -> tuple[Floats, Floats]:
    """How many items each user took, and how many users each item: (users,) and (items,) float32."""
    return (
        np.diff(taken.indptr).astype(np.float32),
        np.bincount(taken.indices, minlength=taken.shape[1]).astype(np.float32),
    )


def power(counts: Floats, exponent: float) -> Floats:
    """``counts ** exponent``, and 0 where nothing was counted."""
    return np.where(counts > 0, np.maximum(counts, 1) ** np.float32(exponent), 0).astype(np.float32)


def _scaled(taken: sparse.csr_array, user_power: float, item_power: float) -> sparse.csr_array:
    busy, popular = degrees(taken)
    return sparse.csr_array(sparse.diags_array(power(busy, -user_power)) @ taken * power(popular, -item_power))


def _comparable(scores: Floats, past: sparse.csr_array) -> Floats:
    """Each row over its deviation, items of the past counting as 0: they outweigh all others, and are often removed."""
    others = scores.copy()
    others[past.nonzero()] = 0
    deviation = others.std(axis=1, keepdims=True)
    return np.asarray(scores / np.where(deviation > 0, deviation, 1), dtype=np.float32)


__all__ = ["Spectral", "degrees", "power"]
