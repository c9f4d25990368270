"""Losses for what customers will spend: most of them nothing, a few very much."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def negative_binomial_nll(orders: Tensor, log_mean: Tensor, log_size: Tensor) -> Tensor:
    """(n,) ``-log P(orders)``; variance ``mean + mean^2 / size``, so that heavy buyers do not rule the fit.

    Args:
        orders: (n,) counts.
        log_mean: (n,) logarithms of the expectation.
        log_size: () or (n,) logarithms of the size.
    """
    size = log_size.exp()
    # log(size / (size + mean)) and log(mean / (size + mean)) without overflow.
    stay, come = functional.logsigmoid(log_size - log_mean), functional.logsigmoid(log_mean - log_size)
    norm = torch.lgamma(orders + size) - torch.lgamma(size) - torch.lgamma(orders + 1)
    return -(norm + size * stay + orders * come)


def gamma_sum_nll(orders: Tensor, paid: Tensor, log_mean: Tensor, log_shape: Tensor) -> Tensor:
    """(n,) ``-log p(paid | orders)`` where each order is gamma distributed; zero for whoever did not order.

    The sum of k orders of mean m and shape s is gamma distributed with shape ``k s`` and mean ``k m``.

    Args:
        orders: (n,) counts.
        paid: (n,) money for all of them, above zero where there are orders.
        log_mean: (n,) logarithms of the expected money of one order.
        log_shape: () logarithm of the shape.
    """
    bought = orders > 0
    shape = torch.where(bought, orders, 1.0) * log_shape.exp()
    money = torch.where(bought, paid, 1.0)
    log_rate = log_shape - log_mean
    density = shape * log_rate + (shape - 1) * money.log() - log_rate.exp() * money - torch.lgamma(shape)
    return torch.where(bought, -density, 0.0)


__all__ = ["gamma_sum_nll", "negative_binomial_nll"]
