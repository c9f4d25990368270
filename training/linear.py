"""L3: what users take next is a linear function of what they took before, solved in closed form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from features.schema import Level
from features.sequences import Histories
from training.configured import HyperParameters
from training.interest import event_weights
from training.item_to_item import strongest_interest, strongest_neighbours
from training.item_tokens import weighted_tokens
from training.moments import moments
from training.order import is_ordered, user_steps
from training.reasons import Reason
from training.recommender import Ids, Progress, Recommender, Scores, TrainingSet, chunks, register
from training.search_space import Between, Space

Floats = NDArray[np.float32]

#: Sparse matrices with a larger share of entries than this are multiplied as dense ones.
DENSE_FROM = 0.1


@register
class Linear(Recommender):
    """``scores = past (n, items) @ B (items, items)``, B being a ridge regression of what comes next on what was.

    Every moment of every user is one row: ``S`` holds what they took until then, an item ``k`` steps back weighing
    ``forget ** k``, and ``T`` what they took after it, ``ahead ** (k - 1)`` for the k-th step. The items' attributes
    are rows of both, as if each were a user who took all items that carry it. Then::

        B = (S'S + w X X' + ridge I)^-1 (S'T + w X X')

    with ``X`` (items, tokens) the idf-weighted tokens, each row of length one. The order is SLIST's (Choi et al. 2021,
    Session-aware linear item-item models), the ridge regression EASE's (Steck 2019, Embarrassingly shallow
    autoencoders), the attributes collective EASE's (Jeunen et al. 2020, Closed-form models for collaborative filtering
    with side-information). Where users have no order at all, moments are users, and ``B`` is EASE's, whose items do not
    explain themselves.
    """

    name = "linear"
    level = Level.PREFERENCE

    class Config(HyperParameters):
        """Of the regression and of how it is solved.

        Attributes:
            ridge: Against chance; in rows that hold both items of a pair.
            forget: Weight of an item of the past per step back, where the model learns and where it is asked.
            ahead: Weight of what comes next per step further ahead.
            attributes: ``w``; 0 to learn without them.
            neighbours: Items that an item leads to by itself; through attributes it may lead to any.
            exact_items: Catalogues up to this size are solved exactly, in ``8 * items ** 2`` bytes beside the moments.
            support: In larger ones each item's equations hold this many items: those that occur most with it.
        """

        ridge: float = Field(default=100.0, gt=0)
        forget: float = Field(default=0.7, gt=0, lt=1)
        ahead: float = Field(default=0.3, ge=0, lt=1)
        attributes: float = Field(default=3.0, ge=0)
        neighbours: int = Field(default=1_000, ge=1)
        exact_items: int = Field(default=16_000, ge=0)
        support: int = Field(default=100, ge=1)

    space: ClassVar[Space] = {
        "ridge": Between(10.0, 1_000.0, log=True),
        "forget": Between(0.4, 0.95),
        "ahead": Between(0.0, 0.9),
        "attributes": Between(0.3, 30.0, log=True),
    }

    _ordered: bool  # whether the moments of the log it learned from have an order
    _towards: sparse.csr_array  # (items, items): B without what goes through attributes
    _through: sparse.csr_array  # (items, tokens): w (S'S + w X X' + ridge I)^-1 X
    _tokens: sparse.csr_array  # (items, tokens): X

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Solve; O(items ** 3) up to ``exact_items``, O(items * support ** 3) beyond."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        self._tokens = (
            weighted_tokens(snapshot)
            if self.config.attributes
            else sparse.csr_array((self.n_items, 0), dtype=np.float32)
        )
        before = snapshot.sequences.interactions()
        self._ordered = is_ordered(before)
        if self._ordered:
            gram, cross = moments(before, self.n_items, self.config.forget, self.config.ahead)
        else:
            taken = self.past(before)
            gram = sparse.csr_array(taken.T @ taken)
        towards, through = [], []
        for rows, inverse in self._exact(gram) if self.n_items <= self.config.exact_items else self._local(gram):
            if self._ordered:
                towards.append(strongest(_product(inverse, cross), self.config.neighbours))
                through.append(strongest(_product(inverse, self._tokens), self.config.neighbours))
            else:
                towards.append(strongest(_without_itself(inverse, rows), self.config.neighbours))
            if progress is not None:
                progress(rows.stop, self.n_items, {})
        self._towards = sparse.csr_array(sparse.vstack(towards, format="csr"))
        if self._ordered:
            self._through = sparse.csr_array(sparse.vstack(through, format="csr")) * np.float32(self.config.attributes)
        else:
            self._towards = sparse.csr_array(self._towards.T.tocsr())
            self._through = sparse.csr_array(self._tokens.shape, dtype=np.float32)
        return self

    def _exact(self, gram: sparse.csr_array) -> Iterator[tuple[slice, Floats]]:
        """Blocks of rows of the inverse, by Cholesky's factors in single precision."""
        # Most items share some attribute: as a sparse matrix that would take more memory than as a dense one.
        equations = gram.toarray().astype(np.float32, copy=False)
        for rows in chunks(self.n_items, 1_024):
            alike = self._tokens[rows] @ self._tokens.T
            equations[rows] += self.config.attributes * alike.toarray()
        system = torch.from_numpy(equations)
        system.diagonal().add_(self.config.ridge)
        factor = torch.linalg.cholesky(system)
        del equations, system
        inverse = torch.cholesky_inverse(factor).numpy()
        del factor
        for rows in chunks(self.n_items, 1_024):
            yield rows, inverse[rows]

    def _local(self, gram: sparse.csr_array) -> Iterator[tuple[slice, sparse.csr_array]]:
        """Blocks of rows of an approximate inverse: each row solves the equations of the items that matter most to it.

        Steck 2019 (Markov random fields for collaborative filtering) restricts the inverse to a sparse pattern; here
        each row has a pattern of its own, so that rows need neither one another nor an (items x items) matrix.
        """
        size = np.sqrt(gram.diagonal() + np.float32(self.config.ridge))
        closeness = sparse.csr_array(sparse.diags_array(1 / size) @ abs(gram) @ sparse.diags_array(1 / size))
        nearest = strongest_neighbours(closeness, self.config.support)
        for rows in chunks(self.n_items, 1_024):
            supports, values = [], []
            for item in range(rows.start, rows.stop):
                others = nearest.indices[nearest.indptr[item] : nearest.indptr[item + 1]]
                support = np.concatenate([[item], others[others != item]])
                described = self._tokens[support]
                system = gram[support][:, support].toarray()
                system += self.config.attributes * (described @ described.T).toarray()
                system[np.diag_indices_from(system)] += self.config.ridge
                unit = np.zeros(len(support), dtype=np.float32)
                unit[0] = 1
                supports.append(support)
                values.append(np.linalg.solve(system, unit))
            lengths = np.array([len(support) for support in supports])
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            cells = (np.concatenate(values).astype(np.float32), np.concatenate(supports), offsets)
            yield rows, sparse.csr_array(cells, shape=(len(supports), self.n_items))

    def past(self, histories: Histories) -> sparse.csr_array:
        """(n, n_items) float32: what each user took, weighing ``forget`` per step back from the last.

        Where the model learned of no order, the strongest event with each item counts, when asked as in learning.
        """
        events = histories.interactions()
        if not self._ordered:
            return strongest_interest(events, np.ones(len(events.items)), self.n_items)
        steps, _, last = user_steps(events)
        weights = event_weights(events).astype(np.float32) * self.config.forget ** (last - steps)
        cells = (weights.astype(np.float32), (events.rows, events.items))
        return sparse.csr_array(cells, shape=(len(histories), self.n_items))

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items); 0 for users without a known item."""
        past = self.past(histories)
        scores = (past @ self._towards).toarray()
        if self._tokens.shape[1]:
            scores += (past @ self._through).toarray() @ self._tokens.T
        return np.asarray(scores, dtype=np.float32)

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the item of the history that adds most to the score of each of ``items``."""
        past = self.past(histories)
        if not past.nnz:
            return [Reason("unexplained")] * len(items)
        support = self._towards[past.indices][:, items].toarray()
        support = support + (self._through[past.indices] @ self._tokens[items].T).toarray()
        sources = past.indices[(support * past.data[:, None]).argmax(axis=0)]
        return [Reason("often_taken_after", item=int(source)) for source in sources]

    def save(self, folder: Path) -> None:
        """Three npz and one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("towards", "through", "tokens"):
            sparse.save_npz(folder / f"{name}.npz", sparse.csr_matrix(getattr(self, f"_{name}")))
        about = {"config": self.config.model_dump(), "ordered": self._ordered}
        (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**about["config"])
        model._ordered = about["ordered"]
        for name in ("towards", "through", "tokens"):
            setattr(model, f"_{name}", sparse.csr_array(sparse.load_npz(folder / f"{name}.npz")))
        model.n_items = model._towards.shape[0]
        return model


def strongest(matrix: Floats | sparse.csr_array, k: int) -> sparse.csr_array:
    """``matrix`` with only the ``k`` values of each row that are furthest from zero."""
    if isinstance(matrix, sparse.csr_array):
        size = strongest_neighbours(abs(matrix), k)
        size.data[:] = 1
        return sparse.csr_array(matrix * size)
    if matrix.shape[1] <= k:
        return sparse.csr_array(matrix)
    columns = np.sort(np.argpartition(-np.abs(matrix), k - 1, axis=1)[:, :k], axis=1)
    values = np.take_along_axis(matrix, columns, axis=1)
    offsets = np.arange(0, columns.size + 1, k)
    return sparse.csr_array((values.ravel(), columns.ravel(), offsets), shape=matrix.shape)


def _product(rows: Floats | sparse.csr_array, matrix: sparse.csr_array) -> sparse.csr_array:
    """``rows @ matrix`` without what is not there."""
    if sparse.issparse(rows):
        return sparse.csr_array(rows @ matrix)
    dense = matrix.nnz > DENSE_FROM * matrix.shape[0] * matrix.shape[1]
    return rows @ matrix.toarray() if dense else (matrix.T @ rows.T).T


def _without_itself(inverse: Floats | sparse.csr_array, rows: slice) -> sparse.csr_array:
    """EASE's ``-P / diag(P)`` for the items of ``rows``, one row per item that is explained, nothing by itself."""
    cells = sparse.coo_array(inverse)
    explained, by = cells.coords
    itself = by == explained + rows.start
    own = np.zeros(rows.stop - rows.start, dtype=np.float32)
    own[explained[itself]] = cells.data[itself]
    others = ~itself
    values = -cells.data[others] / own[explained[others]]
    return sparse.csr_array((values, (explained[others], by[others])), shape=cells.shape)


__all__ = ["Linear", "strongest"]
