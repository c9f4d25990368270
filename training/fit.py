"""The one training loop of every PyTorch model: seeds, device, progress, early stopping on validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from features.errors import ConfigError
from training.configured import HyperParameters
from training.fit_checkpoint import Checkpoint, Progressed
from training.fit_processes import Step, agreed, mean_of_all, meet, n_processes, own_device, own_number, own_share
from training.recommender import Curve, Progress

#: The averaged weights are those of about the last one in ``RECENT`` of all steps.
RECENT = 8


class FitConfig(HyperParameters):
    """Hyper-parameters of the loop.

    Attributes:
        epochs: The most that are run ...
        steps: ... and no epoch begins after so many updates: few epochs of much data, many of little.
        patience: Training stops so many epochs after the best.
    """

    epochs: int = Field(default=8, ge=1)
    steps: int = Field(default=24_000, ge=1)
    patience: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    seed: int = Field(default=0, ge=0)
    device: str = "auto"


def choose_device(device: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; under ``torchrun`` each process of a machine has its own GPU.

    Raises:
        ConfigError: The device is unknown or not there.
    """
    if device == "auto":
        return own_device()
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


def warmed_up(epochs_done: float) -> float:
    """Factor of the learning rate: rises through the first epoch, then stays.

    >>> [warmed_up(done) for done in (0.0, 0.5, 1.0, 7.0)]
    [0.04, 0.52, 1.0, 1.0]
    """
    return min(0.04 + 0.96 * epochs_done, 1.0)


class Average:
    """The average of a module's weights over the last part of all steps so far, however many there will be.

    ``average += (RECENT + 1) / (t + RECENT) * (weights - average)`` at step t (polynomial-decay averaging; Shamir and
    Zhang 2013). Does what a falling learning rate does, without having to know when training will end: when it ends is
    what validation decides.
    """

    def __init__(self, module: nn.Module) -> None:
        self.weights = [weight.detach() for weight in module.parameters()]
        self.averages = [weight.clone() for weight in self.weights]
        self.steps = 0

    def add(self) -> None:
        """Take the weights of one more step into the average."""
        self.steps += 1
        torch._foreach_lerp_(self.averages, self.weights, (RECENT + 1) / (self.steps + RECENT))

    def swap(self) -> None:
        """Exchange the module's weights and the average; a second call takes it back."""
        for weight, average in zip(self.weights, self.averages, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)


Batch = TypeVar("Batch")
BatchOut = TypeVar("BatchOut", covariant=True)


