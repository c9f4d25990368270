"""How far predicted probabilities are from what happened, and how far they would be by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from training.intent.predictor import Vector


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of similar prediction: how many, mean prediction, share with the outcome."""

    n: int
    predicted: float
    observed: float


def reliability(p: Vector, y: Vector, bins: int = 10) -> list[Bin]:
    """``bins`` groups of equal size by rising ``p``, equal predictions in order of the rows.

    >>> reliability(np.array([0.1, 0.9, 0.8, 0.2]), np.array([0.0, 1.0, 1.0, 0.0]), bins=2)[1].observed
    1.0

    Raises:
        InputError: Lengths differ, or fewer rows than bins.
    """
    groups = _groups(p, y, bins)
    return [Bin(len(g), float(p[g].mean()), float(y[g].mean())) for g in groups]


def expected_calibration_error(p: Vector, y: Vector, bins: int = 10) -> float:
    """Mean distance of observed from predicted over ``reliability``'s bins, by rows (Naeini et al. 2015)."""
    return _error(_groups(p, y, bins), p, y)


def chance_calibration_error(p: Vector, bins: int = 10, draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """Mean and 95 % quantile of the error that predictions would have if every one of them was right.

    Outcomes are drawn with probabilities ``p``: whatever error is found then is the noise of so many rows.
    """
    groups = _groups(p, p, bins)
    random = np.random.default_rng(seed)
    errors = [_error(groups, p, (random.random(len(p)) < p).astype(np.float64)) for _ in range(draws)]
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))


def brier(p: Vector, y: Vector) -> float:
    """Mean squared distance of probability from outcome (Brier 1950)."""
    return float(np.mean((p - y) ** 2))


def _groups(p: Vector, y: Vector, bins: int) -> list[NDArray[np.int64]]:
    if p.shape != y.shape or p.ndim != 1 or not 1 <= bins <= len(p):
        raise InputError("p, y", f"must have one length of at least {bins} bins", (p.shape, y.shape))
    return np.array_split(np.argsort(p, kind="stable"), bins)


def _error(groups: list[NDArray[np.int64]], p: Vector, y: Vector) -> float:
    return float(sum(abs(float((y[g] - p[g]).sum())) for g in groups) / len(p))


__all__ = ["Bin", "brier", "chance_calibration_error", "expected_calibration_error", "reliability"]
