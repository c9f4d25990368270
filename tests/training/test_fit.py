"""The training loop: what it keeps, when it stops, what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from features.errors import ConfigError
from training.fit import FitConfig, choose_device, fit, one_cycle, seed_everything


def drift(module: nn.Linear, config: FitConfig, scores: list[float] | None) -> tuple[list[torch.Tensor], object]:
    """Train towards a far away bias; the weights after each epoch, and the curve."""
    after: list[torch.Tensor] = []
    remaining = iter(scores or [])
    curve = fit(
        module,
        config,
        batches=lambda: [torch.zeros(1, 1)] * 3,
        loss=lambda batch: (module(batch) - 100).square().mean(),
        validate=None if scores is None else lambda: next(remaining),
        progress=lambda done, of, metrics: after.append(module.bias.detach().clone()),
    )
    return after, curve


def test_the_best_epochs_weights_are_kept() -> None:
    module = nn.Linear(1, 1)
    after, curve = drift(module, FitConfig(epochs=8, patience=2), [0.1, 0.5, 0.5, 0.2, 0.9])
    assert curve.best_epoch == 2  # a tie is no improvement
    assert curve.validation == [0.1, 0.5, 0.5, 0.2]  # two epochs without a better one end it
    assert len(curve.loss) == len(curve.seconds) == 4
    assert torch.equal(module.bias, after[1])
    assert not torch.equal(module.bias, after[3])
    assert not module.training


def test_without_validation_all_epochs_are_run_and_the_last_is_kept() -> None:
    module = nn.Linear(1, 1)
    after, curve = drift(module, FitConfig(epochs=4, patience=1), None)
    assert curve.best_epoch == 4 and curve.validation == []
    assert torch.equal(module.bias, after[3])
    assert curve.loss == sorted(curve.loss, reverse=True)


def test_patience_outlasts_a_dip() -> None:
    _, curve = drift(nn.Linear(1, 1), FitConfig(epochs=6, patience=3), [0.5, 0.1, 0.1, 0.6, 0.2, 0.2])
    assert curve.best_epoch == 4
    assert len(curve.validation) == 6


def test_without_any_batch_nothing_changes() -> None:
    module = nn.Linear(1, 1)
    before = module.bias.detach().clone()
    curve = fit(module, FitConfig(), batches=list, loss=lambda batch: module(batch).sum())
    assert curve.loss == [] and curve.best_epoch == 0
    assert torch.equal(module.bias, before)
    assert not module.training


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [one_cycle(step / 1000) for step in range(1001)]
    assert max(rates) == rates[150] == 1.0
    assert rates[:151] == sorted(rates[:151])
    assert rates[150:] == sorted(rates[150:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_equal_seeds_draw_equally() -> None:
    def draw() -> tuple[list[float], list[float]]:
        rng = seed_everything(5)
        return rng.random(3).tolist(), torch.rand(3).tolist()

    assert draw() == draw()


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["nosuch", "cuda:999", "meta", ""])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device must be one that this machine has"):
        choose_device(device)
