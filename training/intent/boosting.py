"""Gradient-boosted trees by LightGBM."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from features.errors import ConfigError
from training.configured import HyperParameters
from training.intent.predictor import Matrix, Predictor, Vector, checked_examples, register_predictor
from training.intent.tree_tables import TreeTables

if TYPE_CHECKING:
    import lightgbm


@register_predictor
class Boosting(Predictor):
    """The mean log-odds of several small, strongly regularised sets of trees that differ in their seed.

    Ke et al. 2017 (LightGBM). Missing values go their own way at each split. Contributions are TreeSHAP values
    (Lundberg et al. 2020), which add up exactly.
    """

    name = "boosting"

    class Config(HyperParameters):
        """Size and regularisation.

        Attributes:
            trees: Per member.
            members: Sets of trees, with seeds ``seed``, ``seed + 1``, ...
            rate: Share of each tree that is taken.
            leaves: Per tree, at most.
            min_rows: In each leaf.
            columns, rows: Share that each tree sees.
            ridge: Penalty of squared leaf values.
            seed: Of the first member.
            threads: For training and prediction.
        """

        trees: int = Field(default=300, ge=1)
        members: int = Field(default=3, ge=1)
        rate: float = Field(default=0.03, gt=0, le=1)
        leaves: int = Field(default=8, ge=2)
        min_rows: int = Field(default=40, ge=1)
        columns: float = Field(default=0.4, gt=0, le=1)
        rows: float = Field(default=0.7, gt=0, le=1)
        ridge: float = Field(default=10.0, ge=0)
        seed: int = Field(default=0, ge=0)
        threads: int = Field(default=1, ge=1)

    _members: list[lightgbm.Booster]

    def fit(self, x: Matrix, y: Vector, weight: Vector | None = None) -> Self:
        """Grow all members; equal inputs give equal trees."""
        x, y, weight = checked_examples(x, y, weight)
        library = _lightgbm()
        self.n_columns = x.shape[1]
        self._members = []
        self.__dict__.pop("_tables", None)
        for member in range(self.config.members):
            parameters = self._parameters() | {"seed": self.config.seed + member}
            data = library.Dataset(x, y, weight=weight, params={"verbose": -1, "feature_pre_filter": False})
            self._members.append(library.train(parameters, data, self.config.trees))
        self.base = float(self._contributions(x[:1])[0, -1])
        return self

    def log_odds(self, x: Matrix) -> Vector:
        """(n,) float64: mean over the members."""
        x = self.checked(x)
        if not len(x):
            return np.zeros(0)
        threads = self.config.threads
        return np.mean([m.predict(x, raw_score=True, num_threads=threads) for m in self._members], axis=0)

    def explain(self, x: Matrix) -> Vector:
        """(n, d) float64: TreeSHAP values, mean over the members; ``base`` is the mean log-odds of the trees."""
        x = self.checked(x)
        return self._contributions(x)[:, :-1] if len(x) else np.zeros(x.shape)

    def answer_one(self, x: Matrix) -> tuple[float, Vector]:
        """The same from tables, where trees are small enough: LightGBM takes milliseconds to answer about one row."""
        if self._tables is None:
            return super().answer_one(x)
        added = self._tables.explain_one(self.checked(x))
        return self._tables.base + float(added.sum()), added

    def prepare(self) -> None:
        """Make the tables, about 7 kB a tree."""
        _ = self._tables

    @cached_property
    def _tables(self) -> TreeTables | None:
        return TreeTables.of([member.dump_model() for member in self._members])

    def save(self, folder: Path) -> None:
        """``config.json`` and LightGBM's own text, ``member_<i>.txt``."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = {"config": self.config.model_dump(), "columns": self.n_columns, "base": self.base}
        (folder / "config.json").write_text(json.dumps(stored), encoding="utf-8")
        for i, member in enumerate(self._members):
            (folder / f"member_{i}.txt").write_text(member.model_to_string(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model = cls(**stored["config"])
        model.n_columns, model.base = stored["columns"], stored["base"]
        texts = [(folder / f"member_{i}.txt").read_text(encoding="utf-8") for i in range(model.config.members)]
        model._members = [_lightgbm().Booster(model_str=text) for text in texts]
        return model

    def _contributions(self, x: Matrix) -> Vector:
        threads = self.config.threads
        return np.mean([m.predict(x, pred_contrib=True, num_threads=threads) for m in self._members], axis=0)

    def _parameters(self) -> dict[str, Any]:
        config = self.config
        return {
            "objective": "binary",
            "learning_rate": config.rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_rows,
            "feature_fraction": config.columns,
            "bagging_fraction": config.rows,
            "bagging_freq": 1,
            "lambda_l2": config.ridge,
            "feature_pre_filter": False,
            "num_threads": config.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise ConfigError("predictor boosting", "needs LightGBM", None, "install lightgbm") from None
    return lightgbm


__all__ = ["Boosting"]
