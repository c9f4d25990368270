"""The interface of every uplift model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.errors import InputError
from training.configured import Configured, Registry
from training.uplift.effects import Bools, Doubles, propensities

Matrix = NDArray[np.float32]

#: Fewer users in an arm teach nothing.
FEWEST = 100


class UpliftModel(Configured, ABC):
    """The change that treatment makes in the mean of an outcome, per user, from what was known before."""

    kind = "uplift model"

    def fit(self, x: ArrayLike, treated: ArrayLike, y: ArrayLike, propensity: ArrayLike | None = None) -> Self:
        """Learn from a randomised log; whether it was randomised is asked by ``randomisation.check_randomised``.

        Args:
            x: (n, d) float32, what was known before; NaN for a missing number.
            treated: (n,) bool.
            y: (n,) outcomes, 0 or 1 or amounts.
            propensity: Each user's chance of treatment, or one for all; the treated share if absent.

        Raises:
            InputError: Shapes differ, an outcome is not finite, or an arm has fewer than ``FEWEST`` users.
        """
        matrix, arm = np.asarray(x, dtype=np.float32), np.asarray(treated, dtype=bool)
        outcome = np.asarray(y, dtype=np.float64)
        if matrix.ndim != 2 or arm.shape != (len(matrix),) or outcome.shape != (len(matrix),):
            shapes = f"{matrix.shape}, {arm.shape} and {outcome.shape}"
            raise InputError("x, treated and y", "must have shapes (n, d), (n,) and (n,)", shapes)
        if not np.isfinite(outcome).all():
            raise InputError("y", "must be finite", f"{np.count_nonzero(~np.isfinite(outcome))} values that are not")
        fewest = min(int(arm.sum()), int((~arm).sum()))
        if fewest < FEWEST:
            raise InputError("treated", f"must have at least {FEWEST} users in each arm", fewest)
        self._fit(matrix, arm, outcome, propensities(arm, propensity))
        return self

    def predict(self, x: ArrayLike) -> Doubles:
        """(n,) float64: the uplift of each user of (n, d) ``x``."""
        return self._predict(np.asarray(x, dtype=np.float32))

    def save(self, folder: Path) -> None:
        """Write the fitted model as JSON, text, npz or safetensors; nothing in it is executed on load."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"model": self.name, "config": self.config.model_dump()}
        (folder / "model.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        self._save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; predictions are equal to those of the saved model."""
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**content["config"])
        model._load(folder)
        return model

    @abstractmethod
    def _fit(self, x: Matrix, treated: Bools, y: Doubles, propensity: Doubles) -> None: ...

    @abstractmethod
    def _predict(self, x: Matrix) -> Doubles: ...

    @abstractmethod
    def _save(self, folder: Path) -> None: ...

    @abstractmethod
    def _load(self, folder: Path) -> None: ...


_MODELS: Registry[UpliftModel] = Registry(UpliftModel.kind, "must be a known one")

#: As ``Registry`` describes them.
register_uplift_model, uplift_models, uplift_model_class = _MODELS.register, _MODELS.all, _MODELS.find

__all__ = ["FEWEST", "Matrix", "UpliftModel", "register_uplift_model", "uplift_model_class", "uplift_models"]
