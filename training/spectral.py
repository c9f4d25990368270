"""L3: taste as what is left of a history when only the broad patterns of the user-item graph are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from features.schema import Level
from features.sequences import Histories
from training.configured import HyperParameters
from training.factorization import Factorization
from training.graph_patterns import degrees, patterns, power
from training.item_to_item import strongest_interest
from training.reasons import Reason
from training.recommender import Ids, Progress, Recommender, Scores, TrainingSet, register
from training.search_space import Between, Space

Floats = NDArray[np.float32]


@register
class Spectral(Recommender):
    """``scores = z(past D^-a V V' D^a) + w z(past L) + v z(x Q')``: a filter, a step along the graph, a regression.

    ``V`` (items, rank) are the right singular vectors of ``U^-u R D^-i``, ``R`` being who took what, ``U`` and ``D``
    how many items each user took and how many users each item. ``L = D^-b R' U^-2c R D^-d`` leads to what those took
    who took the same. ``x`` and ``Q`` are the vectors of ``Factorization``, which starts from ``V`` and learns what the
    filter does not know: that most of what was not taken is not wanted. ``z`` makes all three comparable: each user's
    scores are divided by their deviation over the items.

    Shen et al. 2021 (How powerful is graph convolution for recommendation?) filter with the symmetric normalisation;
    Fu et al. 2022 (Revisiting neighborhood-based link prediction for collaborative filtering) give each degree an
    exponent of its own. Milder exponents than one half keep more of what popular items and busy users tell.
    """

    name = "spectral"
    level = Level.PREFERENCE

    class Config(HyperParameters):
        """Exponents of degrees, how many patterns are kept, and the weights of what is added to the filter.

        Attributes:
            rank: Patterns that are kept; fewer where users or items are few, or very many.
            user_power, item_power: ``u`` and ``i``.
            back_power: ``a``.
            graph: ``w``; 0 without that step.
            regression: ``v``; 0 without the factorization.
            graph_user_power, graph_from_power, graph_to_power: ``c``, ``b`` and ``d``.
        """

        rank: int = Field(default=900, ge=1)
        user_power: float = Field(default=0.25, ge=0)
        item_power: float = Field(default=0.4, ge=0)
        back_power: float = Field(default=0.2, ge=0)
        graph: float = Field(default=0.6, ge=0)
        regression: float = Field(default=2.5, ge=0)
        graph_user_power: float = Field(default=0.42, ge=0)
        graph_from_power: float = Field(default=0.5, ge=0)
        graph_to_power: float = Field(default=0.3, ge=0)

    space: ClassVar[Space] = {
        "rank": Between(64, 2_000, log=True),
        "user_power": Between(0.0, 0.5),
        "item_power": Between(0.0, 0.6),
        "back_power": Between(0.0, 0.6),
        "graph": Between(0.0, 3.0),
        "regression": Between(0.0, 4.0),
    }

    _patterns: Floats  # (items, rank): V
    _taken: sparse.csr_array  # (users, items): R
    _factorization: Factorization

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Decompose; O(rank * interactions + (users + items) * rank ** 2), and the factorization."""
        snapshot, c = training_set.snapshot, self.config
        self.n_items = len(snapshot.items)
        interest = self.past(snapshot.sequences)
        self._taken = sparse.csr_array(interest.astype(bool), dtype=np.float32)
        self._patterns = patterns(self._taken, c.rank, c.user_power, c.item_power)
        self._factorization = Factorization()
        if c.regression:
            self._factorization.learn(interest, self._patterns, progress)
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
        if self.config.regression:
            guess = self._factorization.score_all(histories)
            scores += np.float32(self.config.regression) * _comparable(guess, past)
        return scores

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the item of the history that adds most through the patterns to each of ``items``."""
        past = self.past(histories)
        if not past.nnz:
            return [Reason("unexplained")] * len(items)
        sources = past.indices
        support = (self._patterns[sources] * (past.data * self._forth[sources])[:, None]) @ self._patterns[items].T
        return [Reason("same_taste_as", item=int(source)) for source in sources[support.argmax(axis=0)]]

    def save(self, folder: Path) -> None:
        """Two npz and one JSON file, and a folder for the factorization."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "patterns.npz", patterns=self._patterns)
        sparse.save_npz(folder / "taken.npz", sparse.csr_matrix(self._taken))
        if self.config.regression:
            self._factorization.save(folder / "factorization")
        (folder / "model.json").write_text(json.dumps({"config": self.config.model_dump()}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        model = cls(**json.loads((folder / "model.json").read_text(encoding="utf-8"))["config"])
        with np.load(folder / "patterns.npz", allow_pickle=False) as arrays:
            model._patterns = arrays["patterns"]
        model._taken = sparse.csr_array(sparse.load_npz(folder / "taken.npz"))
        model.n_items = model._taken.shape[1]
        model._factorization = (
            Factorization.load(folder / "factorization") if model.config.regression else Factorization()
        )
        model._prepare()
        return model


def _comparable(scores: Floats, past: sparse.csr_array) -> Floats:
    """Each row over its deviation, items of the past counting as 0: they outweigh all others, and are often removed."""
    others = scores.copy()
    others[past.nonzero()] = 0
    deviation = others.std(axis=1, keepdims=True)
    return np.asarray(scores / np.where(deviation > 0, deviation, 1), dtype=np.float32)


__all__ = ["Spectral"]
