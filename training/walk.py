"""L3: items two steps away in the graph of what is taken close to what, for histories that few neighbours share."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from features.schema import Level
from features.sequences import Histories
from training.item_to_item import ItemToItem, strongest_neighbours
from training.recommender import Progress, TrainingSet, chunks, register
from training.search_space import Between, Space

#: What leads back to the earlier item of a pair, relative to what leads to the later one.
BACK = 0.7

#: Events of a history beyond these weigh next to nothing.
RECENT = 12


@register
class Walk(ItemToItem):
    """``scores = past @ (T @ T + near T)``, ``T`` being one step from an item to those taken close to it.

    ``T = rows of length one of C (C'1 + shrinkage) ** -dampening``, ``C`` (items, items) counting pairs of events of
    one user that are at most ``reach`` apart, ``1 / distance`` each and ``BACK`` times that backwards; the exponent
    keeps popular items from being where all walks end (Christoffel et al. 2015, Blockbusters and wallflowers). Session
    neighbours see one step and what is around it; two steps reach items that were never taken together with any of the
    history's.
    """

    name = "walk"
    level = Level.PREFERENCE
    reason = "often_taken_with"

    class Config(ItemToItem.Config):
        """Of the graph and of the walk.

        Attributes:
            step_neighbours: How many items one step leads to.
            neighbours: How many items two steps lead to.
            shrinkage: Added to an item's degree.
            reach: How many events apart a pair may be.
            dampening: 0 leads to what is popular, 1 to what is particular.
            near: Weight of what is reached by one step.
            forget: Weight of an event of the history per event since.
        """

        step_neighbours: int = Field(default=60, ge=1)
        neighbours: int = Field(default=500, ge=1)
        shrinkage: float = Field(default=2.0, gt=0)
        reach: int = Field(default=4, ge=1)
        dampening: float = Field(default=0.5, ge=0, le=1)
        near: float = Field(default=1.0, ge=0)
        forget: float = Field(default=0.7, gt=0, lt=1)

    space: ClassVar[Space] = {
        "step_neighbours": Between(20, 200, log=True),
        "neighbours": Between(100, 1_000, log=True),
        "reach": Between(1, 10),
        "dampening": Between(0.0, 1.0),
        "near": Between(0.0, 5.0),
        "forget": Between(0.4, 0.95),
    }

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Count pairs and multiply; O(items * step_neighbours ** 2) beside the pairs."""
        self.n_items = len(training_set.snapshot.items)
        together = close_pairs(in_order(training_set.snapshot.sequences, self.n_items), self.n_items, self.config.reach)
        degree = np.asarray(together.sum(axis=0)).ravel() + self.config.shrinkage
        step = sparse.csr_array(together @ sparse.diags_array(degree**-self.config.dampening))
        step = strongest_neighbours(step, self.config.step_neighbours)
        total = np.asarray(step.sum(axis=1)).ravel()
        step = sparse.csr_array(sparse.diags_array(1 / np.where(total > 0, total, 1.0)) @ step, dtype=np.float32)
        near = np.float32(self.config.near)
        # A few rows at a time: two steps lead to many items of which most are dropped at once.
        blocks = [
            strongest_neighbours(sparse.csr_array(step[rows] @ step + near * step[rows]), self.config.neighbours)
            for rows in chunks(self.n_items, 4_096)
        ]
        self._towards = sparse.csr_array(sparse.vstack(blocks, format="csr"))
        return self

    def interest(self, histories: Histories) -> sparse.csr_array:
        """(n, n_items) float32: ``forget`` to the number of events since, summed where an item comes again."""
        recent = in_order(histories, self.n_items).tail(RECENT)
        since = np.repeat(recent.offsets[1:], recent.lengths) - 1 - np.arange(len(recent.items))
        cells = ((self.config.forget**since).astype(np.float32), (recent.rows, recent.items))
        return sparse.csr_array(cells, shape=(len(histories), self.n_items))


def close_pairs(events: Histories, n_items: int, reach: int) -> sparse.csr_array:
    """(n_items, n_items) float32: the sum of ``1 / distance`` over pairs of events, ``BACK`` times that backwards."""
    forwards = sparse.csr_array((n_items, n_items), dtype=np.float32)
    rows, items = events.rows, events.items
    for distance in range(1, reach + 1):
        together = rows[:-distance] == rows[distance:]
        together &= items[:-distance] != items[distance:]
        earlier, later = items[:-distance][together], items[distance:][together]
        cells = (np.full(len(earlier), 1 / distance, dtype=np.float32), (earlier, later))
        forwards = forwards + sparse.csr_array(cells, shape=(n_items, n_items))
    return sparse.csr_array(forwards + np.float32(BACK) * forwards.T)


def in_order(histories: Histories, n_items: int) -> Histories:
    """Only interactions with known items. What happened at one instant has no order: one is drawn, always the same."""
    kept = histories.interactions()
    # A number for each item that has nothing to do with its own: which items are listed together means nothing.
    drawn = np.random.default_rng(0).permutation(n_items)[kept.items]
    order = np.lexsort((drawn, kept.ts, kept.rows))
    return replace(kept, items=kept.items[order], event_types=kept.event_types[order], ts=kept.ts[order])


__all__ = ["BACK", "Walk", "close_pairs", "in_order"]
