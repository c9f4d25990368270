"""L3: taste as a short vector, from which everything that somebody took and did not take is guessed."""

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
from features.sequences import Histories, Ragged
from training.by_vectors import ByVectors, Wanted
from training.configured import HyperParameters
from training.graph_patterns import degrees, patterns, power
from training.item_to_item import strongest_interest
from training.reasons import Reason
from training.recommender import Ids, Progress, Scores, TrainingSet, register
from training.search_space import Between, Space

#: Numbers that are gathered at once.
AT_ONCE = 4_000_000

#: Exponents of degrees with which the first item vectors are found: the defaults of ``Spectral``.
USER_POWER, ITEM_POWER, BACK_POWER = 0.25, 0.4, 0.2


@register
class Factorization(ByVectors):
    """``score = x . q``, ``x`` the user's and ``q`` the item's vector; of all vectors those with the least::

        sum of w (x . q - 1)^2 over what was taken + a * sum of (x . q)^2 over everything
        + penalty * sum over users of (what they took + a * items) |x|^2, and the same for items

    ``w`` is the strongest interest, and ``a`` how much it says that something was not taken. Solved by turns for all
    users and for all items (Hu et al. 2008, Collaborative filtering for implicit feedback datasets), with the penalty
    and the weight of what was not taken as in Rendle et al. 2022 (Revisiting the performance of iALS on item
    recommendation benchmarks). Items start where the spectral model has them, so that few turns are enough.

    Users are not kept: a history's vector is solved for when it is asked about, so strangers are answered like others.
    """

    name = "factorization"
    level = Level.PREFERENCE

    class Config(HyperParameters):
        """Of the least squares.

        Attributes:
            width: Numbers of a vector; fewer where users or items are few.
            unobserved: ``a``.
            penalty: Against chance.
            sweeps: Times that users and then items are solved for.
        """

        width: int = Field(default=256, ge=1)
        unobserved: float = Field(default=0.005, gt=0)
        penalty: float = Field(default=0.014, gt=0)
        sweeps: int = Field(default=3, ge=1)

    space: ClassVar[Space] = {
        "width": Between(32, 512, log=True),
        "unobserved": Between(0.001, 0.3, log=True),
        "penalty": Between(0.001, 0.1, log=True),
        "sweeps": Between(1, 8),
    }

    _items: torch.Tensor  # (items, width) float32

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Alternate; a sweep is O(pairs * longest history * width), short histories being cheap."""
        self.n_items = len(training_set.snapshot.items)
        taken = self.past(training_set.snapshot.sequences)
        self.learn(taken, patterns(taken.astype(bool), self.config.width, USER_POWER, ITEM_POWER), progress)
        self.index(training_set.snapshot.sequences)
        return self

    def learn(self, taken: sparse.csr_array, first: NDArray[np.float32], progress: Progress | None = None) -> Self:
        """As ``fit``, from interest (users, items) and patterns (items, at least ``width`` if there are as many)."""
        c, self.n_items = self.config, taken.shape[1]
        by_item = sparse.csr_array(taken.T.tocsr())
        start = first[:, : c.width] * power(degrees(taken)[1], BACK_POWER)[:, None]
        self._items = torch.from_numpy(np.ascontiguousarray(start, dtype=np.float32))
        for sweep in range(c.sweeps):
            users, _ = Solver(self._items, c.unobserved, c.penalty).solve(taken)
            self._items, _ = Solver(users, c.unobserved, c.penalty).solve(by_item)
            if progress is not None:
                progress(sweep + 1, c.sweeps, {})
        self._prepare()
        return self

    def _prepare(self) -> None:
        """What follows from what is saved; in double precision, so that answers do not depend on who else asks."""
        self._solver = Solver(self._items.double(), self.config.unobserved, self.config.penalty)

    def past(self, histories: Histories) -> sparse.csr_array:
        """(n, n_items) float32: the strongest interest of each user in each item, whenever it was."""
        past = strongest_interest(histories, np.ones(len(histories.items)), self.n_items)
        past.sort_indices()
        return past

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items); 0 for users without a known item."""
        vectors, _ = self._solver.solve(self.past(histories))
        return (vectors.float() @ self._items.T).numpy()

    def wanted(self, histories: Histories) -> Wanted:
        """The users' vectors; no item has a bonus."""
        vectors, _ = self._solver.solve(self.past(histories))
        nothing = Ragged(np.zeros(len(histories) + 1, np.int64), np.zeros(0, np.int32))
        return Wanted(vectors.float().numpy(), nothing, np.zeros(0, np.float32))

    def item_vectors(self, items: Ids | None = None) -> Scores:
        """(m, width) float32."""
        vectors: Scores = self._items.numpy()
        return vectors if items is None else vectors[items]

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the item of the history that adds most to the score of each of ``items`` (Hu et al. 2008, 5)."""
        past = self.past(histories)
        if not past.nnz:
            return [Reason("unexplained")] * len(items)
        _, parts = self._solver.solve(past)
        support = parts @ self._items[torch.from_numpy(items.astype(np.int64))].double().T
        sources = past.indices[support.argmax(dim=0).numpy()]
        return [Reason("same_taste_as", item=int(source)) for source in sources]

    def save(self, folder: Path) -> None:
        """An npz and a JSON file, and of a large catalogue another npz."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "items.npz", items=self._items.numpy())
        (folder / "model.json").write_text(json.dumps({"config": self.config.model_dump()}), encoding="utf-8")
        self.save_index(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        model = cls(**json.loads((folder / "model.json").read_text(encoding="utf-8"))["config"])
        with np.load(folder / "items.npz", allow_pickle=False) as arrays:
            model._items = torch.from_numpy(arrays["items"])
        model.n_items = len(model._items)
        model._prepare()
        model.load_index(folder)
        return model


class Solver:
    """The best vectors of rows, given those of all columns.

    A row that takes the columns ``Q`` (m, width) with interest ``w`` has ``(a C'C + p I + Q'WQ)^-1 Q'w``, ``C`` being
    all columns. In the axes of ``C'C`` all but the last term is diagonal, so by Woodbury's identity the system has
    the size of the row's history and not of the vectors.
    """

    def __init__(self, columns: torch.Tensor, unobserved: float, penalty: float) -> None:
        """``columns`` (columns, width), whose precision is that of what is solved."""
        spectrum, axes = torch.linalg.eigh((columns.T @ columns).double())
        self._spectrum = (spectrum.clamp(min=0) * unobserved).to(columns.dtype)
        self._axes = axes.to(columns.dtype)
        self._columns = columns.new_zeros(len(columns) + 1, columns.shape[1])  # the last pads
        torch.mm(columns, self._axes, out=self._columns[:-1])
        self._unobserved, self._penalty = unobserved, penalty

    def solve(self, interest: sparse.csr_array) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, width): their vectors; and (m, width): what each of a single row's m entries adds, empty for more."""
        n_columns, width = len(self._columns) - 1, self._columns.shape[1]
        vectors, parts = self._columns.new_zeros(interest.shape[0], width), self._columns.new_zeros(0, width)
        lengths = np.diff(interest.indptr)
        for rows in alike(lengths, max(width, 1)):
            longest = int(lengths[rows].max())
            held = np.arange(longest) < lengths[rows, None]
            places = np.where(held, interest.indptr[rows, None] + np.arange(longest), 0)
            taken = torch.from_numpy(np.where(held, interest.indices[places], n_columns).astype(np.int64))
            weight = torch.from_numpy(np.where(held, interest.data[places], 0)).to(vectors.dtype).sqrt()
            size = torch.from_numpy(lengths[rows] + self._unobserved * n_columns).to(vectors.dtype)
            diagonal = self._spectrum + self._penalty * size[:, None]
            theirs = self._columns[taken] * weight[:, :, None]  # (rows, longest, width)
            scaled = theirs * diagonal.rsqrt()[:, None]
            system = scaled @ scaled.transpose(1, 2)
            system.diagonal(dim1=1, dim2=2).add_(1)
            solution = torch.cholesky_solve(weight[:, :, None], torch.linalg.cholesky(system))
            added = theirs * solution / diagonal[:, None]
            vectors[torch.from_numpy(rows)] = added.sum(1) @ self._axes.T
            if len(lengths) == 1:
                parts = added[0] @ self._axes.T
        return vectors, parts


def alike(lengths: NDArray[np.integer], width: int) -> Iterator[NDArray[np.int64]]:
    """All rows that are not empty, in batches of similar length that gather about ``AT_ONCE`` numbers."""
    rows = np.argsort(lengths, kind="stable").astype(np.int64)
    rows = rows[lengths[rows] > 0]
    begin = 0
    while begin < len(rows):
        end = begin + max(1, AT_ONCE // (width * int(lengths[rows[begin]])))
        longest = int(lengths[rows[min(end, len(rows)) - 1]])
        end = min(end, begin + max(1, AT_ONCE // (width * longest)))
        yield rows[begin:end]
        begin = end


__all__ = ["Factorization", "Solver", "alike"]