class Batches(Protocol[BatchOut]):
    """One epoch: how many batches, and each of them once, made when it is asked for."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[BatchOut]: ...


def fit(
    module: nn.Module,
    config: FitConfig,
    batches: Callable[[np.random.Generator], Batches[Batch]],
    loss: Callable[[Batch], Tensor],
    validate: Callable[[], float] | None = None,
    progress: Progress | None = None,
    stop_after: int | None = None,
    checkpoint: Checkpoint | None = None,
    least_gain: float = 0.0,
) -> Curve:
    """Train ``module`` in place and leave it with the averaged weights of its best epoch, in evaluation mode.

    AdamW with a constant learning rate after the first epoch; gradients are clipped to norm 1. Where there is no batch
    at all the weights stay as they are and the curve is empty. Under ``torchrun`` each process takes the next batch of
    its own: batches should be smaller by the number of processes, then a step is the same as in one process.

    Args:
        batches: One epoch's batches, drawn anew from the generator that it is given, the same one in all processes.
        loss: The mean loss of one batch.
        validate: The metric to stop on, higher is better; without it all epochs are run and the last is kept.
        progress: Told after each epoch.
        stop_after: End after this epoch, however many steps that takes: how a choice of validation is repeated.
        checkpoint: Written after each epoch and gone on from, with the same result as if nothing had happened.
        least_gain: An epoch is the best only if its metric is higher than the best so far by more than this.
    """
    device = next(module.parameters()).device
    meet(device)
    run: _Run[Batch] = _Run(module, config, checkpoint, least_gain)
    step = Step(module, loss).shared()
    last = min(config.epochs, stop_after or config.epochs)
    most = math.inf if stop_after else config.steps
    while run.epoch < last and run.average.steps < most and run.epoch - run.curve.best_epoch < config.patience:
        started = time.perf_counter()
        drawn = batches(np.random.default_rng([config.seed, run.epoch]))
        n_steps = len(drawn) // n_processes()
        if not n_steps:
            break
        torch.manual_seed((config.seed * 1_000 + run.epoch) * n_processes() + own_number())
        module.train()
        losses = torch.zeros((), device=device)
        for number, batch in enumerate(own_share(drawn)):
            losses += run.step(step, batch, run.epoch + number / n_steps)
        module.eval()
        metrics = {"loss": mean_of_all(float(losses) / n_steps)}
        run.average.swap()
        if validate is not None:
            metrics["validation"] = agreed(validate)
        run.finish_epoch(metrics, time.perf_counter() - started)
        if progress is not None and own_number() == 0:
            progress(run.epoch, config.epochs, metrics)
        run.average.swap()
    run.keep_best()
    return run.curve


class _Run(Generic[Batch]):
    """A training under way: the module, its optimiser, its average and its best state."""

    def __init__(self, module: nn.Module, config: FitConfig, checkpoint: Checkpoint | None, least_gain: float) -> None:
        self.module, self.config, self.checkpoint, self.least_gain = module, config, checkpoint, least_gain
        self.optimiser = torch.optim.AdamW(
            module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.average = Average(module)
        self.epoch, self.best, self.curve = 0, -math.inf, Curve()
        self.best_state: dict[str, Tensor] = {}
        saved = None if checkpoint is None else checkpoint.load()
        if saved is not None:
            self._go_on_from(saved)

    def step(self, loss: Callable[[Batch], Tensor], batch: Batch, epochs_done: float) -> Tensor:
        """One update; returns the loss before it."""
        device = self.average.weights[0].device
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * warmed_up(epochs_done)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss(batch)
        value.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimiser.step()
        self.average.add()
        return value.detach()

    def finish_epoch(self, metrics: dict[str, float], seconds: float) -> None:
        """Note what came out while the module has the averaged weights, and keep them if they are the best."""
        self.epoch += 1
        score = metrics.get("validation", float(self.epoch))
        if "validation" in metrics:
            self.curve.validation.append(score)
        self.curve.loss.append(metrics["loss"])
        self.curve.seconds.append(seconds)
        if score > self.best + self.least_gain:
            self.best, self.curve.best_epoch = score, self.epoch
            self.best_state = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        if self.checkpoint is not None and own_number() == 0:
            self.checkpoint.save(Progressed(self.epoch, self.best, self.average.steps, self.curve, self._tensors()))

    def keep_best(self) -> None:
        """Give the module the weights of its best epoch."""
        if self.best_state:
            self.module.load_state_dict(self.best_state)
        self.module.eval()

    def _tensors(self) -> dict[str, Tensor]:
        """Everything that the next epoch begins with; called while weights and average are exchanged."""
        tensors = {f"best.{name}": value for name, value in self.best_state.items()}
        for number, weight in enumerate(self.module.parameters()):
            tensors[f"average.{number}"] = weight.detach()
            tensors[f"weight.{number}"] = self.average.averages[number]
            for name, value in self.optimiser.state[weight].items():
                tensors[f"optimiser.{number}.{name}"] = value
        return {name: value.contiguous().clone() for name, value in tensors.items()}

    def _go_on_from(self, saved: Progressed) -> None:
        self.epoch, self.best, self.curve, self.average.steps = saved.epoch, saved.best, saved.curve, saved.steps
        device = self.average.weights[0].device
        tensors = {name: value.to(device) for name, value in saved.tensors.items()}
        self.best_state = {name.removeprefix("best."): t for name, t in tensors.items() if name.startswith("best.")}
        for number, weight in enumerate(self.module.parameters()):
            weight.detach().copy_(tensors[f"weight.{number}"])
            self.average.averages[number].copy_(tensors[f"average.{number}"])
            prefix = f"optimiser.{number}."
            state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            if state:
                self.optimiser.state[weight] = state


__all__ = ["RECENT", "Average", "Batches", "FitConfig", "choose_device", "fit", "seed_everything", "warmed_up"]
