"""Losses against SciPy's distributions."""

import numpy as np
import torch
from scipy import stats

from training.intent.value_loss import gamma_sum_nll, negative_binomial_nll


def test_negative_binomial_is_scipys() -> None:
    orders, mean, size = np.array([0.0, 1.0, 7.0, 40.0]), np.array([0.01, 2.0, 3.0, 30.0]), 0.7
    found = negative_binomial_nll(
        torch.tensor(orders), torch.tensor(np.log(mean)), torch.tensor(np.log(size), dtype=torch.float64)
    )
    np.testing.assert_allclose(found.numpy(), -stats.nbinom.logpmf(orders, size, size / (size + mean)), rtol=1e-10)


def test_gamma_sum_is_scipys_and_nothing_without_orders() -> None:
    orders, paid, mean, shape = np.array([0.0, 1.0, 3.0]), np.array([0.0, 900.0, 12_000.0]), 3000.0, 1.4
    found = gamma_sum_nll(
        torch.tensor(orders),
        torch.tensor(paid),
        torch.full((3,), np.log(mean), dtype=torch.float64),
        torch.tensor(np.log(shape), dtype=torch.float64),
    )
    expected = -stats.gamma.logpdf(paid[1:], shape * orders[1:], scale=mean / shape)
    np.testing.assert_allclose(found.numpy(), [0.0, *expected], rtol=1e-10)


def test_gradients_are_finite_for_whoever_did_nothing() -> None:
    log_mean = torch.zeros(2, requires_grad=True)
    log_shape = torch.zeros((), requires_grad=True)
    gamma_sum_nll(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 5.0]), log_mean, log_shape).sum().backward()
    assert log_mean.grad is not None and log_shape.grad is not None
    assert log_mean.grad[0] == 0 and torch.isfinite(log_mean.grad).all() and torch.isfinite(log_shape.grad)
