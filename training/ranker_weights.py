"""What the second stage learns with: examples, weights, and the choice between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from training.blend import BASIS
from training.ranker_features import NAMES, OF_USER
from training.recommender import Mask

Doubles = NDArray[np.float64]

#: Columns of every part: the blend's two, and one over its place among the part's best.
OF_PART = BASIS + 1
#: Features that differ between the candidates of a question; what is equal for all of them moves none.
MOVING = len(NAMES) - len(OF_USER)
#: Standardised features beyond this are cut: a value never seen must not decide alone.
CUT = 4.0
#: Steps of the optimiser, which begins near the solution.
MOST_STEPS = 60
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


def least_cross_entropy(x: Doubles, examples: Examples, prior: Doubles, strengths: Doubles, start: Doubles) -> Doubles:
    """(columns,) weights with the least softmax cross entropy of the hits, drawn to ``prior`` by ``strengths``.

    Questions none of whose candidates is a hit teach nothing and are left out.
    """
    n_hits = np.bincount(examples.owners, examples.hits)[examples.owners]
    teaches = n_hits > 0
    if not teaches.any():
        return prior
    distinct, row = np.unique(examples.owners[teaches], return_inverse=True)
    n = len(distinct)
    rows, columns = torch.from_numpy(row), torch.from_numpy(x[teaches])
    shares = torch.from_numpy(examples.hits[teaches] / n_hits[teaches])
    drawn_to, strength = torch.from_numpy(prior), torch.from_numpy(strengths)
    weights = torch.from_numpy(start.copy()).requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = columns @ weights
        peak = torch.full((n,), -torch.inf, dtype=torch.float64).scatter_reduce(0, rows, logits.detach(), "amax")
        total = torch.zeros(n, dtype=torch.float64).index_add(0, rows, (logits - peak[rows]).exp())
        log_p = logits - peak[rows] - total.log()[rows]
        loss = -(shares * log_p).sum() / n + (strength * (weights - drawn_to).square()).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return np.asarray(weights.detach().numpy())


__all__ = [
    "ARRAYS",
    "MOVING",
    "OF_PART",
    "Doubles",
    "Examples",
    "Weights",
    "clearly_best",
    "joined",
    "least_cross_entropy",
    "ndcg",
    "scored",
]
