"""The sum of a softmax over a catalogue too large to look at: the best one by one, all others by a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.sequences import Ragged
from training.recommender import Ids, Scores

#: Items in the sample.
SAMPLED_ITEMS = 8_192


class SampledSum:
    """Items drawn without a look at them, the same for all questions: a user's scores then compare over time."""

    def __init__(self, items: Ids, vectors: Scores, n_items: int) -> None:
        """From ``drawn`` items, their (s, width) vectors, and how many items there are in all."""
        self._items, self._vectors, self._n_items = items, vectors, n_items

    @staticmethod
    def drawn(n_items: int, seed: int) -> Ids:
        """(s,) int32 distinct items in ascending order; all where there are not more than ``SAMPLED_ITEMS``."""
        size = min(SAMPLED_ITEMS, n_items)
        return np.sort(np.random.default_rng(seed).choice(n_items, size, replace=False)).astype(np.int32)

    def log(self, questions: Scores, best: Ragged, logits: Scores) -> NDArray[np.float64]:
        """(n,) log of the sum of ``exp(logit)`` over all items.

        ``sum over best + (number of others) * mean over those others that were drawn``, of which the second has no
        bias and little weight, for the best outweigh all others.

        Args:
            questions: (n, width); an item's logit is the product with its vector unless it is among the best.
            best: n rows of distinct items, at least one in each unless there are no items at all.
            logits: (m,) of each of these.
        """
        n, rows = len(questions), best.rows
        others = (questions @ self._vectors.T).astype(np.float64)
        place = np.minimum(np.searchsorted(self._items, best.values), len(self._items) - 1)
        twice = self._items[place] == best.values
        others[rows[twice], place[twice]] = -np.inf
        top = np.full(n, -np.inf)
        np.maximum.at(top, rows, logits)
        of_best = np.bincount(rows, np.exp(logits - top[rows]), minlength=n)
        left = np.maximum(np.isfinite(others).sum(axis=1), 1)
        of_others = np.exp(others - top[:, None]).sum(axis=1) / left * (self._n_items - best.lengths)
        return np.asarray(top + np.log(of_best + of_others))


__all__ = ["SAMPLED_ITEMS", "SampledSum"]
