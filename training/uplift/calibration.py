"""Uplifts that are right as numbers: their spread is set by a slope learned where the model has not been."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.errors import ConfigError
from training.folds import folds_of
from training.uplift.effects import Doubles, propensities, pseudo_outcomes
from training.uplift.learner import UpliftModel

Folds = NDArray[np.intp]

#: One-sided 5 % of a slope without any effect.
SURE = 1.645


@dataclass(frozen=True, slots=True)
class Line:
    """``effect + used * (raw - centre)``.

    Attributes:
        centre: Mean raw prediction.
        effect: The mean effect, which the randomised log gives without any model.
        error: Its standard error.
        slope: Least squares of the users' pseudo-outcomes on the raw prediction, within folds.
        slope_error: Its standard error, robust to unequal variances.
    """

    centre: float
    effect: float
    error: float
    slope: float
    slope_error: float

    @property
    def used(self) -> float:
        """The slope, or 0 where it is not above 0 by ``SURE`` standard errors.

        A model whose ranking its own slice does not bear out says the mean effect of everybody. A slope that is borne
        out is not shrunk: that would understate on average what the model tells.
        """
        return self.slope if self.slope > SURE * self.slope_error else 0.0


def fit_line(raw: Doubles, effects: Doubles, fold: Folds) -> Line:
    """The line through (n,) pseudo-outcomes over raw predictions that were made out of each user's fold.

    Models of different folds differ by a constant, and by chance it is high where the held-out effect is low; so only
    differences inside a fold are compared.
    """
    moved, rest = raw.copy(), effects.copy()
    for which in np.unique(fold):
        moved[fold == which] -= raw[fold == which].mean()
        rest[fold == which] -= effects[fold == which].mean()
    spread = float(moved @ moved)
    slope = float(moved @ rest) / spread if spread > 0 else 0.0
    noise = moved * (rest - slope * moved)
    slope_error = math.sqrt(float(noise @ noise)) / spread if spread > 0 else 0.0
    error = float(effects.std() / math.sqrt(len(effects)))
    return Line(float(raw.mean()), float(effects.mean()), error, slope, slope_error)


M = TypeVar("M", bound=UpliftModel)


class Calibrated(Generic[M]):
    """A model and its line.

    The line is learned on predictions for users whom the model has not seen: ``folds`` models are fitted, each without
    one fold. The model that stays is fitted on all.
    """

    def __init__(self, model: M, *, folds: int = 5, seed: int = 0) -> None:
        if folds < 2:
            raise ConfigError("folds", "must be at least 2", folds)
        self.model, self.folds, self.seed = model, folds, seed
        self.line: Line

    def fit(self, x: ArrayLike, treated: ArrayLike, y: ArrayLike, propensity: ArrayLike | None = None) -> Self:
        """Learn model and line; arguments and errors as ``UpliftModel.fit`` has them."""
        matrix, arm = np.asarray(x, dtype=np.float32), np.asarray(treated, dtype=bool)
        outcome, chance = np.asarray(y, dtype=np.float64), propensities(arm, propensity)
        raw, fold = np.empty(len(matrix)), folds_of(len(matrix), self.folds, self.seed)
        for held_out in range(self.folds):
            rest, out = fold != held_out, fold == held_out
            again = type(self.model)(**self.model.config.model_dump())
            raw[out] = again.fit(matrix[rest], arm[rest], outcome[rest], chance[rest]).predict(matrix[out])
        line = fit_line(raw, pseudo_outcomes(arm, outcome, chance), fold)
        self.model.fit(matrix, arm, outcome, chance)
        self.line = Line(
            float(self.model.predict(matrix).mean()), line.effect, line.error, line.slope, line.slope_error
        )
        return self

    def raw(self, x: ArrayLike) -> Doubles:
        """(n,) float64: what the model says without its line; ranks users even where the line is flat."""
        return self.model.predict(x)

    def predict(self, x: ArrayLike) -> Doubles:
        """(n,) float64: the calibrated uplift of each user."""
        return self.calibrated(self.model.predict(x))

    def calibrated(self, raw: Doubles) -> Doubles:
        """(n,) raw predictions on the line."""
        on_line: Doubles = self.line.effect + self.line.used * (raw - self.line.centre)
        return on_line

    def save(self, folder: Path) -> None:
        """Write the model and, as JSON, the line."""
        self.model.save(folder)
        content = {"folds": self.folds, "seed": self.seed, "line": asdict(self.line)}
        (folder / "calibration.json").write_text(json.dumps(content, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, model: type[M]) -> Calibrated[M]:
        """Read what ``save`` wrote of a model of that class."""
        content = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        calibrated = cls(model.load(folder), folds=content["folds"], seed=content["seed"])
        calibrated.line = Line(**content["line"])
        return calibrated


__all__ = ["Calibrated", "Folds", "Line", "fit_line"]
