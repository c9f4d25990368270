"""L2: items that other users took in the same visit as those of the user's history."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from features.schema import DAY_MS, Level
from features.sequences import Histories
from training.item_to_item import ItemToItem, incidence, strongest_interest, strongest_neighbours
from training.recommender import Progress, TrainingSet, register
from training.search_space import Between, Space


@register
class Cooccurrence(ItemToItem):
    """Shrunk cosine over visits: ``together(i, j) / (sqrt(visits(i) * visits(j)) + shrinkage)``.

    Item-based neighbourhoods of Sarwar et al. (2001) with the significance shrinkage of Bell and Koren (2007). An
    item never leads to itself: that is the personal history's part.
    """

    name = "cooccurrence"
    level = Level.BEHAVIOUR
    reason = "often_taken_with"
    space: ClassVar[Space] = {**ItemToItem.space, "half_life_days": Between(3.0, 365.0, log=True)}

    class Config(ItemToItem.Config):
        """``half_life_days``: interest of that age counts half."""

        half_life_days: float = Field(default=60.0, gt=0)

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Count visits; O(sum of squared visit sizes)."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        histories = snapshot.sequences.interactions()
        visits = histories.visits()
        taken = incidence(visits, histories.items, int(visits.max(initial=-1)) + 1, self.n_items)
        together = sparse.coo_array(taken.T @ taken)
        rows, columns = together.coords
        alone = np.asarray(taken.sum(axis=0)).ravel()
        similarity = together.data / (np.sqrt(alone[rows] * alone[columns]) + self.config.shrinkage)
        others = rows != columns
        cells = (similarity[others].astype(np.float32), (rows[others], columns[others]))
        self._towards = strongest_neighbours(sparse.csr_array(cells, shape=together.shape), self.config.neighbours)
        return self

    def interest(self, histories: Histories) -> sparse.csr_array:
        """Halved every ``half_life_days``."""
        age_days = (np.repeat(histories.as_of_ms, histories.lengths) - histories.ts) / DAY_MS
        return strongest_interest(histories, 0.5 ** (age_days / self.config.half_life_days), self.n_items)


__all__ = ["Cooccurrence"]
