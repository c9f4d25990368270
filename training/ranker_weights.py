"""What the second stage learns with: examples, weights, and the choice between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.blend import BASIS
from training.listwise import Doubles
from training.ranker_features import NAMES, OF_USER
from training.recommender import Mask

#: Columns of every part: the blend's two, and one over its place among the part's best.
OF_PART = BASIS + 1
#: Features that differ between the candidates of a question; what is equal for all of them moves none.
MOVING = len(NAMES) - len(OF_USER)
#: Standardised features beyond this are cut: a value never seen must not decide alone.
CUT = 4.0
#: The depth of the lists that decide between strengths.
DEPTH = 20


#: The arrays of ``Weights``.
ARRAYS = ("of_parts", "means", "deviations", "of_features")


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one situation.

    Attributes:
        of_parts: (parts, OF_PART) float64.
        means, deviations, of_features: (MOVING,) float64; features are standardised by the first two.
        base: What ``of_parts`` is drawn to: ``blend``, ``even`` for all parts alike, or the name of one part.
        ridge: The strength that was chosen; infinite where features do not count.
        gain: By how much NDCG@20 of held-out questions was above that of the base alone.
    """

    of_parts: Doubles
    means: Doubles
    deviations: Doubles
    of_features: Doubles
    base: str
    ridge: float = math.inf
    gain: float = 0.0

    @classmethod
    def of_base(cls, name: str, of_parts: Doubles) -> Self:
        """Parts only."""
        return cls(of_parts, np.zeros(MOVING), np.ones(MOVING), np.zeros(MOVING), name)

    def standard(self, features: NDArray[np.floating]) -> Doubles:
        """(m, MOVING) float64 standardised features."""
        return np.clip((features[:, :MOVING] - self.means) / self.deviations, -CUT, CUT)


@dataclass(frozen=True, slots=True)
class Examples:
    """Candidates of n questions; those of a question stand together.

    Attributes:
        columns: (m, parts, OF_PART) float64.
        features: (m, NAMES) float32.
        hits: (m,) bool bought.
        owners: (m,) int64 question from 0 to n - 1, ascending.
        wanted: (n,) int64 items bought, candidates or not.
    """

    columns: Doubles
    features: NDArray[np.float32]
    hits: Mask
    owners: NDArray[np.int64]
    wanted: NDArray[np.int64]

    def of(self, questions: NDArray[np.int64]) -> Examples:
        """Those of some questions, in ascending order."""
        number = np.full(len(self.wanted), -1)
        number[questions] = np.arange(len(questions))
        kept = number[self.owners] >= 0
        return Examples(
            self.columns[kept],
            self.features[kept],
            self.hits[kept],
            number[self.owners[kept]],
            self.wanted[questions],
        )


def joined(found: Sequence[Examples]) -> Examples:
    """One after the other; at least one."""
    starts = np.cumsum([0, *(len(each.wanted) for each in found)])
    owners = np.concatenate([each.owners + start for each, start in zip(found, starts[:-1], strict=True)])
    columns, features, hits, wanted = (
        np.concatenate([getattr(each, name) for each in found]) for name in ("columns", "features", "hits", "wanted")
    )
    return Examples(columns, features, hits, owners, wanted)


def clearly_best(values: Sequence[Doubles]) -> int:
    """The position of the best mean among those above the first by a standard error of the difference, else 0."""
    gains = [each - values[0] for each in values]
    clear = [gain.mean() if gain.mean() > gain.std() / math.sqrt(len(gain)) else 0.0 for gain in gains]
    return int(np.argmax(clear))


def scored(weights: Weights, examples: Examples) -> Doubles:
    """(m,) float64 the candidates' scores."""
    by_part = np.einsum("mpc,pc->m", examples.columns, weights.of_parts)
    return np.asarray(by_part + weights.standard(examples.features) @ weights.of_features)


def ndcg(examples: Examples, scores: Doubles) -> Doubles:
    """(n,) NDCG@20 of the candidates in the order of their scores; what is no candidate counts as missed."""
    order = np.lexsort((-scores, examples.owners))
    n = len(examples.wanted)
    first = np.searchsorted(examples.owners, np.arange(n))
    place = np.arange(len(order)) - first[examples.owners[order]]
    discounts = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    top = place < DEPTH
    gains = examples.hits[order][top] * discounts[place[top]]
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(examples.wanted, DEPTH)]
    return np.asarray(np.bincount(examples.owners[order][top], gains, n) / ideal)


__all__ = [
    "ARRAYS",
    "MOVING",
    "OF_PART",
    "Examples",
    "Weights",
    "clearly_best",
    "joined",
    "ndcg",
    "scored",
]
