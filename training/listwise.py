"""Weights of a linear ranking with the least softmax cross entropy of what was bought (ListNet; Cao et al. 2007)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def least_cross_entropy(
    x: Doubles,
    hits: NDArray[np.bool_],
    owners: NDArray[np.int64],
    prior: Doubles,
    strengths: Doubles | float,
    start: Doubles,
    most_steps: int,
) -> Doubles:
    """(columns,) weights that minimise the cross entropy of the hits' equal shares, drawn to ``prior``.

    Questions none of whose candidates is a hit teach nothing and are left out; with none left the answer is ``prior``.

    Args:
        x: (m, columns) of every candidate.
        hits: (m,) whether it was bought.
        owners: (m,) the question it is a candidate of, ascending.
        prior: (columns,) weights without a lesson.
        strengths: (columns,) or one of the square penalty on the distance to ``prior``, per question.
        start: (columns,) where L-BFGS begins.
        most_steps: Of L-BFGS.
    """
    n_hits = np.bincount(owners, hits)[owners] if len(owners) else np.zeros(0)
    teaches = n_hits > 0
    if not teaches.any():
        return prior
    distinct, row = np.unique(owners[teaches], return_inverse=True)
    n = len(distinct)
    rows, columns = torch.from_numpy(row), torch.from_numpy(x[teaches])
    shares = torch.from_numpy(hits[teaches] / n_hits[teaches])
    drawn_to, strength = torch.from_numpy(prior), torch.as_tensor(strengths)
    weights = torch.from_numpy(start.copy()).requires_grad_()
    optimiser = torch.optim.LBFGS([weights], max_iter=most_steps, line_search_fn="strong_wolfe")

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


__all__ = ["Doubles", "least_cross_entropy"]
