"""Listwise weights against an independent optimiser and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.listwise import least_cross_entropy

RNG = np.random.default_rng(0)
OWNERS = np.repeat(np.arange(60), RNG.integers(2, 12, 60))
X = RNG.normal(size=(len(OWNERS), 4))
TRUE = np.array([1.5, -0.5, 0.0, 2.0])
WANTED = X @ TRUE + RNG.gumbel(size=len(OWNERS))
HITS = np.array([WANTED[row] == WANTED[OWNERS[row] == OWNERS].max() for row in range(len(OWNERS))])


def loss_by_hand(weights: torch.Tensor, prior: torch.Tensor, strength: float, hits: np.ndarray) -> torch.Tensor:
    total, n = torch.zeros((), dtype=torch.float64), 0
    for owner in range(60):
        of_owner = hits[owner == OWNERS]
        if of_owner.any():
            log_p = torch.log_softmax(torch.from_numpy(X[owner == OWNERS]) @ weights, dim=0)
            total, n = total - log_p[torch.from_numpy(of_owner)].mean(), n + 1
    return total / n + strength * (weights - prior).square().sum()


@pytest.mark.parametrize(("prior", "strength"), [(np.zeros(4), 1e-3), (np.array([0.0, 1.0, 0.0, 1.0]), 0.1)])
@pytest.mark.parametrize("several", [False, True])
def test_the_slope_is_zero_where_it_ends(prior: np.ndarray, strength: float, several: bool) -> None:
    hits = HITS | (RNG.random(len(HITS)) < 0.2) if several else HITS
    hits = hits & (OWNERS != 7)  # one question teaches nothing
    found = torch.from_numpy(least_cross_entropy(X, hits, OWNERS, prior, strength)).requires_grad_()
    loss_by_hand(found, torch.from_numpy(prior), strength, hits).backward()
    assert found.grad is not None and float(found.grad.abs().max()) < 1e-5


def test_planted_weights_are_found() -> None:
    owners = np.repeat(np.arange(4_000), 8)
    x = np.random.default_rng(1).normal(size=(len(owners), 4))
    scores = (x @ TRUE + np.random.default_rng(2).gumbel(size=len(owners))).reshape(-1, 8)
    hits = (scores == scores.max(axis=1, keepdims=True)).ravel()
    assert least_cross_entropy(x, hits, owners, np.zeros(4), 0.0) == pytest.approx(TRUE, abs=0.12)


def test_without_a_lesson_or_a_column_that_moves_nothing_changes() -> None:
    prior = np.array([0.5, 1.0, 0.0, 0.0])
    assert np.array_equal(least_cross_entropy(X, np.zeros(len(X), bool), OWNERS, prior, 0.1), prior)
    nothing = least_cross_entropy(np.zeros((0, 4)), np.zeros(0, bool), np.zeros(0, np.int64), prior, 0.1)
    assert np.array_equal(nothing, prior)
    still = X.copy()
    still[:, 1] = 3.0  # equal for all candidates
    assert least_cross_entropy(still, HITS, OWNERS, prior, 0.0)[1] == pytest.approx(1.0)


def test_what_separates_perfectly_stays_finite() -> None:
    x = np.array([[1.0], [0.0], [1.0], [0.0]])
    hits = np.array([True, False, True, False])
    found = least_cross_entropy(x, hits, np.array([0, 0, 1, 1]), np.zeros(1), 0.0)
    assert np.isfinite(found).all() and found[0] > 5
