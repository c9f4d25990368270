"""L3: taste as a short vector, from which everything that somebody took and did not take is guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from features.schema import Level
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from training.by_vectors import ByVectors, Wanted
from training.configured import HyperParameters
from training.described import Described
from training.fit_processes import all_rows
from training.graph_patterns import degrees, patterns, power
from training.item_to_item import strongest_interest
from training.item_tokens import weighted_tokens
from training.reasons import Reason
from training.recommender import Ids, Progress, Scores, TrainingSet, register
from training.search_space import Between, Space
from training.user_tokens import UserTokens

Counts = NDArray[np.int64]

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
    What nobody took yet, and who took nothing yet, has the vector that what is told of it lets expect: see
    ``Described``.
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
            attributes: How much what is told of users and items lets expect of them; 0 to learn without.
        """

        width: int = Field(default=256, ge=1)
        unobserved: float = Field(default=0.005, gt=0)
        penalty: float = Field(default=0.014, gt=0)
        sweeps: int = Field(default=3, ge=1)
        attributes: float = Field(default=1.0, ge=0)

    space: ClassVar[Space] = {
        "width": Between(32, 512, log=True),
        "unobserved": Between(0.001, 0.3, log=True),
        "penalty": Between(0.001, 0.1, log=True),
        "sweeps": Between(1, 8),
        "attributes": Between(0.1, 100.0, log=True),
    }

    _items: torch.Tensor  # (items, width) float32
    _told: UserTokens
    _described: Described | None  # users without a history

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Alternate; a sweep is O(pairs * longest history * width), short histories being cheap."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        taken = self.past(snapshot.sequences)
        first = patterns(taken.astype(bool), self.config.width, USER_POWER, ITEM_POWER)
        self._alternate(taken, first, progress)
        if self.config.attributes and taken.nnz:
            self._describe(snapshot, taken)
        self._prepare()
        self.index(snapshot.sequences)
        return self

    def _describe(self, snapshot: Snapshot, taken: sparse.csr_array) -> None:
        """Learn what users' and items' tokens let expect; items that nobody took get their vectors from theirs."""
        told = UserTokens.of(snapshot.sequences, snapshot.attributes)
        if told.details:
            tokens, vectors = told.matrix(snapshot.sequences), self._solved(taken, self._items)
            self._told = told
            self._described = self._learnt(tokens, vectors, np.diff(taken.indptr), self.n_items)
        takers = np.bincount(taken.indices, minlength=self.n_items)
        if takers.all():
            return
        tokens = weighted_tokens(snapshot)
        new = np.flatnonzero((takers == 0) & (tokens.sum(axis=1) > 0))
        if len(new):
            described = self._learnt(tokens, self._items, takers, len(snapshot.users))
            self._items[torch.from_numpy(new)] = torch.from_numpy(described.means(tokens[new]))

    def _learnt(self, tokens: sparse.csr_array, vectors: torch.Tensor, pairs: Counts, others: int) -> Described:
        """From all that have pairs; each weighs what the penalty weighs it."""
        sizes = np.where(pairs > 0, pairs + self.config.unobserved * others, 0).astype(np.float32)
        return Described.fit(tokens, vectors.numpy(), sizes, self.config.attributes)

    def learn(self, taken: sparse.csr_array, first: NDArray[np.float32], progress: Progress | None = None) -> Self:
        """As ``fit``, from interest (users, items) and patterns (items, at least ``width`` if there are as many)."""
        self._alternate(taken, first, progress)
        self._prepare()
        return self

    def _alternate(self, taken: sparse.csr_array, first: NDArray[np.float32], progress: Progress | None) -> None:
        """Find the items' vectors."""
        c, self.n_items = self.config, taken.shape[1]
        self._told, self._described = UserTokens({}), None
        by_item = sparse.csr_array(taken.T.tocsr())
        start = first[:, : c.width] * power(degrees(taken)[1], BACK_POWER)[:, None]
        self._items = torch.from_numpy(np.ascontiguousarray(start, dtype=np.float32))
        for sweep in range(c.sweeps):
            users = self._solved(taken, self._items)
            self._items = self._solved(by_item, users)
            if progress is not None:
                progress(sweep + 1, c.sweeps, {})

    def _solved(self, interest: sparse.csr_array, columns: torch.Tensor) -> torch.Tensor:
        """(rows, width) float32: the best vectors of all rows, among the processes of ``torchrun`` by turns."""
        solver = Solver(columns, self.config.unobserved, self.config.penalty)
        return all_rows(interest.shape[0], lambda rows: solver.solve(sparse.csr_array(interest[rows]))[0])

    def _prepare(self) -> None:
        """What follows from what is saved; in double precision, so that answers do not depend on who else asks."""
        self._solver = Solver(self._items.double(), self.config.unobserved, self.config.penalty)

    def past(self, histories: Histories) -> sparse.csr_array:
        """(n, n_items) float32: the strongest interest of each user in each item, whenever it was."""
        past = strongest_interest(histories, np.ones(len(histories.items)), self.n_items)
        past.sort_indices()
        return past

    def _vectors(self, histories: Histories, past: sparse.csr_array) -> torch.Tensor:
        """(n, width) float32, ``past`` being theirs."""
        vectors, _ = self._solver.solve(past)
        new = np.flatnonzero(np.diff(past.indptr) == 0)
        if self._described is not None and len(new):
            told = self._told.matrix(histories.take(new))
            some = np.flatnonzero(np.diff(told.indptr) > 0)
            vectors[torch.from_numpy(new[some])] = torch.from_numpy(self._described.means(told[some])).double()
        return vectors.float()

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items); 0 for users without a known item who told nothing."""
        return (self._vectors(histories, self.past(histories)) @ self._items.T).numpy()

    def wanted(self, histories: Histories) -> Wanted:
        """The users' vectors; no item has a bonus, but of those of the history none may be missed."""
        past = self.past(histories)
        own = Ragged(past.indptr.astype(np.int64), past.indices.astype(np.int32))
        return Wanted(self._vectors(histories, past).numpy(), own, np.zeros(len(own.values), np.float32))

    def item_vectors(self, items: Ids | None = None) -> Scores:
        """(m, width) float32."""
        vectors: Scores = self._items.numpy()
        return vectors if items is None else vectors[items]

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the item of the history that adds most to the score of each of ``items`` (Hu et al. 2008, 5).

        Without a history, what the user told that adds most.
        """
        past = self.past(histories)
        asked = self._items[torch.from_numpy(items.astype(np.int64))]
        if past.nnz:
            _, parts = self._solver.solve(past)
            sources = past.indices[(parts @ asked.double().T).argmax(dim=0).numpy()]
            return [Reason("same_taste_as", item=int(source)) for source in sources]
        told = self._told.matrix(histories).indices
        if self._described is None or not len(told):
            return [Reason("unexplained")] * len(items)
        details = self._told.details
        most = told[(self._described.effects[told] @ asked.numpy().T).argmax(axis=0)]
        return [Reason("liked_in", detail=details[token]) for token in most]

    def save(self, folder: Path) -> None:
        """An npz and a JSON file, and of a large catalogue another npz."""
        folder.mkdir(parents=True, exist_ok=True)
        described = {} if self._described is None else asdict(self._described)
        np.savez_compressed(folder / "items.npz", items=self._items.numpy(), **described)
        about = {"config": self.config.model_dump(), "told": self._told.values}
        (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")
        self.save_index(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**about["config"])
        model._told = UserTokens({name: tuple(values) for name, values in about["told"].items()})
        with np.load(folder / "items.npz", allow_pickle=False) as arrays:
            model._items = torch.from_numpy(arrays["items"])
            told = "effects" in arrays
            model._described = Described(arrays["effects"], arrays["constant"]) if told else None
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
