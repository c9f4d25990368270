"""Models that score by the product of a user's and an item's vector: of a large catalogue an index finds the best."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.sequences import Histories, Ragged
from training.nearest import Nearest
from training.recommender import Ids, Mask, Recommender, Scores, chunks, top_of

#: Items from which on an index answers: below it, a look at all of them takes a millisecond or less and misses nothing.
#: Measured by `stellar benchmark catalogue`.
INDEXED_FROM = 50_000

#: The share of an index's groups that it may ask at most: with more it is slower than a look at all items (at 100,000
#: items of width 256 it took 6 ms for one question with half of them, 12 with all; the look 8). So it is where users
#: had so little that their best hundred are hardly better than the rest.
PROBED_AT_MOST = 0.5

#: Questions that an index is built with (of 300,000 planted items it missed .6 % for others when built with 256, .4 %
#: with these or twice as many), and the best items from which a model may estimate what it says of all others.
QUESTIONS, HEAD = 1_024, 100

_FILE = "nearest.npz"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What n questions look for.

    Attributes:
        vectors: (n, width) float32, zeros where nothing is known.
        own: Distinct items, in ascending order, that an index must not miss: whose product is not all that counts, or
            that are nobody else's, for such an item's vector is unlike those of the group it is in.
        bonus: (m,) float32: what is added to the product with each of these.
    """

    vectors: Scores
    own: Ragged
    bonus: Scores


class ByVectors(Recommender):
    """``score(user, item)`` rises with ``user . item + bonus``, where only few items of each user have a bonus.

    From ``INDEXED_FROM`` items on, the best are looked for in an index, which misses less than one in a hundred of
    them, unless it would have to ask more than ``PROBED_AT_MOST`` of its groups for that; equally good items then come
    in any order. What is found is scored as it would be otherwise.
    """

    _nearest: Nearest | None = None

    @abstractmethod
    def wanted(self, histories: Histories) -> Wanted:
        """What the questions look for."""

    @abstractmethod
    def item_vectors(self, items: Ids | None = None) -> Scores:
        """(m, width) float32 vectors of ``items``, of all if absent."""

    def scored(self, wanted: Wanted, best: Ragged, rows: NDArray[np.int64], logits: Scores) -> Scores:
        """(m,) float32 scores of ``logits``, which are products with bonus, of the questions at ``rows``.

        Args:
            best: For all n questions the ``HEAD`` items of the largest products, and those with a bonus.
        """
        return logits

    def user_vectors(self, histories: Histories) -> Scores:
        """(n, width) float32, zeros where nothing is known: what an index is searched with."""
        return self.wanted(histories).vectors

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index."""
        return self._nearest is not None

    def index(self, histories: Histories) -> None:
        """Build the index where it is faster, for questions like these; call it when all else is fitted."""
        self._nearest = None
        if self.n_items >= INDEXED_FROM:
            known = np.flatnonzero(histories.lengths)
            some = np.unique(np.linspace(0, len(known) - 1, QUESTIONS).astype(np.int64)) if len(known) else known
            vectors = self.item_vectors()
            asked = [self.user_vectors(histories.take(known[some[rows]])) for rows in chunks(len(some))]
            built = Nearest.build(vectors, np.concatenate([vectors[:0], *asked]))
            if built.probes <= PROBED_AT_MOST * built.n_groups:
                self._nearest = built

    def recommend(self, histories: Histories, k: int, allowed: Mask | None = None) -> tuple[Ids, Scores]:
        """As ``Recommender.recommend``; of a large catalogue nearly the best."""
        if self._nearest is None:
            return super().recommend(histories, k, allowed)
        ids = np.full((len(histories), k), -1, dtype=np.int32)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        for rows in chunks(len(histories)):
            wanted = self.wanted(histories.take(np.arange(rows.start, rows.stop)))
            chosen, best = self._found(self._nearest, wanted, k, allowed)
            found = self.scored(wanted, best, chosen.rows, self.logits(wanted, chosen))
            ids[rows], scores[rows] = top_of(chosen, found, k)
        return ids, scores

    def score_candidates(self, histories: Histories, candidates: Ragged) -> Scores:
        """As ``Recommender.score_candidates``; of a large catalogue without the scores of all others."""
        if self._nearest is None:
            return super().score_candidates(histories, candidates)
        scores = np.empty(len(candidates.values), dtype=np.float32)
        for rows in chunks(len(histories)):
            some = np.arange(rows.start, rows.stop)
            wanted, asked = self.wanted(histories.take(some)), candidates.take(some)
            best = _together(self._nearest.search(wanted.vectors, HEAD), wanted.own)
            flat = slice(int(candidates.offsets[rows.start]), int(candidates.offsets[rows.stop]))
            scores[flat] = self.scored(wanted, best, asked.rows, self.logits(wanted, asked))
        return scores

    def logits(self, wanted: Wanted, chosen: Ragged) -> Scores:
        """(m,) float32 products with bonus of n rows of items."""
        rows = chosen.rows
        found = np.einsum("mw,mw->m", wanted.vectors[rows], self.item_vectors(chosen.values))
        keys = wanted.own.rows * self.n_items + wanted.own.values
        if len(keys):
            asked = rows * self.n_items + chosen.values
            place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
            found += np.where(keys[place] == asked, wanted.bonus[place], 0)
        return found

    def _found(self, nearest: Nearest, wanted: Wanted, k: int, allowed: Mask | None) -> tuple[Ragged, Ragged]:
        """Items among which the ``k`` best allowed ones are, and the best of all for ``scored``.

        A bonus may push an item into the best, or out of them if it is negative: of the latter as many more are looked
        for, and those with a bonus are always among what is scored.
        """
        own = wanted.own
        leaving = np.bincount(own.rows[wanted.bonus < 0], minlength=1)
        enough = min(k + int(leaving.max()), self.n_items)
        found = nearest.search(wanted.vectors, max(enough if allowed is None else 2 * enough, HEAD))
        best = _together(found[:, :HEAD], own)
        if allowed is not None:
            kept = allowed[own.values]
            own = Ragged.from_rows(own.rows[kept], own.values[kept], len(own))
            found = np.where((found >= 0) & allowed[found], found, -1)
            short = np.flatnonzero((found >= 0).sum(axis=1) < enough)
            if len(short):
                found[short, :enough] = nearest.search(wanted.vectors[short], enough, allowed)
                found[short, enough:] = -1
        unknown = ~np.asarray(wanted.vectors.any(axis=1))
        if unknown.any():  # of equally good items those with the lowest ids
            lowest = (np.arange(self.n_items) if allowed is None else np.flatnonzero(allowed))[:enough]
            found[unknown] = -1
            found[unknown, : len(lowest)] = lowest
        return _together(found, own), best

    def save_index(self, folder: Path) -> None:
        """One npz, if there is an index."""
        if self._nearest is not None:
            self._nearest.save(folder / _FILE)

    def load_index(self, folder: Path) -> None:
        """Read what ``save_index`` wrote; call it when all else is loaded."""
        if (folder / _FILE).is_file():
            self._nearest = Nearest.load(folder / _FILE, self.item_vectors())


def _together(found: Ids, own: Ragged) -> Ragged:
    """Of each row the items in ``found`` (n, c), -1 being none, and in ``own``."""
    rows, places = np.nonzero(found >= 0)
    return Ragged.distinct(np.append(rows, own.rows), np.append(found[rows, places], own.values), len(own))


__all__ = ["HEAD", "INDEXED_FROM", "PROBED_AT_MOST", "QUESTIONS", "ByVectors", "Wanted"]
