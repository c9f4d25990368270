"""The interface of every predictor of one probability from a feature matrix, and the registry of their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from features.errors import InputError
from training.configured import Configured, Registry

#: (n, d) float32, NaN where a value is missing.
Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]


class Predictor(Configured, ABC):
    """The probability of one outcome, from d numbers."""

    kind = "predictor"
    #: Columns that the fitted predictor expects.
    n_columns: int
    #: Log-odds to which the contributions of ``explain`` are added.
    base: float

    @abstractmethod
    def fit(self, x: Matrix, y: Vector, weight: Vector | None = None) -> Self:
        """Learn from n rows.

        Args:
            x: (n, d) float32, NaN where a value is missing.
            y: (n,) float64, 0 or 1; both must occur.
            weight: (n,) float64 of at least 0; 1 each if absent.

        Raises:
            InputError: Shapes, outcomes or weights are not as above.
        """

    @abstractmethod
    def log_odds(self, x: Matrix) -> Vector:
        """(n,) float64."""

    def predict(self, x: Matrix) -> Vector:
        """(n,) float64: probability of the outcome, strictly between 0 and 1 but for rounding."""
        return expit(self.log_odds(x))

    @abstractmethod
    def explain(self, x: Matrix) -> Vector:
        """(n, d) float64: what each column added to ``base`` on the way to the row's log-odds.

        They add up exactly unless the predictor's class says otherwise.
        """

    def answer_one(self, x: Matrix) -> tuple[float, Vector]:
        """Log-odds of the only row of (1, d), and its (d,) contributions: up to 1e-9 as above, and perhaps faster."""
        return float(self.log_odds(x)[0]), self.explain(x)[0]

    def prepare(self) -> None:
        """Make what ``answer_one`` needs, so that the first question is answered as soon as the others."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted predictor as JSON, npz, text and safetensors; nothing in it is executed on load."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; answers are equal to those of the saved predictor."""

    def checked(self, x: Matrix) -> Matrix:
        """``x`` if the fitted predictor can answer it.

        Raises:
            InputError: Other columns than those learnt from, or infinite values.
        """
        if x.ndim != 2 or x.shape[1] != self.n_columns:
            raise InputError("x", f"must have {self.n_columns} columns", x.shape, "encode it as in training")
        if np.isinf(x).any():
            raise InputError("x", "must be finite, or NaN where missing")
        return x


def checked_examples(x: Matrix, y: Vector, weight: Vector | None) -> tuple[Matrix, Vector, Vector]:
    """What a predictor may learn from, with weights.

    Raises:
        InputError: Shapes that do not fit, infinite values, outcomes other than 0 and 1 or all alike, weights below 0.
    """
    if x.ndim != 2 or not x.size or y.shape != (len(x),):
        raise InputError("x, y", "must be (n, d) and (n,) with at least one row and column", (x.shape, y.shape))
    if np.isinf(x).any():
        raise InputError("x", "must be finite, or NaN where missing")
    weight = np.ones(len(y)) if weight is None else weight
    if weight.shape != y.shape or not (np.isfinite(weight) & (weight >= 0)).all():
        raise InputError("weight", "must be one finite number of at least 0 per row", weight.shape)
    kinds = set(np.unique(y[weight > 0]).tolist())
    if not np.isin(y, (0.0, 1.0)).all() or kinds != {0.0, 1.0}:
        raise InputError("y", "must be 0 or 1, and both must occur", sorted(kinds)[:5], "take a longer period")
    return x, y, weight


_PREDICTORS: Registry[Predictor] = Registry(Predictor.kind)

#: As ``Registry`` describes them.
register_predictor, predictors, predictor_class = _PREDICTORS.register, _PREDICTORS.all, _PREDICTORS.find

#: Makes an unfitted predictor.
MakePredictor = Callable[[], Predictor]

__all__ = [
    "MakePredictor",
    "Matrix",
    "Predictor",
    "Vector",
    "checked_examples",
    "predictor_class",
    "predictors",
    "register_predictor",
]
