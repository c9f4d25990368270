"""Training in several processes under ``torchrun``: each takes its share of every step, and all step alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Batch = TypeVar("Batch")


def n_processes() -> int:
    """How many processes ``torchrun`` started for this training; one without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_number() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0")) if n_processes() > 1 else 0


def own_device() -> torch.device:
    """The GPU of its machine that this process computes on, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if n_processes() > 1 else 0)


def meet(device: torch.device) -> None:
    """Join the other processes; nothing happens where there are none, or where all have met already."""
    if n_processes() > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")


def own_share(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Of every ``n_processes`` batches the own one; what is left over at the end is left out, so that none waits."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == n_processes():
            yield group[own_number()]
            group = []


def agreed(value: Callable[[], float]) -> float:
    """What the first process finds; the others wait for it, so that all decide alike."""
    if n_processes() == 1:
        return value()
    meet(own_device())
    found = [value() if own_number() == 0 else 0.0]
    dist.broadcast_object_list(found, src=0, device=torch.device("cpu"))
    return found[0]


def all_rows(n: int, some: Callable[[slice], Tensor]) -> Tensor:
    """(n, ...) on the CPU: what ``some`` finds for rows of a table, each process asking it about its share of them."""
    if n_processes() == 1:
        return some(slice(None))
    meet(own_device())
    rows = slice(own_number(), None, n_processes())
    found = some(rows)
    whole = found.new_zeros(n, *found.shape[1:])
    whole[rows] = found
    dist.all_reduce(whole)
    return whole


def mean_of_all(value: float) -> float:
    """The mean of what all processes have."""
    if n_processes() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / n_processes()


class Step(nn.Module, Generic[Batch]):
    """A loss over a module as something that can be called, alone or in step with the other processes."""

    def __init__(self, module: nn.Module, loss: Callable[[Batch], Tensor]) -> None:
        super().__init__()
        self.module, self.loss = module, loss

    def forward(self, batch: Batch) -> Tensor:
        """The loss of one batch."""
        return self.loss(batch)

    def shared(self) -> Callable[[Batch], Tensor]:
        """Itself, or where there are other processes a copy whose gradients become the mean over all of them."""
        if n_processes() == 1:
            return self
        together: Callable[[Any], Tensor] = DistributedDataParallel(self, find_unused_parameters=True)
        return together


__all__ = [
    "Step",
    "agreed",
    "all_rows",
    "mean_of_all",
    "meet",
    "n_processes",
    "own_device",
    "own_number",
    "own_share",
]
