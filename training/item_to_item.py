"""What models share that carry a user's interest from the items of the history to other items."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from features.sequences import Histories
from training.configured import HyperParameters
from training.interest import event_weights
from training.reasons import Reason
from training.recommender import Ids, Recommender, Scores
from training.search_space import Between, Space


class ItemToItem(Recommender):
    """``scores (n, items) = interest (n, items) @ towards (items, items)``, both factors sparse."""

    class Config(HyperParameters):
        """``neighbours``: how many items each item leads to; ``shrinkage``: visits that weigh against a pair."""

        neighbours: int = Field(default=200, ge=1)
        shrinkage: float = Field(default=10.0, ge=0)

    space: ClassVar[Space] = {
        "neighbours": Between(20, 1_000, log=True),
        "shrinkage": Between(0.3, 100.0, log=True),
    }

    #: The code of the reason that an answer gives.
    reason: ClassVar[str]
    _towards: sparse.csr_array

    @abstractmethod
    def interest(self, histories: Histories) -> sparse.csr_array:
        """(n, items) float32: how interested each user is in each item of the history that counts."""

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items); 0 where nothing in the history leads to an item."""
        return (self.interest(histories) @ self._towards).toarray().astype(np.float32)

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the item of the history that leads most to each of ``items``."""
        interest = self.interest(histories)
        if not interest.nnz:
            return [Reason(self.reason)] * len(items)
        support = self._towards[interest.indices][:, items].toarray() * interest.data[:, None]
        sources = interest.indices[support.argmax(axis=0)]
        return [
            Reason("interested_now") if source == item else Reason(self.reason, item=int(source))
            for item, source in zip(items.tolist(), sources.tolist(), strict=True)
        ]

    def save(self, folder: Path) -> None:
        """One npz and one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        sparse.save_npz(folder / "towards.npz", sparse.csr_matrix(self._towards))
        (folder / "model.json").write_text(json.dumps({"config": self.config.model_dump()}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        model = cls(**json.loads((folder / "model.json").read_text(encoding="utf-8"))["config"])
        model._towards = sparse.csr_array(sparse.load_npz(folder / "towards.npz"))
        model.n_items = model._towards.shape[0]
        return model


def strongest_interest(histories: Histories, discount: NDArray[np.float64], n_items: int) -> sparse.csr_array:
    """(n, n_items) float32: the strongest discounted event of each user with each item.

    Args:
        discount: (m,) factor of each event, for its age.
    """
    weights = event_weights(histories) * discount
    known = np.flatnonzero((histories.items >= 0) & (weights > 0))
    cells = histories.rows[known] * n_items + histories.items[known]
    order = np.lexsort((weights[known], cells))
    strongest = order[np.append(np.diff(cells[order]) != 0, True)[: len(order)]]
    rows, items = np.divmod(cells[strongest], n_items)
    values = weights[known][strongest].astype(np.float32)
    return sparse.csr_array((values, (rows, items)), shape=(len(histories), n_items))


def incidence(rows: NDArray[np.integer], columns: NDArray[np.integer], n_rows: int, n_columns: int) -> sparse.csr_array:
    """(n_rows, n_columns) float32 of zeros and ones, indices sorted."""
    matrix = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(n_rows, n_columns))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def strongest_neighbours(matrix: sparse.csr_array, neighbours: int) -> sparse.csr_array:
    """``matrix`` with only the ``neighbours`` largest values of each row; ties go to the lower column."""
    matrix = matrix.tocsr().sorted_indices()
    lengths = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), lengths)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    place = np.arange(len(order)) - np.repeat(matrix.indptr[:-1], lengths)
    kept = np.sort(order[place < neighbours])
    return sparse.csr_array((matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape)


__all__ = ["ItemToItem", "incidence", "strongest_interest", "strongest_neighbours"]
