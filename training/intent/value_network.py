"""A small PyTorch network that says by how much a model's expectations are wrong for a customer.

It multiplies what a probability model expects: orders by ``exp(f)``, the worth of an order by ``exp(g)``. Both start at
one, are bounded, and are learned together from a count and the money it cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from features.errors import InputError
from training.intent.value_loss import gamma_sum_nll, negative_binomial_nll

Floats = NDArray[np.float64]

#: Features are cut at so many standard deviations: whoever is further out is not extrapolated to.
CUT = 4.0


class NetworkConfig(BaseModel):
    """How it is trained.

    Attributes:
        hidden: Units beside the linear part.
        epochs: Passes over the rows.
        batch: Rows of a step.
        learning_rate: The highest; it rises and falls once.
        weight_decay: Of AdamW.
        most_orders: Expected orders are multiplied or divided by at most this.
        most_worth: The worth of an order likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(default=16, ge=1)
    epochs: int = Field(default=12, ge=1)
    batch: int = Field(default=8192, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    most_orders: float = Field(default=8.0, gt=1)
    most_worth: float = Field(default=1.6, gt=1)


@dataclass(frozen=True, slots=True)
class Rows:
    """What it learns from: customers as of instants, and what they did in the horizon after.

    Attributes:
        features: (n, d) float64.
        log_orders: (n,) float64, logarithm of the expected orders.
        log_cents: (n,) float64, logarithm of the expected cents of an order.
        orders: (n,) float64, counted.
        cents: (n,) float64, paid for all of them.
    """

    features: Floats
    log_orders: Floats
    log_cents: Floats
    orders: Floats
    cents: Floats


class ValueNetwork(nn.Module):
    """``(f, g) = bound * tanh((A z + B silu(C z)) / bound)`` of standardised features z.

    Args:
        mean: (d,) of the features.
        scale: (d,) their standard deviations.
    """

    def __init__(self, mean: Tensor, scale: Tensor, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.mean, self.scale = nn.Buffer(mean), nn.Buffer(scale)
        self.bound = nn.Buffer(torch.tensor([math.log(config.most_orders), math.log(config.most_worth)]))
        self.direct = nn.Linear(len(mean), 2)
        self.hidden = nn.Linear(len(mean), config.hidden)
        self.output = nn.Linear(config.hidden, 2, bias=False)
        # Of the negative binomial, and of the gamma distribution of an order.
        self.log_size, self.log_shape = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        for weights in (self.direct.weight, self.direct.bias, self.output.weight):
            nn.init.zeros_(weights)

    @classmethod
    def fit(cls, rows: Rows, config: NetworkConfig, seed: int) -> Self:
        """Minimise ``-log P(orders) - log p(cents | orders)``.

        Raises:
            InputError: There are no rows, or no orders in them.
        """
        if not len(rows.orders) or not rows.orders.any():
            raise InputError("rows", "must hold customers who ordered", 0, "take a longer history")
        mean, scale = rows.features.mean(axis=0), rows.features.std(axis=0)
        scale = np.where(scale > 1e-6, scale, 1.0)
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = cls(_single(mean), _single(scale), config)
        # An order that cost nothing counts as a cent; the gamma distribution has no mass at zero.
        paid = np.maximum(rows.cents, rows.orders)
        columns = [_single(c) for c in (rows.log_orders, rows.log_cents, rows.orders, paid)]
        network.train()
        network._learn(generator, network.standardised(_single(rows.features)), *columns)
        return network.eval()

    def _learn(
        self, generator: torch.Generator, z: Tensor, log_orders: Tensor, log_cents: Tensor, orders: Tensor, paid: Tensor
    ) -> None:
        c = self.config
        dispersion = [self.log_size, self.log_shape]
        weights = [p for name, p in self.named_parameters() if name not in ("log_size", "log_shape")]
        groups = [{"params": weights, "weight_decay": c.weight_decay}, {"params": dispersion, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=c.learning_rate)
        steps = c.epochs * math.ceil(len(z) / c.batch)
        # One step has no rise and fall.
        rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, c.learning_rate, total_steps=steps + 1)
        for _ in range(c.epochs):
            for batch in torch.randperm(len(z), generator=generator).split(c.batch):
                f, g = self(z[batch]).unbind(1)
                counted = negative_binomial_nll(orders[batch], log_orders[batch] + f, self.log_size)
                worth = gamma_sum_nll(orders[batch], paid[batch], log_cents[batch] + g, self.log_shape)
                optimiser.zero_grad()
                (counted + worth).mean().backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimiser.step()
                rate.step()

    def standardised(self, features: Tensor) -> Tensor:
        """(n, d) float32 features around zero, cut."""
        return ((features - self.mean) / self.scale).clamp(-CUT, CUT)

    def forward(self, z: Tensor) -> Tensor:
        """(n, 2) logarithms of the factors, from standardised features (n, d)."""
        free = self.direct(z) + self.output(functional.silu(self.hidden(z)))
        return self.bound * torch.tanh(free / self.bound)

    @torch.no_grad()
    def factors(self, features: Floats) -> Floats:
        """(n, 2) float64: what expected orders and the worth of an order are multiplied by."""
        return np.exp(self(self.standardised(_single(features))).numpy().astype(np.float64))

    def save(self, folder: Path, name: str) -> None:
        """``name.safetensors`` and ``name.json`` in ``folder``."""
        save_file({key: value.contiguous() for key, value in self.state_dict().items()}, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """What ``save`` wrote."""
        config = NetworkConfig.model_validate_json((folder / f"{name}.json").read_text())
        state = load_file(folder / f"{name}.safetensors")
        network = cls(state["mean"], state["scale"], config)
        network.load_state_dict(state)
        return network.eval()


def _single(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


__all__ = ["CUT", "NetworkConfig", "Rows", "ValueNetwork"]
