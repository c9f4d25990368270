"""The mean of several predictors' log-odds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field

from training.configured import HyperParameters
from training.intent.predictor import Matrix, Predictor, Vector, predictor_class, register_predictor


@register_predictor
class Average(Predictor):
    """Predictors that err differently, with equal weights; contributions and ``base`` are means as well."""

    name = "average"

    class Config(HyperParameters):
        """Who is averaged.

        Attributes:
            members: Names of predictors, whose modules must have been imported.
            settings: Hyper-parameters of members, by name; defaults where absent.
        """

        members: tuple[str, ...] = Field(default=("boosting", "network"), min_length=1)
        settings: dict[str, dict[str, Any]] = Field(default_factory=dict)

    _fitted: list[Predictor]

    def __init__(self, **hyper_parameters: Any) -> None:
        super().__init__(**hyper_parameters)
        # Wrong settings are told before anything is fitted.
        self._fitted = [self._member(name) for name in self.config.members]

    def fit(self, x: Matrix, y: Vector, weight: Vector | None = None) -> Self:
        """Fit every member."""
        return self.of([self._member(name).fit(x, y, weight) for name in self.config.members])

    def of(self, members: list[Predictor]) -> Self:
        """Take members that were fitted elsewhere on the same columns, in the order of the configuration."""
        self._fitted = members
        self.n_columns = members[0].n_columns
        self.base = float(np.mean([member.base for member in members]))
        return self

    def log_odds(self, x: Matrix) -> Vector:
        """(n,) float64: mean over the members."""
        return np.mean([member.log_odds(x) for member in self._fitted], axis=0)

    def explain(self, x: Matrix) -> Vector:
        """(n, d) float64: mean over the members; adds up as exactly as theirs do."""
        return np.mean([member.explain(x) for member in self._fitted], axis=0)

    def answer_one(self, x: Matrix) -> tuple[float, Vector]:
        """The same, by the fast ways of the members."""
        log_odds, added = zip(*(member.answer_one(x) for member in self._fitted), strict=True)
        return float(np.mean(log_odds)), np.mean(added, axis=0)

    def prepare(self) -> None:
        """Prepare the members."""
        for member in self._fitted:
            member.prepare()

    def save(self, folder: Path) -> None:
        """``config.json`` and a folder ``<i>`` per member."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(self.config.model_dump_json(), encoding="utf-8")
        for i, member in enumerate(self._fitted):
            member.save(folder / str(i))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        model = cls(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        names = model.config.members
        return model.of([predictor_class(name).load(folder / str(i)) for i, name in enumerate(names)])

    def _member(self, name: str) -> Predictor:
        return predictor_class(name)(**self.config.settings.get(name, {}))


__all__ = ["Average"]
