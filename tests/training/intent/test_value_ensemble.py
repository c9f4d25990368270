"""All networks at once say what each one says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import training.intent.value_ensemble as ensemble
from training.intent.value_ensemble import Ensemble
from training.intent.value_network import NetworkConfig, ValueNetwork


@pytest.fixture
def members() -> list[ValueNetwork]:
    torch.manual_seed(0)
    made = []
    for _ in range(3):
        one = ValueNetwork(torch.randn(5), torch.rand(5) + 0.5, NetworkConfig(hidden=7))
        for weights in one.parameters():
            torch.nn.init.normal_(weights)
        made.append(one.eval())
    return made


def test_it_says_what_each_network_says(members: list[ValueNetwork]) -> None:
    features = np.random.default_rng(1).normal(0, 4, (40, 5))
    expected = np.stack([member.factors(features) for member in members])
    np.testing.assert_allclose(Ensemble.of(members).factors(features), expected, rtol=1e-5)


def test_many_rows_are_asked_in_parts(members: list[ValueNetwork], monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(1).normal(0, 4, (40, 5))
    whole = Ensemble.of(members).factors(features)
    monkeypatch.setattr(ensemble, "_ROWS", 7)
    np.testing.assert_allclose(Ensemble.of(members).factors(features), whole, rtol=1e-12)
