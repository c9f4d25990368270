"""Sums and recurrences over sessions of different lengths, against plain loops and the library's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.session.packed import Packed


def sessions(seed: int) -> tuple[Tensor, Tensor]:
    """The session of each event and its place in it, of up to thirty sessions of up to twelve events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 13, rng.integers(1, 31))
    row = np.repeat(np.arange(len(lengths)), lengths)
    column = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return torch.from_numpy(row), torch.from_numpy(column)


@pytest.mark.parametrize("seed", range(4))
def test_running_sums_are_those_of_a_plain_loop(seed: int) -> None:
    row, column = sessions(seed)
    x, fade = torch.rand(len(row), 3, generator=torch.Generator().manual_seed(seed)), torch.tensor([1.0, 0.8, 0.0])
    expected = torch.empty_like(x)
    for at in range(len(row)):
        expected[at] = x[at] + (fade * expected[at - 1] if column[at] else 0)
    torch.testing.assert_close(Packed.of(row, column).running(x, fade), expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_recurrence_is_the_librarys_of_each_session_alone(seed: int) -> None:
    row, column = sessions(seed)
    torch.manual_seed(seed)
    network, x = nn.GRU(4, 4, batch_first=True), torch.randn(len(row), 4)
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = Packed.of(row, column).recurrence(network, one)
    expected = torch.cat([network(other[row == number][None])[0][0] for number in range(int(row[-1]) + 1)])
    torch.testing.assert_close(found, expected)
    with torch.inference_mode():
        torch.testing.assert_close(Packed.of(row, column).recurrence(network, x), expected)
    weight = torch.randn(found.shape)
    torch.testing.assert_close(
        torch.autograd.grad((found * weight).sum(), [one, *network.parameters()]),
        torch.autograd.grad((expected * weight).sum(), [other, *network.parameters()]),
    )


def test_no_events_are_no_sums() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    packed = Packed.of(nothing, nothing)
    assert packed.running(torch.zeros(0, 2), torch.ones(2)).shape == (0, 2)
    assert packed.recurrence(nn.GRU(3, 3, batch_first=True), torch.zeros(0, 3)).shape == (0, 3)
