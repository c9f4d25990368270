"""A small network over piecewise linear functions of the columns, as several members that share most weights."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.configured import HyperParameters
from training.intent.piecewise import PiecewiseLinear
from training.intent.predictor import Matrix, Predictor, Vector, checked_examples, register_predictor

_ROWS_AT_ONCE = 2_048


class SharedMembers(nn.Module):
    """``members`` perceptrons with one weight matrix per layer; each scales what goes in and what comes out.

    Gorishniy et al. 2024 (TabM), after Wen et al. 2020 (BatchEnsemble). Only the first layer's input scales start
    apart, at -1 or 1.
    """

    def __init__(self, inputs: int, width: int, layers: int, members: int, dropout: float) -> None:
        super().__init__()
        widths = [inputs] + [width] * layers
        self.dropout = dropout
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(a, b) / math.sqrt(a)) for a, b in _pairs(widths))
        self.scales_in = nn.ParameterList(nn.Parameter(torch.ones(members, 1, a)) for a, _ in _pairs(widths))
        self.scales_out = nn.ParameterList(nn.Parameter(torch.ones(members, 1, b)) for _, b in _pairs(widths))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for _, b in _pairs(widths))
        with torch.no_grad():
            self.scales_in[0].copy_(torch.where(torch.rand(members, 1, inputs) < 0.5, -1.0, 1.0))
        self.head = nn.Parameter(torch.zeros(members, width, 1))
        self.offset = nn.Parameter(torch.zeros(members, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) to (members, n) log-odds."""
        hidden = x.unsqueeze(0)
        for weight, scale_in, scale_out, bias in zip(
            self.weights, self.scales_in, self.scales_out, self.biases, strict=True
        ):
            hidden = F.silu((hidden * scale_in) @ weight * scale_out + bias)  # (members, n, width)
            hidden = F.dropout(hidden, self.dropout, self.training)
        return (hidden @ self.head + self.offset).squeeze(-1)


