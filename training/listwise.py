"""Weights of a linear ranking with the least softmax cross entropy of what was bought (ListNet; Cao et al. 2007)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Doubles = NDArray[np.float64]

#: Newton's method ends when a step would lower the loss by less than this, or after so many steps.
TOLERANCE, MOST_STEPS = 1e-9, 50
#: What is added to the curvature, relative to its mean, so that columns that never move have a step of zero.
JITTER = 1e-7
#: Below this share of a step there is nothing to gain.
SHORTEST = 1e-6


def least_cross_entropy(
    x: Doubles,
    hits: NDArray[np.bool_],
    owners: NDArray[np.int64],
    prior: Doubles,
    strengths: Doubles | float,
    start: Doubles | None = None,
) -> Doubles:
    """(columns,) weights that minimise the cross entropy of the hits' equal shares, drawn to ``prior``.

    The loss is convex and has few columns: Newton's method with a halved step where a whole one is too long. Questions
    none of whose candidates is a hit teach nothing and are left out; with none left the answer is ``prior``.

    Args:
        x: (m, columns) of every candidate.
        hits: (m,) whether it was bought.
        owners: (m,) the question it is a candidate of, ascending.
        prior: (columns,) weights without a lesson.
        strengths: (columns,) or one of the square penalty on the distance to ``prior``, per question.
        start: (columns,) where the search begins, by default at ``prior``.
    """
    n_hits = np.bincount(owners, hits)[owners] if len(owners) else np.zeros(0)
    teaches = n_hits > 0
    if not teaches.any():
        return prior
    lists = _Lists(x[teaches], hits[teaches] / n_hits[teaches], owners[teaches])
    strength = np.broadcast_to(np.asarray(strengths, dtype=np.float64), prior.shape)

    def loss(weights: Doubles) -> float:
        return lists.entropy(weights) + float(strength @ (weights - prior) ** 2)

    weights = prior if start is None else start
    reached = loss(weights)
    for _ in range(MOST_STEPS):
        slope, curvature = lists.slope_and_curvature(weights)
        slope = slope + 2 * strength * (weights - prior)
        curvature = curvature + np.diag(2 * strength)
        curvature = curvature + JITTER * np.trace(curvature) / len(prior) * np.eye(len(prior))
        step = np.linalg.solve(curvature, slope)
        gain, share = float(slope @ step), 1.0
        if gain < TOLERANCE:
            break
        while (tried := loss(weights - share * step)) > reached - 1e-4 * share * gain and share > SHORTEST:
            share /= 2
        if tried >= reached:
            break
        weights, reached = weights - share * step, tried
    return weights


class _Lists:
    """Candidates of questions, each with the share of the question's hits that it is."""

    def __init__(self, x: Doubles, shares: Doubles, owners: NDArray[np.int64]) -> None:
        self._x, self._shares = x, shares
        _, self._starts, self._rows = np.unique(owners, return_index=True, return_inverse=True)

    def _log_chances(self, weights: Doubles) -> Doubles:
        logits = self._x @ weights
        logits = logits - np.maximum.reduceat(logits, self._starts)[self._rows]
        return np.asarray(logits - np.log(np.add.reduceat(np.exp(logits), self._starts))[self._rows])

    def entropy(self, weights: Doubles) -> float:
        """The mean over questions."""
        return -float(self._shares @ self._log_chances(weights)) / len(self._starts)

    def slope_and_curvature(self, weights: Doubles) -> tuple[Doubles, Doubles]:
        """(columns,) and (columns, columns): the first and second derivatives of the mean cross entropy."""
        chances = np.exp(self._log_chances(weights))
        weighted = self._x * chances[:, None]
        n = len(self._starts)
        borders = np.append(self._starts, len(chances))
        means = sparse.csr_array((chances, np.arange(len(chances)), borders), shape=(n, len(chances))) @ self._x
        return self._x.T @ (chances - self._shares) / n, (weighted.T @ self._x - means.T @ means) / n


__all__ = ["Doubles", "least_cross_entropy"]
