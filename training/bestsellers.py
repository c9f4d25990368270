"""L1 and L2: bestsellers of the user's segment, newest sales first, small segments shrunk to their parent.

Segments form a chain: everybody, then the first attribute's value (country), then the first two (country and gender),
and so on; a missing attribute stops the chain, so that a user who tells nothing gets everybody's bestsellers. A link
may be anything that a history says of its user in words: what they told, or what follows from what they did.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from features.errors import ConfigError
from features.schema import DAY_MS, MISSING, EventType, Level
from features.sequences import Histories
from features.snapshot import Snapshot
from training.configured import HyperParameters
from training.reasons import Reason
from training.recommender import Ids, Progress, Recommender, Scores, TrainingSet, register
from training.search_space import Between, OneOf, Space

#: Candidates for the strength of the shrinkage, in purchases that the parent's opinion is worth.
STRENGTHS = np.array([1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000], dtype=np.float64)


@register
class Bestsellers(Recommender):
    """Decayed sales per segment, as a distribution over items.

    ``p(item | segment) = (sales + m * p(item | parent)) / (all sales + m)``; the strength ``m`` of each depth of the
    chain is the one under which each buyer is best predicted from the others (leave-one-out likelihood of the
    Dirichlet-multinomial; Minka 2000, Estimating a Dirichlet distribution, section 4), unless it is given. A segment
    below one of the floors has no list of its own: its users, and those of segments inside it, get its parent's.

    A fitted chain of what users told is L1; one link that follows from their behaviour makes it L2.
    """

    name = "bestsellers"
    level = Level.DEMOGRAPHIC
    space: ClassVar[Space] = {
        "half_life_days": OneOf((None, 1.0, 3.0, 7.0, 14.0, 30.0, 90.0)),
        "minimum_sales": Between(1, 200, log=True),
    }

    class Config(HyperParameters):
        """``by``: attributes of the chain, all that users told if absent; ``[]`` is plain popularity.

        ``strength`` and ``minimum_sales`` count a buyer of an item once, however often they bought it.
        ``minimum_buyers`` counts users who bought anything. Its default keeps a rule of health statistics, which show
        no figure of ten people or fewer (CMS cell size suppression): the list of a handful tells what each of them
        bought, and chance decides its order.
        """

        by: tuple[str, ...] | None = None
        window_days: int | None = Field(default=None, ge=1)
        half_life_days: float | None = Field(default=7.0, gt=0)
        strength: float | None = Field(default=None, ge=0)
        minimum_sales: int = Field(default=20, ge=0)
        minimum_buyers: int = Field(default=11, ge=0)

    by: tuple[str, ...]  # the links of the fitted chain
    _segments: dict[tuple[str, ...], int]
    _everybody: NDArray[np.float32]  # (n_items,) shares; they sum to one
    # A segment's shares are those of its own sales and, weighing ``_drawn``, its parent's: what it never sold is not
    # kept again, or a chain with a link of a thousand cities would not fit into memory.
    _own: sparse.csr_array  # (segments, n_items), row 0, everybody, empty
    _parents: NDArray[np.int64]  # (segments,)
    _drawn: NDArray[np.float64]  # (segments,)

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Count sales of the snapshot; O(events) per link of the chain, in time and in memory.

        Raises:
            ConfigError: A link of the chain is no text column of the user matrix.
        """
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        self.by = self._links(snapshot)
        behaviour = not set(self.by) <= set(snapshot.attributes)
        self.level = Level.BEHAVIOUR if behaviour else Level.DEMOGRAPHIC  # type: ignore[misc]
        sales, buyers = self._sales(snapshot)
        total = np.asarray(sales.sum(axis=0)).ravel() + 1e-6
        self._segments, self._everybody = {(): 0}, (total / total.sum()).astype(np.float32)
        self._own = sparse.csr_array((1, self.n_items), dtype=np.float32)
        self._parents, self._drawn = np.zeros(1, np.int64), np.ones(1)
        values = [snapshot.sequences.attributes[name] for name in self.by]
        for depth in range(1, len(self.by) + 1):
            self._add_depth(sales, buyers, values[:depth])
        return self

    def _links(self, snapshot: Snapshot) -> tuple[str, ...]:
        if self.config.by is None:
            return snapshot.attributes
        known = snapshot.sequences.attributes
        for name in self.config.by:
            if name not in known:
                mend = f"choose from {', '.join(known)}" if known else "write `by: []`: nothing is known of users"
                raise ConfigError("bestsellers: by", "must name text columns of the user matrix", name, mend)
        return tuple(self.config.by)

    def _sales(self, snapshot: Snapshot) -> tuple[sparse.csr_array, sparse.csr_array]:
        """(users, items) decayed sales, and whether the user bought the item at all."""
        sequences = snapshot.sequences
        age_days = (snapshot.as_of_ms - sequences.ts) // DAY_MS
        keep = sequences.event_types == EventType.PURCHASE.code
        if not keep.any():  # a shop without sales still has interactions
            keep = sequences.is_interaction
        if self.config.window_days is not None:
            # Whole days of age: an event exactly ``window_days`` old is inside the half-open lookback window.
            recent = keep & (sequences.ts >= snapshot.as_of_ms - self.config.window_days * DAY_MS)
            keep = recent if recent.any() else keep  # old sales say more than none
        half_life = self.config.half_life_days
        weights = np.ones(keep.sum()) if half_life is None else 0.5 ** (age_days[keep] / half_life)
        shape = (len(snapshot.users), self.n_items)
        sales = sparse.csr_array((weights, (sequences.rows[keep], sequences.items[keep])), shape=shape)
        sales.sum_duplicates()
        buyers = sales.copy()
        buyers.data[:] = 1.0
        return sales, buyers

    def _add_depth(self, sales: sparse.csr_array, buyers: sparse.csr_array, values: list[NDArray[np.object_]]) -> None:
        """Take in all segments of one depth that have buyers enough and sold enough."""
        rows: dict[tuple[str, ...], int] = {}
        of_user = np.full(sales.shape[0], -1)
        for user, segment in enumerate(zip(*values, strict=True)):
            if MISSING not in segment and segment[:-1] in self._segments:
                of_user[user] = rows.setdefault(segment, len(rows))
        users = np.flatnonzero(of_user >= 0)
        members = sparse.csr_array((np.ones(len(users)), (of_user[users], users)), shape=(len(rows), len(of_user)))
        counts, sold = sparse.csr_array(members @ buyers), sparse.csr_array(members @ sales)
        n_buyers, n_bought, n_sold = members @ (np.diff(buyers.indptr) > 0), counts.sum(axis=1), sold.sum(axis=1)
        floors = (n_buyers >= self.config.minimum_buyers) & (n_bought >= self.config.minimum_sales)
        large = floors & (n_sold > 0)
        kept = [segment for segment in sorted(rows) if large[rows[segment]]]
        if not kept:
            return
        of_kept = np.array([rows[segment] for segment in kept])
        parents = np.array([self._segments[segment[:-1]] for segment in kept])
        strength = self.config.strength
        if strength is None:
            strength = loo_strength(*self._beside_parents(counts[of_kept], parents))
        # Decay makes a sale worth less than one; the parent's weight is scaled alike.
        weight = strength * (n_sold / np.maximum(n_bought, 1.0))[of_kept]
        whole = n_sold[of_kept] + weight
        own = sparse.diags_array(1 / whole) @ sold[of_kept]
        self._segments |= {segment: len(self._parents) + place for place, segment in enumerate(kept)}
        self._own = sparse.csr_array(sparse.vstack([self._own, own.astype(np.float32)], format="csr"))
        self._parents = np.concatenate([self._parents, parents])
        self._drawn = np.concatenate([self._drawn, weight / whole])

    def _beside_parents(
        self, counts: sparse.csr_array, parents: NDArray[np.int64]
    ) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """Per row its counts that are not zero, and its parent's shares of these items."""
        found, expected = [], []
        known, shares = -1, self._everybody
        for row, parent in enumerate(parents.tolist()):
            if parent != known:  # siblings follow one another
                known, shares = parent, self._shares(parent)
            span = slice(counts.indptr[row], counts.indptr[row + 1])
            found.append(counts.data[span])
            expected.append(shares[counts.indices[span]].astype(np.float64))
        return found, expected

    def _shares(self, segment: int) -> NDArray[np.float32]:
        """(n_items,) shares of one segment; they sum to one."""
        shares, weight = np.zeros(self.n_items, dtype=np.float32), 1.0
        while segment:
            span = slice(self._own.indptr[segment], self._own.indptr[segment + 1])
            shares[self._own.indices[span]] += np.float32(weight) * self._own.data[span]
            weight *= float(self._drawn[segment])
            segment = int(self._parents[segment])
        return np.asarray(shares + np.float32(weight) * self._everybody)

    def score_all(self, histories: Histories) -> Scores:
        """The shares of the deepest known segment of each user, as (n, n_items)."""
        segments, of_user = np.unique(self.segments(histories), return_inverse=True)
        shares = np.empty((len(segments), self.n_items), dtype=np.float32)
        for place, segment in enumerate(segments.tolist()):
            shares[place] = self._shares(segment)
        return shares[of_user]

    def segments(self, histories: Histories) -> NDArray[np.int64]:
        """(n,) int64: the row of the deepest segment that each user belongs to; 0 is everybody."""
        chosen = np.zeros(len(histories), dtype=np.int64)
        columns = [histories.attributes.get(name) for name in self.by]
        for row in range(len(histories)):
            told = tuple(MISSING if column is None else str(column[row]) for column in columns)
            for depth in range(1, len(told) + 1):
                if told[:depth] not in self._segments:
                    break
                chosen[row] = self._segments[told[:depth]]
        return chosen

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the segment; without one the item is popular with everybody."""
        segment = int(self.segments(histories)[0])
        values = next(values for values, row in self._segments.items() if row == segment)
        reason = Reason("bestseller_in", detail=", ".join(values)) if values else Reason("popular")
        return [reason] * len(items)

    def save(self, folder: Path) -> None:
        """Two npz and one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "shares.npz", everybody=self._everybody, parents=self._parents, drawn=self._drawn)
        sparse.save_npz(folder / "own.npz", sparse.csr_matrix(self._own))
        about = {
            "config": self.config.model_dump(),
            "by": self.by,
            "level": self.level,
            "segments": [list(segment) for segment in self._segments],
        }
        (folder / "model.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**about["config"])
        model.by = tuple(about["by"])
        model.level = Level(about.get("level", cls.level))  # type: ignore[misc]
        model._segments = {tuple(segment): row for row, segment in enumerate(about["segments"])}
        with np.load(folder / "shares.npz", allow_pickle=False) as arrays:
            model._everybody, model._parents, model._drawn = (
                arrays[name] for name in ("everybody", "parents", "drawn")
            )
        model._own = sparse.csr_array(sparse.load_npz(folder / "own.npz"))
        model.n_items = len(model._everybody)
        return model


def loo_strength(counts: list[NDArray[np.float64]], parents: list[NDArray[np.float64]]) -> float:
    """The shrinkage strength ``m`` of the grid ``STRENGTHS`` with the highest leave-one-out likelihood.

    ``sum over segments and items of c * log((c - 1 + m * p) / (n - 1 + m))``, ``c`` being the item's buyers in the
    segment, ``n`` all of them and ``p`` the parent's share. Items without a buyer may be left out.
    """
    likelihood = np.zeros(len(STRENGTHS))
    for count, parent in zip(counts, parents, strict=True):
        bought = count > 0
        c, p, n = count[bought], parent[bought], count.sum()
        inner = (c[:, None] - 1 + STRENGTHS * p[:, None]) / (n - 1 + STRENGTHS)
        likelihood += (c[:, None] * np.log(inner)).sum(axis=0)
    return float(STRENGTHS[likelihood.argmax()])


__all__ = ["Bestsellers", "loo_strength"]