@register_predictor
class Network(Predictor):
    """The mean log-odds of a network's members, trained with AdamW for a fixed number of epochs, rate on a half cosine.

    Contributions are integrated gradients (Sundararajan et al. 2017) along the straight line, in the space of the
    piecewise functions, from the mean of the training rows, by the midpoint rule. They add up to the log-odds but for
    the rule's error, which ``completeness_error`` tells.
    """

    name = "network"

    class Config(HyperParameters):
        """Size, regularisation and training.

        Attributes:
            pieces: Quantile pieces per column.
            members, width, layers: Of the network.
            dropout: Share of hidden values that is dropped in training.
            rate, decay: Of AdamW.
            epochs, batch: Passes over the rows, and rows per step.
            explain_steps: Points on the line of the integrated gradients.
            seed: Of the first weights, the order of rows and dropout.
        """

        pieces: int = Field(default=12, ge=0)
        members: int = Field(default=4, ge=1)
        width: int = Field(default=64, ge=1)
        layers: int = Field(default=2, ge=1)
        dropout: float = Field(default=0.1, ge=0, lt=1)
        rate: float = Field(default=2e-3, gt=0)
        decay: float = Field(default=0.1, ge=0)
        epochs: int = Field(default=20, ge=1)
        batch: int = Field(default=256, ge=1)
        explain_steps: int = Field(default=16, ge=1)
        seed: int = Field(default=0, ge=0)

    _basis: PiecewiseLinear
    _net: SharedMembers
    _reference: Tensor  # (m,)

    def fit(self, x: Matrix, y: Vector, weight: Vector | None = None) -> Self:
        """Minimise weighted log loss; equal inputs and seeds give equal weights on one thread."""
        x, y, weight = checked_examples(x, y, weight)
        self.n_columns = x.shape[1]
        self._basis = PiecewiseLinear.fit(x, self.config.pieces)
        inputs = torch.from_numpy(self._basis.transform(x))
        weights = torch.from_numpy(weight / weight.mean()).float()
        self._reference = (inputs * weights[:, None]).mean(dim=0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self._net = self._empty(inputs.shape[1])
            share = float(np.average(y, weights=weight))
            nn.init.constant_(self._net.offset, math.log(share / (1 - share)))
            self._train(inputs, torch.from_numpy(y).float(), weights)
        self._net.eval().requires_grad_(False)
        self.base = float(self._mean_logit(self._reference[None])[0])
        return self

    def log_odds(self, x: Matrix) -> Vector:
        """(n,) float64: mean over the members."""
        x = self.checked(x)
        parts = [self._mean_logit(torch.from_numpy(self._basis.transform(rows))) for rows in _blocks(x)]
        return torch.cat(parts).double().numpy() if parts else np.zeros(0)

    def explain(self, x: Matrix) -> Vector:
        """(n, d) float64: integrated gradients, see above; ``explain_steps`` passes forward and back."""
        x = self.checked(x)
        parts = [self._basis.by_column(self._integrated(rows).double().numpy()) for rows in _blocks(x)]
        return np.concatenate(parts) if parts else np.zeros(x.shape)

    def completeness_error(self, x: Matrix) -> Vector:
        """(n,) float64: log-odds less ``base`` and all contributions."""
        return self.log_odds(x) - self.base - self.explain(x).sum(axis=1)

    def save(self, folder: Path) -> None:
        """``config.json``, ``basis.npz`` and ``network.safetensors``."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = {"config": self.config.model_dump(), "base": self.base}
        (folder / "config.json").write_text(json.dumps(stored), encoding="utf-8")
        np.savez(folder / "basis.npz", allow_pickle=False, **self._basis.arrays())
        save_file(self._net.state_dict() | {"reference": self._reference}, folder / "network.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model = cls(**stored["config"])
        model.base = stored["base"]
        with np.load(folder / "basis.npz", allow_pickle=False) as arrays:
            model._basis = PiecewiseLinear(**arrays)
        model.n_columns = len(model._basis.mean)
        tensors = load_file(folder / "network.safetensors")
        model._reference = tensors.pop("reference")
        with torch.random.fork_rng(devices=[]):
            model._net = model._empty(len(model._reference))
        model._net.load_state_dict(tensors)
        model._net.eval().requires_grad_(False)
        return model

    def _empty(self, inputs: int) -> SharedMembers:
        config = self.config
        return SharedMembers(inputs, config.width, config.layers, config.members, config.dropout)

    def _train(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        config = self.config
        optimizer = torch.optim.AdamW(
            self._net.parameters(), lr=config.rate, weight_decay=config.decay, betas=(0.9, 0.95)
        )
        per_epoch = math.ceil(len(y) / config.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * per_epoch)
        self._net.train()
        for _ in range(config.epochs):
            for rows in torch.randperm(len(y)).split(config.batch):
                logits = self._net(x[rows])
                losses = F.binary_cross_entropy_with_logits(logits, y[rows].expand_as(logits), reduction="none")
                loss = (losses * weight[rows]).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    def _mean_logit(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self._net(inputs).mean(dim=0)

    def _integrated(self, rows: Matrix) -> Tensor:
        away = torch.from_numpy(self._basis.transform(rows)) - self._reference
        gradient = torch.zeros_like(away)
        for step in range(self.config.explain_steps):
            share = (step + 0.5) / self.config.explain_steps
            point = (self._reference + share * away).requires_grad_()
            gradient += torch.autograd.grad(self._net(point).mean(dim=0).sum(), point)[0]
        return away * gradient / self.config.explain_steps


def _pairs(widths: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(widths))


def _blocks(x: Matrix) -> list[Matrix]:
    return [x[start : start + _ROWS_AT_ONCE] for start in range(0, len(x), _ROWS_AT_ONCE)]


__all__ = ["Network", "SharedMembers"]
