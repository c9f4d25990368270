"""L4: what users went on to buy in the visit in which they showed interest in what this user is looking at now."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from features.schema import EventType, Level
from features.sequences import Histories
from training.item_to_item import ItemToItem, incidence, strongest_interest, strongest_neighbours
from training.recommender import Progress, Scores, TrainingSet, register
from training.search_space import Between, Space


@register
class LiveCooccurrence(ItemToItem):
    """``towards(i, j) = (bought(j | i) + share * together(i, j)) / (visits(i) + shrinkage)``.

    ``bought(j | i)`` counts the visits with interest in ``i`` in which ``j`` was bought, ``together`` those with
    interest in both, for the many pairs that nobody bought yet. For ``i = j`` the numerator counts only the visits in
    which the item was bought and also viewed or carted. Only the interactions since the snapshot are read, and the
    latest of them weigh most.
    """

    name = "live"
    level = Level.LIVE
    reason = "goes_with_now"
    space: ClassVar[Space] = {
        **ItemToItem.space,
        "share": Between(0.01, 1.0, log=True),
        "half_life_events": Between(0.5, 30.0, log=True),
    }

    class Config(ItemToItem.Config):
        """``half_life_events``: an event that many interactions ago counts half."""

        share: float = Field(default=0.2, ge=0, le=1)
        half_life_events: float = Field(default=3.0, gt=0)

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Count visits; O(sum of squared visit sizes)."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        histories = snapshot.sequences.interactions()
        visits, purchase = histories.visits(), histories.event_types == EventType.PURCHASE.code
        n_visits = int(visits.max(initial=-1)) + 1
        interest = incidence(visits, histories.items, n_visits, self.n_items)
        bought = incidence(visits[purchase], histories.items[purchase], n_visits, self.n_items)
        looked = incidence(visits[~purchase], histories.items[~purchase], n_visits, self.n_items)
        pairs = sparse.csr_array(interest.T @ bought + self.config.share * (interest.T @ interest))
        considered = np.asarray((looked * bought).sum(axis=0)).ravel()
        pairs = pairs - sparse.diags_array(pairs.diagonal() - considered)
        visited = np.asarray(interest.sum(axis=0)).ravel()
        rates = sparse.csr_array(sparse.diags_array(1.0 / (visited + self.config.shrinkage)) @ pairs)
        rates.eliminate_zeros()
        self._towards = strongest_neighbours(rates.astype(np.float32), self.config.neighbours)
        return self

    def interest(self, histories: Histories) -> sparse.csr_array:
        """Only live events; halved every ``half_life_events`` later ones.

        Searches and the like are no steps: snapshots do not carry them, and steps count alike offline and online.
        """
        live = histories.live().interactions()
        steps_back = np.repeat(live.offsets[1:], live.lengths) - 1 - np.arange(len(live.items))
        return strongest_interest(live, 0.5 ** (steps_back / self.config.half_life_events), self.n_items)

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items); what was just bought still leads to other items, but no longer to itself."""
        scores = super().score_all(histories)
        live = histories.live()
        purchase = (live.event_types == EventType.PURCHASE.code) & (live.items >= 0)
        scores[live.rows[purchase], live.items[purchase]] = 0.0
        return scores


__all__ = ["LiveCooccurrence"]
