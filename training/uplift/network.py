"""Uplift by a network that reads a user once for both arms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from training.fit import FitConfig, choose_device, fit, seed_everything
from training.uplift.basis import Basis
from training.uplift.effects import Bools, Doubles
from training.uplift.learner import Matrix, UpliftModel, register_uplift_model

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class _Heads(nn.Module):
    """(n, D) to the outcome in control and what treatment adds to it, (n,) each; logits where outcomes are 0 or 1."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Dropout(dropout / 2), nn.Linear(inputs, width), nn.ELU(), nn.Dropout(dropout))
        self.control = nn.Sequential(nn.Linear(width, width), nn.ELU(), nn.Linear(width, 1))
        self.added = nn.Sequential(nn.Linear(width, width), nn.ELU(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        read = self.shared(x)
        return self.control(read)[:, 0], self.added(read)[:, 0]


class _Shuffled:
    """One epoch: every user once, in random order."""

    def __init__(self, tensors: Batch, size: int, rng: np.random.Generator) -> None:
        order = torch.from_numpy(rng.permutation(len(tensors[0]))).to(tensors[0].device)
        self._tensors, self._parts = tensors, order.split(size)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Batch]:
        for part in self._parts:
            x, treated, y, weight = (tensor[part] for tensor in self._tensors)
            yield x, treated, y, weight


@register_uplift_model
class SharedNetwork(UpliftModel):
    """TARNet (Shalit et al. 2017): one representation, a head per arm; the treated head adds to the other's.

    Users weigh by the inverse of the chance of the arm they were in. Strong weight decay stands in for early stopping,
    which one outcome's noise would decide at random; a few networks from different starts are averaged.
    """

    name = "shared_network"

    class Config(FitConfig):
        """Of the loop and the network; ``members`` networks are averaged."""

        width: int = Field(default=32, ge=1)
        dropout: float = Field(default=0.3, ge=0, lt=1)
        members: int = Field(default=1, ge=1)
        epochs: int = Field(default=8, ge=1)
        batch_size: int = Field(default=512, ge=1)
        learning_rate: float = Field(default=3e-3, gt=0)
        weight_decay: float = Field(default=1.0, ge=0)

    def __init__(self, **hyper_parameters: Any) -> None:
        super().__init__(**hyper_parameters)
        self._basis: Basis
        self._members: list[_Heads] = []
        self._binary, self._centre, self._scale = True, 0.0, 1.0

    def _fit(self, x: Matrix, treated: Bools, y: Doubles, propensity: Doubles) -> None:
        device = choose_device(self.config.device)
        self._basis = Basis.of(x)
        self._binary = bool(((y >= 0) & (y <= 1)).all())
        self._centre, self._scale = (0.0, 1.0) if self._binary else (float(y.mean()), float(y.std()) or 1.0)
        weight = 1 / np.where(treated, propensity, 1 - propensity)
        arrays = (treated, (y - self._centre) / self._scale, weight / weight.mean())
        read, *others = [
            torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device)
            for array in (self._basis.transform(x), *arrays)
        ]
        batch: Batch = (read, others[0], others[1], others[2])
        self._members = []
        for member in range(self.config.members):
            config = self.config.model_copy(update={"seed": self.config.seed * self.config.members + member})
            seed_everything(config.seed)
            network = _Heads(read.shape[1], config.width, config.dropout).to(device)
            fit(network, config, lambda rng: _Shuffled(batch, self.config.batch_size, rng), self._loss_of(network))
            self._members.append(network)

    def _loss_of(self, network: _Heads) -> Any:
        def loss(batch: Batch) -> Tensor:
            x, treated, y, weight = batch
            control, added = network(x)
            answer = control + treated * added
            if self._binary:
                return F.binary_cross_entropy_with_logits(answer, y, weight)
            return (weight * (answer - y) ** 2).mean()

        return loss

    def _predict(self, x: Matrix) -> Doubles:
        device = next(self._members[0].parameters()).device
        read = torch.from_numpy(self._basis.transform(x)).to(device)
        total: Doubles = np.zeros(len(x))
        with torch.inference_mode():
            for network in self._members:
                control, added = network(read)
                both = control + added
                change = torch.sigmoid(both) - torch.sigmoid(control) if self._binary else added
                total += change.double().cpu().numpy()
        return total * self._scale / len(self._members)

    def _save(self, folder: Path) -> None:
        np.savez(
            folder / "basis.npz",
            knots=self._basis.knots,
            gaps=self._basis.gaps,
            centre=self._basis.centre,
            kept=self._basis.kept,
            outcome=np.array([float(self._binary), self._centre, self._scale]),
        )
        tensors = {
            f"{number}.{name}": value.detach().cpu().contiguous().clone()
            for number, network in enumerate(self._members)
            for name, value in network.state_dict().items()
        }
        save_file(tensors, folder / "network.safetensors")

    def _load(self, folder: Path) -> None:
        with np.load(folder / "basis.npz", allow_pickle=False) as arrays:
            self._basis = Basis(*(arrays[name] for name in ("knots", "gaps", "centre", "kept")))
            binary, self._centre, self._scale = (float(value) for value in arrays["outcome"])
        self._binary = bool(binary)
        tensors = load_file(folder / "network.safetensors")
        self._members = []
        for number in range(self.config.members):
            network = _Heads(len(self._basis.kept), self.config.width, self.config.dropout)
            prefix = f"{number}."
            network.load_state_dict(
                {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            )
            self._members.append(network.eval())


__all__ = ["SharedNetwork"]
