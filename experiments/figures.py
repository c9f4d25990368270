"""How good predicted chances are, as figures: of their order, and as numbers."""

from __future__ import annotations

from training.intent.calibration import log_losses
from training.intent.predictor import Vector
from training.intent.reliability import brier, expected_calibration_error


def figures(p: Vector, y: Vector) -> dict[str, float]:
    """Of (n,) float64 chances and (n,) outcomes of 0 or 1, both of which occur.

    ``roc_auc`` and ``pr_auc`` (average precision) are of the order; ``log_loss`` in nats, ``brier`` and ``ece`` (ten
    groups of equal size) of the numbers.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "roc_auc": float(roc_auc_score(y, p)),
        "pr_auc": float(average_precision_score(y, p)),
        "log_loss": float(log_losses(p, y).mean()),
        "brier": brier(p, y),
        "ece": expected_calibration_error(p, y),
    }


__all__ = ["figures"]
