"""Calibrators: predicted probabilities made right as numbers on a slice of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit, logit

from features.errors import InputError
from training.folds import folds_of
from training.intent.predictor import Vector

KINDS = ("identity", "temperature", "isotonic")

_TINY = 1e-6
#: Prior precision of slope and bias around 1 and 0, as of so many examples: separable slices stay finite.
_PRIOR = 1.0


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A non-decreasing function of a probability.

    ``identity``; ``temperature``: ``expit(slope * logit(p) + bias)`` (Platt 1999 on log-odds); ``isotonic``: straight
    lines between knots (Zadrozny and Elkan 2002).

    >>> Calibrator().apply(np.array([0.25])).tolist()
    [0.25]
    """

    kind: str = "identity"
    slope: float = 1.0
    bias: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def apply(self, p: Vector) -> Vector:
        """(n,) float64 probabilities of (n,)."""
        if self.kind == "temperature":
            return expit(self.slope * _log_odds(p) + self.bias)
        if self.kind == "isotonic":
            return np.interp(p, self.knots, self.values)
        return p

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        slots = {name: getattr(self, name) for name in self.__slots__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in slots.items()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What ``to_json`` gave.

        Raises:
            InputError: Not a calibrator of this version.
        """
        if stored.get("kind") not in KINDS or set(stored) != set(cls.__slots__):
            raise InputError("calibrator", f"must be one of {', '.join(KINDS)} with its numbers", stored)
        knots, values = tuple(stored["knots"]), tuple(stored["values"])
        return cls(stored["kind"], stored["slope"], stored["bias"], knots, values)


def fit_calibrator(p: Vector, y: Vector, kind: str = "best", folds: int = 5, seed: int = 0) -> Calibrator:
    """A calibrator from predictions of rows that the predictor has not learnt from.

    Args:
        p: (n,) float64 predicted probabilities.
        y: (n,) float64, 0 or 1.
        kind: One of ``KINDS``, or "best": whatever has the lowest cross-validated log loss; but "identity" unless the
            gain over it, row by row, exceeds its own standard error.
        folds: Of that cross-validation.
        seed: Of its folds.

    Raises:
        InputError: Unknown kind, or fewer than ``folds`` rows.
    """
    if kind not in (*KINDS, "best"):
        raise InputError("kind", f"must be best or one of {', '.join(KINDS)}", kind)
    if p.shape != y.shape or len(p) < folds:
        raise InputError("p, y", f"must have the same length of at least {folds}", (p.shape, y.shape))
    if kind == "best":
        kind = _best(p, y, folds, seed)
    return _FIT[kind](p, y)


def log_losses(p: Vector, y: Vector) -> Vector:
    """(n,) float64: ``-ln`` of the probability given to what happened, in nats; probabilities are clipped at 1e-6."""
    p = np.clip(p, _TINY, 1 - _TINY)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def logistic_line(z: Vector, y: Vector, prior: float = 0.0) -> tuple[Vector, Vector]:
    """Maximum likelihood of ``P(y) = expit(bias + slope z)`` by Newton's method with steps that never lose.

    Args:
        prior: Precision of a normal prior around bias 0 and slope 1.

    Returns:
        (bias, slope) and their (2, 2) covariance.

    Raises:
        InputError: ``z`` or ``y`` do not vary, or ``z`` separates ``y``: there is no line without a prior.
    """
    design = np.stack([np.ones_like(z), z], axis=1)
    start = line = np.array([0.0, 1.0])

    def loss(at: Vector) -> float:
        odds = design @ at
        return float((np.logaddexp(0, odds) - y * odds).sum() + prior / 2 * ((at - start) ** 2).sum())

    for _ in range(100):
        p = expit(design @ line)
        gradient = design.T @ (y - p) - prior * (line - start)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + prior * np.eye(2)
        if np.linalg.cond(hessian) > 1e12:
            break
        step = np.linalg.solve(hessian, gradient)
        if np.abs(step).max() < 1e-9:
            return line + step, np.linalg.inv(hessian)
        # Far from the optimum a full Newton step of a logistic model can overshoot, and come back, for ever.
        share, now = min(1.0, 2.0 / float(np.abs(step).max())), loss(line)
        while share > 1e-9 and loss(line + share * step) > now + 1e-12 * (1 + abs(now)):
            share /= 2
        line = line + share * step
    raise InputError("p, y", "must vary, and must not be separable", None, "judge more rows")


def _identity(p: Vector, y: Vector) -> Calibrator:
    return Calibrator()


def _temperature(p: Vector, y: Vector) -> Calibrator:
    line, _ = logistic_line(_log_odds(p), y, _PRIOR)
    # A falling line would turn the order around; such a predictor knows nothing.
    return Calibrator("temperature", max(float(line[1]), 0.0), float(line[0]))


def _isotonic(p: Vector, y: Vector) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    # A step on few rows can be all 0 or all 1; nothing is certain after n rows (Laplace).
    values = np.clip(fitted.y_thresholds_, 1 / (len(y) + 2), 1 - 1 / (len(y) + 2))
    return Calibrator("isotonic", knots=tuple(fitted.X_thresholds_.tolist()), values=tuple(values.tolist()))


_FIT = {"identity": _identity, "temperature": _temperature, "isotonic": _isotonic}


def _best(p: Vector, y: Vector, folds: int, seed: int) -> str:
    of = folds_of(len(p), folds, seed)
    found = {kind: np.empty(len(p)) for kind in KINDS}
    for fold in range(folds):
        out = of == fold
        for kind, fit in _FIT.items():
            found[kind][out] = log_losses(fit(p[~out], y[~out]).apply(p[out]), y[out])
    best = min(KINDS, key=lambda kind: float(found[kind].mean()))
    gain = found["identity"] - found[best]
    return best if gain.mean() > gain.std() / np.sqrt(len(gain)) else "identity"


def _log_odds(p: Vector) -> Vector:
    return logit(np.clip(p, _TINY, 1 - _TINY))


__all__ = ["KINDS", "Calibrator", "fit_calibrator", "log_losses", "logistic_line"]
