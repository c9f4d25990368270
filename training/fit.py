"""The one training loop of every PyTorch model: seeds, device, progress, early stopping on validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from features.errors import ConfigError
from training.recommender import Curve, HyperParameters, Progress


class FitConfig(HyperParameters):
    """Hyper-parameters of the loop. ``epochs`` is the most that are run; training stops ``patience`` after the best."""

    epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    seed: int = Field(default=0, ge=0)
    device: str = "auto"


def choose_device(device: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: The device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).cpu()  # "meta" takes tensors, but never gives them back
    except (RuntimeError, AssertionError) as error:
        raise ConfigError("device", "must be one that this machine has", device, "use auto or cpu") from error
    return chosen


def seed_everything(seed: int) -> np.random.Generator:
    """Seed PyTorch and return the generator that batches are drawn with."""
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def one_cycle(done: float, warm_up: float = 0.15) -> float:
    """Factor of the learning rate when a share ``done`` of the training is done: up to one, then to zero by cosine.

    Smith and Topin 2018, Super-convergence.

    >>> [round(one_cycle(done), 2) for done in (0.0, 0.15, 0.575, 1.0)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if done < warm_up:
        return 0.04 + 0.96 * done / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))


Batch = TypeVar("Batch")


def fit(
    module: nn.Module,
    config: FitConfig,
    batches: Callable[[], Iterable[Batch]],
    loss: Callable[[Batch], Tensor],
    validate: Callable[[], float] | None = None,
    progress: Progress | None = None,
    stop_after: int | None = None,
) -> Curve:
    """Train ``module`` in place and leave it with the weights of its best epoch, in evaluation mode.

    AdamW with a one-cycle schedule over the epochs; gradients are clipped to norm 1. Where there is no batch at all the
    weights stay as they are and the curve is empty.

    Args:
        batches: One epoch's batches, drawn anew at each call.
        loss: The mean loss of one batch.
        validate: The metric to stop on, higher is better; without it all epochs are run and the last is kept.
        progress: Told after each epoch.
        stop_after: Leave the schedule as it is, but end after this epoch: how a choice of validation is repeated.
    """
    curve, best, best_state = Curve(), -math.inf, None
    optimiser = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    for epoch in range(1, min(config.epochs, stop_after or config.epochs) + 1):
        started, losses = time.perf_counter(), []
        epoch_batches = list(batches())
        if not epoch_batches:
            break
        module.train()
        for step, batch in enumerate(epoch_batches):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * one_cycle((epoch - 1 + step / len(epoch_batches)) / config.epochs)
            optimiser.zero_grad(set_to_none=True)
            value = loss(batch)
            value.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            losses.append(float(value.detach()))
        module.eval()
        metrics = {"loss": float(np.mean(losses))}
        score = float(epoch)
        if validate is not None:
            score = metrics["validation"] = validate()
            curve.validation.append(score)
        curve.loss.append(metrics["loss"])
        curve.seconds.append(time.perf_counter() - started)
        if score > best:
            best, curve.best_epoch = score, epoch
            best_state = {name: value.detach().clone() for name, value in module.state_dict().items()}
        if progress is not None:
            progress(epoch, config.epochs, metrics)
        if epoch - curve.best_epoch >= config.patience:
            break
    if best_state is not None:
        module.load_state_dict(best_state)
    module.eval()
    return curve


__all__ = ["FitConfig", "choose_device", "fit", "one_cycle", "seed_everything"]
