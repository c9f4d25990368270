"""All uplift models by name."""

from __future__ import annotations

from features.errors import NotFoundError
from training.uplift.learner import UpliftModel
from training.uplift.learners import DoublyRobust, TransformedOutcome, TwoModel, XLearner
from training.uplift.network import SharedNetwork

UPLIFT_MODELS: dict[str, type[UpliftModel]] = {
    model.name: model for model in (TwoModel, TransformedOutcome, DoublyRobust, XLearner, SharedNetwork)
}


def uplift_model_class(name: str) -> type[UpliftModel]:
    """The uplift model of that name; an unknown one is an error that lists the known."""
    if name not in UPLIFT_MODELS:
        raise NotFoundError("uplift model", "must be a known one", name, f"choose one of {', '.join(UPLIFT_MODELS)}")
    return UPLIFT_MODELS[name]


__all__ = ["UPLIFT_MODELS", "uplift_model_class"]
