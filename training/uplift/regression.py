"""The regressions that uplift learners are made of: boosted trees, kept so small that they find little in noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field

from training.configured import HyperParameters
from training.uplift.effects import Doubles
from training.uplift.learner import Matrix


class TreesConfig(HyperParameters):
    """Of LightGBM. Effects are far below the noise of one outcome: leaves are few and large, and learned slowly."""

    trees: int = Field(default=100, ge=1)
    leaves: int = Field(default=3, ge=2)
    fewest: int = Field(default=400, ge=1, description="users in a leaf; at most a twentieth of all")
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    ridge: float = Field(default=10.0, ge=0)
    columns: float = Field(default=0.5, gt=0, le=1, description="share of columns that a tree may use")
    rows: float = Field(default=0.7, gt=0, le=1, description="share of users that a tree sees")
    seed: int = Field(default=0, ge=0)


class Trees:
    """Least squares by gradient boosting (Friedman 2001; LightGBM, Ke et al. 2017); missing numbers go either way."""

    def __init__(self, config: TreesConfig) -> None:
        self.config = config
        self._booster: Any = None

    def fit(self, x: Matrix, y: Doubles, weight: Doubles | None = None) -> Self:
        """Learn the mean of (n,) ``y`` given (n, d) ``x``."""
        import lightgbm

        config = self.config
        settings = {
            "objective": "regression",
            "num_leaves": config.leaves,
            "min_data_in_leaf": max(min(config.fewest, len(x) // 20), 1),
            "learning_rate": config.learning_rate,
            "lambda_l2": config.ridge,
            "feature_fraction": config.columns,
            "bagging_fraction": config.rows,
            "bagging_freq": 1,
            "seed": config.seed,
            # Equal data and seeds give equal trees on any machine.
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbose": -1,
        }
        data = lightgbm.Dataset(x, y, weight=weight, free_raw_data=True)
        self._booster = lightgbm.train(settings, data, config.trees)
        return self

    def predict(self, x: Matrix) -> Doubles:
        """(n,) float64."""
        return np.asarray(self._booster.predict(x, num_threads=1), dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write LightGBM's own text format."""
        path.write_text(self._booster.model_to_string(), encoding="utf-8")

    def load(self, path: Path) -> Self:
        """Read what ``save`` wrote."""
        import lightgbm

        self._booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
        return self


__all__ = ["Trees", "TreesConfig"]
