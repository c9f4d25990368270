"""How MLflow answers with a registered bundle; MLflow copies this file beside the bundle and runs it on load.

Nothing in stellar imports it. A model from code needs no pickle, and hands itself over by calling ``set_model``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from training.bundle import Bundle


class PolicyModel(PythonModel):
    """Ranked items per user: a row (user_id, k) in, k rows (user_id, item_id, rank, score) out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that was registered."""
        self._bundle = Bundle.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer all users with the same ``k`` in one call, groups in the order of their first row."""
        answers = [
            self._bundle.recommend(model_input.loc[model_input["k"] == k, "user_id"].tolist(), int(k))
            for k in model_input["k"].unique()
        ]
        if not answers:
            return pd.DataFrame(columns=["user_id", "item_id", "rank", "score"])
        return pd.concat(answers, ignore_index=True)


set_model(PolicyModel())
