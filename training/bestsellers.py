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
    _shares: NDArray[np.float32]  # (segments, n_items), each row sums to one

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Count sales of the snapshot; O(events).

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
        self._segments, shares = {(): 0}, [total / total.sum()]
        values = [snapshot.sequences.attributes[name] for name in self.by]
        for depth in range(1, len(self.by) + 1):
            level = self._depth(sales, buyers, values[:depth], shares)
            for segment, share in level.items():
                self._segments[segment] = len(shares)
                shares.append(share)
        self._shares = np.array(shares, dtype=np.float32)
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
        if self.config.window_days is not None:
            # Whole days of age: an event exactly ``window_days`` old is inside the half-open lookback window.
            keep &= sequences.ts >= snapshot.as_of_ms - self.config.window_days * DAY_MS
        if not keep.any():  # a shop without sales still has interactions
            keep = np.ones_like(keep)
        half_life = self.config.half_life_days
        weights = np.ones(keep.sum()) if half_life is None else 0.5 ** (age_days[keep] / half_life)
        shape = (len(snapshot.users), self.n_items)
        sales = sparse.csr_array((weights, (sequences.rows[keep], sequences.items[keep])), shape=shape)
        sales.sum_duplicates()
        buyers = sales.copy()
        buyers.data[:] = 1.0
        return sales, buyers

    def _depth(
        self,
        sales: sparse.csr_array,
        buyers: sparse.csr_array,
        values: list[NDArray[np.object_]],
        shares: list[NDArray[np.float64]],
    ) -> dict[tuple[str, ...], NDArray[np.float64]]:
        """The shares of all segments of one depth that have buyers enough and sold enough."""
        users: dict[tuple[str, ...], list[int]] = {}
        for row, segment in enumerate(zip(*values, strict=True)):
            if MISSING not in segment and segment[:-1] in self._segments:
                users.setdefault(segment, []).append(row)
        counts, parents, kept = [], [], []
        for segment, rows in sorted(users.items()):
            bought = buyers[rows]
            count = np.asarray(bought.sum(axis=0), dtype=np.float64).ravel()
            if self._is_large(bought) and sales[rows].sum() > 0:
                kept.append((segment, rows))
                counts.append(count)
                parents.append(shares[self._segments[segment[:-1]]])
        if not kept:
            return {}
        strength = self.config.strength if self.config.strength is not None else loo_strength(counts, parents)
        result = {}
        for (segment, rows), parent in zip(kept, parents, strict=True):
            sold = np.asarray(sales[rows].sum(axis=0)).ravel()
            # Decay makes a sale worth less than one; the parent's weight is scaled alike.
            scale = sold.sum() / max(float(buyers[rows].sum()), 1.0)
            result[segment] = (sold + strength * scale * parent) / (sold.sum() + strength * scale)
        return result

    def _is_large(self, bought: sparse.csr_array) -> bool:
        """Whether (users, items) purchases of a segment reach both floors."""
        n_buyers = np.count_nonzero(np.diff(bought.indptr))
        return bool(n_buyers >= self.config.minimum_buyers and bought.nnz >= self.config.minimum_sales)

    def score_all(self, histories: Histories) -> Scores:
        """The shares of the deepest known segment of each user, as (n, n_items)."""
        return self._shares[self.segments(histories)]

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
        """One npz and one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "shares.npz", shares=self._shares)
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
            model._shares = arrays["shares"]
        model.n_items = model._shares.shape[1]
        return model


def loo_strength(counts: list[NDArray[np.float64]], parents: list[NDArray[np.float64]]) -> float:
    """The shrinkage strength ``m`` of the grid ``STRENGTHS`` with the highest leave-one-out likelihood.

    ``sum over segments and items of c * log((c - 1 + m * p) / (n - 1 + m))``, ``c`` being the item's buyers in the
    segment, ``n`` all of them and ``p`` the parent's share.
    """
    likelihood = np.zeros(len(STRENGTHS))
    for count, parent in zip(counts, parents, strict=True):
        bought = count > 0
        c, p, n = count[bought], parent[bought], count.sum()
        inner = (c[:, None] - 1 + STRENGTHS * p[:, None]) / (n - 1 + STRENGTHS)
        likelihood += (c[:, None] * np.log(inner)).sum(axis=0)
    return float(STRENGTHS[likelihood.argmax()])


__all__ = ["Bestsellers", "loo_strength"]
