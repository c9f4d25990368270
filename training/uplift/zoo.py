"""Every uplift model: importing this module makes all of them known by name."""

from __future__ import annotations

from training.uplift.learner import uplift_model_class, uplift_models
from training.uplift.learners import DoublyRobust, TransformedOutcome, TwoModel, XLearner
from training.uplift.network import SharedNetwork

UPLIFT_MODELS = uplift_models()

__all__ = [
    "UPLIFT_MODELS",
    "DoublyRobust",
    "SharedNetwork",
    "TransformedOutcome",
    "TwoModel",
    "XLearner",
    "uplift_model_class",
]
