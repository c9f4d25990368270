"""Uplift models that are made of regressions: two-model, transformed outcome, doubly robust and X-learner."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path

import numpy as np
from pydantic import Field

from training.folds import folds_of
from training.uplift.effects import Bools, Doubles, pseudo_outcomes
from training.uplift.learner import Matrix, UpliftModel, register_uplift_model
from training.uplift.regression import Trees, TreesConfig

#: For the outcome itself, of which more can be learned than of an effect.
_OUTCOME = TreesConfig(trees=150, leaves=4, fewest=200, learning_rate=0.05)


class _OfRegressions(UpliftModel):
    """Predicts by a weighted sum of regressions."""

    def __init__(self, **hyper_parameters: object) -> None:
        super().__init__(**hyper_parameters)
        self._parts: dict[str, Trees] = {}
        self._weights: dict[str, float] = {}

    def _predict(self, x: Matrix) -> Doubles:
        total: Doubles = np.zeros(len(x))
        for name, part in self._parts.items():
            total += self._weights[name] * part.predict(x)
        return total

    def _keep(self, parts: dict[str, tuple[Trees, float]]) -> None:
        self._parts = {name: part for name, (part, _) in parts.items()}
        self._weights = {name: weight for name, (_, weight) in parts.items()}

    @abstractmethod
    def _settings(self) -> TreesConfig:
        """Of the regressions that predict."""

    def _save(self, folder: Path) -> None:
        (folder / "weights.json").write_text(json.dumps(self._weights), encoding="utf-8")
        for name, part in self._parts.items():
            part.save(folder / f"{name}.txt")

    def _load(self, folder: Path) -> None:
        self._weights = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
        self._parts = {name: Trees(self._settings()).load(folder / f"{name}.txt") for name in self._weights}


@register_uplift_model
class TwoModel(_OfRegressions):
    """``mu_1(x) - mu_0(x)``, each learned in its own arm (Hansotia & Rukstales 2002; the T-learner)."""

    name = "two_model"

    class Config(UpliftModel.Config):
        """``outcome``: of the regressions in the arms."""

        outcome: TreesConfig = Field(default_factory=lambda: _OUTCOME)

    def _settings(self) -> TreesConfig:
        return self.config.outcome

    def _fit(self, x: Matrix, treated: Bools, y: Doubles, propensity: Doubles) -> None:
        made = {side: Trees(self._settings()).fit(x[treated == side], y[treated == side]) for side in (True, False)}
        self._keep({"treated": (made[True], 1.0), "control": (made[False], -1.0)})


@register_uplift_model
class TransformedOutcome(_OfRegressions):
    """One regression of the transformed outcome, whose mean given x is the effect (Athey & Imbens 2016)."""

    name = "transformed_outcome"

    class Config(UpliftModel.Config):
        """``effect``: of the one regression."""

        effect: TreesConfig = Field(default_factory=TreesConfig)

    def _settings(self) -> TreesConfig:
        return self.config.effect

    def _fit(self, x: Matrix, treated: Bools, y: Doubles, propensity: Doubles) -> None:
        self._keep({"effect": (Trees(self._settings()).fit(x, pseudo_outcomes(treated, y, propensity)), 1.0)})


@register_uplift_model
class DoublyRobust(_OfRegressions):
    """The same of the doubly robust score, from which what x says of the outcome is taken out (Kennedy 2020).

    ``(1 - e) mu_1 + e mu_0`` is learned by one regression with weights ``(1 - e) / e`` for the treated and the inverse
    for control, for each fold from the other folds.
    """

    name = "doubly_robust"

    class Config(UpliftModel.Config):
        """``outcome`` and ``effect``: of the two regressions; ``folds`` the outcome is learned in."""

        outcome: TreesConfig = Field(default_factory=lambda: _OUTCOME)
        effect: TreesConfig = Field(default_factory=TreesConfig)
        folds: int = Field(default=2, ge=2)
        seed: int = Field(default=0, ge=0)

    def _settings(self) -> TreesConfig:
        return self.config.effect

    def _fit(self, x: Matrix, treated: Bools, y: Doubles, propensity: Doubles) -> None:
        weight = np.where(treated, (1 - propensity) / propensity, propensity / (1 - propensity))
        fold, expected = folds_of(len(x), self.config.folds, self.config.seed), np.empty(len(x))
        for held_out in range(self.config.folds):
            rest, out = fold != held_out, fold == held_out
            expected[out] = Trees(self.config.outcome).fit(x[rest], y[rest], weight[rest]).predict(x[out])
        score = pseudo_outcomes(treated, y, propensity, expected)
        self._keep({"effect": (Trees(self._settings()).fit(x, score), 1.0)})


@register_uplift_model
class XLearner(_OfRegressions):
    """Effects imputed in each arm with the other arm's model, then averaged (Kuenzel et al. 2019).

    ``tau = e tau_0 + (1 - e) tau_1`` where ``tau_1`` is a regression of ``y - mu_0(x)`` in the treated and ``tau_0``
    one of ``mu_1(x) - y`` in control; ``e`` is the mean propensity, which Kuenzel et al. allow and which needs no
    propensity for new users.
    """

    name = "x_learner"

    class Config(UpliftModel.Config):
        """``outcome`` and ``effect``: of the regressions of the first and of the second stage."""

        outcome: TreesConfig = Field(default_factory=lambda: _OUTCOME)
        effect: TreesConfig = Field(default_factory=TreesConfig)

    def _settings(self) -> TreesConfig:
        return self.config.effect

    def _fit(self, x: Matrix, treated: Bools, y: Doubles, propensity: Doubles) -> None:
        control = ~treated
        without = Trees(self.config.outcome).fit(x[control], y[control])
        under = Trees(self.config.outcome).fit(x[treated], y[treated])
        gained = y[treated] - without.predict(x[treated])
        missed = under.predict(x[control]) - y[control]
        share = float(propensity.mean())
        self._keep(
            {
                "treated": (Trees(self._settings()).fit(x[treated], gained), 1 - share),
                "control": (Trees(self._settings()).fit(x[control], missed), share),
            }
        )


__all__ = ["DoublyRobust", "TransformedOutcome", "TwoModel", "XLearner"]
