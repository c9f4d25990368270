"""The items whose vectors have the largest products with a user's, found without a look at all of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from training.recommender import Ids, Mask, Scores

#: The share of the truly best ``DEPTH`` that is found at least, measured on the questions that an index is built with.
#: A little above the 0.99 that is promised, because other questions are asked later.
RECALL, DEPTH = 0.995, 100

#: Of the questions as many at most, evenly chosen, are answered exactly to measure it; the metric is learned from all.
MEASURED = 256

#: Vectors per group that the groups' centres are learned from, and rounds of it (more changed nothing).
LEARNED_FROM, ROUNDS = 64, 10


class Nearest:
    """Inverted lists of FAISS (Jegou et al. 2011; Douze et al. 2024, The Faiss library): items in groups of neighbours.

    A question is compared with the centres of all groups and then with the items of the ``probes`` groups whose centres
    have the largest products with it. How many that must be is measured when the index is built.

    Items are neighbours if questions ``q`` hardly tell them apart: groups are k-means in the metric
    ``mean of (q . (x - y))^2``, in which lengths count as much as directions, and a bias as much as it moves products.

    Against graphs of neighbours (HNSW of FAISS, hnswlib, usearch) it was faster to build and to ask at the same
    recall, and it can be asked for some of the items only, however few they are.
    """

    def __init__(self, vectors: Scores, centres: Scores, groups: NDArray[np.int32], probes: int) -> None:
        """From what ``build`` found.

        Args:
            vectors: (n_items, width) float32.
            centres: (n_groups, width) float32, at least one.
            groups: (n_items,) int32, of each item.
            probes: From 1 to ``n_groups``.
        """
        faiss = _faiss()
        self.probes = probes
        self._centres, self._groups = centres, groups
        self._quantizer = faiss.IndexFlatIP(centres.shape[1])
        self._quantizer.add(centres)
        self._index = faiss.IndexIVFFlat(self._quantizer, centres.shape[1], len(centres), faiss.METRIC_INNER_PRODUCT)
        self._index.is_trained = True
        held, of = np.ascontiguousarray(vectors, dtype=np.float32), groups.astype(np.int64)
        self._index.add_core(len(held), faiss.swig_ptr(held), None, faiss.swig_ptr(of))

    @classmethod
    def build(cls, vectors: Scores, questions: Scores) -> Self:
        """Learn groups of (n_items, width) vectors, and how many of them (m, width) float32 questions need."""
        faiss = _faiss()
        n, width = vectors.shape
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        n_groups = max(min(round(4 * math.sqrt(n)), n // DEPTH), 1)
        centres, groups = np.zeros((1, width), np.float32), np.zeros(n, np.int32)
        if n_groups > 1:
            metric = _metric(questions)
            stretched = vectors @ metric
            settings = {"niter": ROUNDS, "max_points_per_centroid": LEARNED_FROM, "min_points_per_centroid": 1}
            learner = faiss.Kmeans(width, n_groups, seed=1, **settings)
            learner.train(stretched)
            groups = learner.assign(stretched)[1].astype(np.int32)
            centres = np.linalg.solve(metric.T.astype(np.float64), learner.centroids.T).T.astype(np.float32)
        # Fewer would hardly save time: so many groups cost as much as the comparison with all centres.
        built = cls(vectors, centres, groups, max(n_groups**2 // max(n, 1), 1))
        built._measure(vectors, questions)
        return built

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return len(self._centres)

    def _measure(self, vectors: Scores, questions: Scores) -> None:
        """Double the probes until questions find what an exact search finds; equally good items are as good."""
        asked = questions[(questions != 0).any(axis=1)]
        asked = asked[:: max(math.ceil(len(asked) / MEASURED), 1)]
        depth = min(DEPTH, len(vectors))
        if not len(asked) or not depth:
            self.probes = self.n_groups
            return
        best, _ = _faiss().knn(asked, vectors, depth, metric=_faiss().METRIC_INNER_PRODUCT)
        enough = best[:, -1:] - 1e-5 * np.abs(best[:, -1:])
        while self.probes < self.n_groups:
            products, found = self._asked(asked, depth, self.probes, None)
            if ((products >= enough) & (found >= 0)).mean() >= RECALL:
                break
            self.probes = min(2 * self.probes, self.n_groups)

    def search(self, questions: Scores, k: int, allowed: Mask | None = None) -> Ids:
        """The ``k`` items with about the largest products with each question, best first.

        There are always as many as an exact search would give: where the probed groups have too few items that are
        allowed, all groups are asked. Equally good items come in any order.

        Args:
            questions: (n, width) float32.
            k: At least 1.
            allowed: (n_items,) bool, items that may be found; all if absent.

        Returns:
            (n, k) int32, padded with -1 where fewer than ``k`` items are allowed.
        """
        n_items = len(self._groups)
        n_allowed = n_items if allowed is None else int(np.count_nonzero(allowed))
        found = np.full((len(questions), k), -1, dtype=np.int32)
        width = min(k, n_allowed)
        if not width or not len(questions):
            return found
        # Of few allowed items only few are in each group, and many are not in few groups.
        probes = math.ceil(max(self.probes, 2 * width * self.n_groups / n_items) * n_items / n_allowed)
        probes = min(probes, self.n_groups)
        found[:, :width] = self._asked(questions, width, probes, allowed)[1]
        short = np.flatnonzero(found[:, width - 1] < 0)
        if len(short):
            found[short, :width] = self._asked(questions[short], width, self.n_groups, allowed)[1]
        return found

    def _asked(self, questions: Scores, k: int, probes: int, allowed: Mask | None) -> tuple[Scores, NDArray[np.int64]]:
        faiss = _faiss()
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        chosen = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}
        settings = faiss.SearchParametersIVF(nprobe=probes, **chosen)
        products, found = self._index.search(np.ascontiguousarray(questions, dtype=np.float32), k, params=settings)
        return products, found

    def save(self, path: Path) -> None:
        """One npz, without the vectors."""
        np.savez_compressed(path, centres=self._centres, groups=self._groups, probes=np.int64(self.probes))

    @classmethod
    def load(cls, path: Path, vectors: Scores) -> Self:
        """Read what ``save`` wrote of an index of these vectors; it answers as the saved one did."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(vectors, arrays["centres"], arrays["groups"], int(arrays["probes"]))


def _metric(questions: Scores) -> Scores:
    """(width, width) float32 ``L`` with ``|(x - y) L|^2 = mean of (q . (x - y))^2``, and a little of plain distance."""
    width = questions.shape[1]
    moments = questions.astype(np.float64).T @ questions / max(len(questions), 1)
    ridge = 1e-3 * np.trace(moments) / width or 1.0
    return np.linalg.cholesky(moments + ridge * np.eye(width)).astype(np.float32)


def _faiss() -> Any:
    """Imported when it is first needed: small catalogues do without."""
    import faiss

    return faiss


__all__ = ["DEPTH", "RECALL", "Nearest"]
