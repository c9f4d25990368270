"""Logistic regression over piecewise linear functions of the columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from training.configured import HyperParameters
from training.intent.piecewise import PiecewiseLinear
from training.intent.predictor import Matrix, Predictor, Vector, checked_examples, register_predictor


@register_predictor
class Logistic(Predictor):
    """An additive model: each column moves the log-odds by a curve of its own, and all curves are shrunk to 0."""

    name = "logistic"

    class Config(HyperParameters):
        """How bent the curves may be.

        Attributes:
            pieces: Quantile pieces per column; 0 leaves one line each.
            ridge: Penalty of squared coefficients, as of so many examples.
            steps: Of L-BFGS, at most.
        """

        pieces: int = Field(default=12, ge=0)
        ridge: float = Field(default=10.0, gt=0)
        steps: int = Field(default=500, ge=1)

    _basis: PiecewiseLinear
    _coefficients: Vector  # (m,)
    _centre: Vector  # (m,): mean of the basis in training

    def fit(self, x: Matrix, y: Vector, weight: Vector | None = None) -> Self:
        """Minimise weighted log loss plus ``ridge / 2`` times the squared coefficients; the intercept is free."""
        from sklearn.linear_model import LogisticRegression

        x, y, weight = checked_examples(x, y, weight)
        self.n_columns = x.shape[1]
        self._basis = PiecewiseLinear.fit(x, self.config.pieces)
        design = self._basis.transform(x).astype(np.float64)
        self._centre = np.average(design, axis=0, weights=weight)
        model = LogisticRegression(C=1 / self.config.ridge, max_iter=self.config.steps, tol=1e-6)
        model.fit(design - self._centre, y, sample_weight=weight)
        self._coefficients = model.coef_[0]
        self.base = float(model.intercept_[0])
        return self

    def log_odds(self, x: Matrix) -> Vector:
        """(n,) float64."""
        return self._design(x) @ self._coefficients + self.base

    def explain(self, x: Matrix) -> Vector:
        """(n, d) float64: each column's curve at the row's value, less its mean in training; adds up exactly."""
        return self._basis.by_column(self._design(x) * self._coefficients)

    def answer_one(self, x: Matrix) -> tuple[float, Vector]:
        """The same from one design, whose contributions are added up once."""
        added = self._design(x)[0] * self._coefficients
        by_column = np.bincount(self._basis.source, added, self.n_columns).astype(np.float64, copy=False)
        return float(added.sum()) + self.base, by_column

    def save(self, folder: Path) -> None:
        """``config.json`` and ``logistic.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(self.config.model_dump_json(), encoding="utf-8")
        parts = {"coefficients": self._coefficients, "centre": self._centre, "base": np.array(self.base)}
        np.savez(folder / "logistic.npz", allow_pickle=False, **self._basis.arrays(), **parts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        model = cls(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        with np.load(folder / "logistic.npz", allow_pickle=False) as stored:
            parts = dict(stored)
        model._coefficients, model._centre = parts.pop("coefficients"), parts.pop("centre")
        model.base = float(parts.pop("base"))
        model._basis = PiecewiseLinear(**parts)
        model.n_columns = len(model._basis.mean)
        return model

    def _design(self, x: Matrix) -> Vector:
        return self._basis.transform(self.checked(x)).astype(np.float64) - self._centre


__all__ = ["Logistic"]
