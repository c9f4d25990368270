"""How well households of the same campaign are put in order, as a mean over households that can be resampled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.intent.predictor import Vector


def auc_of(scores: Vector, y: Vector) -> tuple[float, Vector]:
    """ROC-AUC of one campaign, and what each household contributes to it.

    The contribution is the share of the households of the other outcome that this one is on the right side of, ties
    as halves, less the AUC, over the number of those with its own outcome: DeLong et al. 1988, the structural
    components V10 and V01. Contributions sum to 0.

    Args:
        scores: (n,) float64.
        y: (n,) float64, 0 or 1; both must occur.

    >>> auc_of(np.array([3.0, 1.0, 2.0]), np.array([1.0, 0.0, 1.0]))[0]
    1.0
    """
    came = y == 1
    n_came, n_not = int(came.sum()), int((~came).sum())
    everywhere = rankdata(scores)
    right = np.empty(len(y))
    # A rank among all less the rank among one's own is how many of the others are below.
    right[came] = (everywhere[came] - rankdata(scores[came])) / n_not
    right[~came] = 1 - (everywhere[~came] - rankdata(scores[~came])) / n_came
    auc = float(right[came].mean())
    return auc, (right - auc) / np.where(came, n_came, n_not)


def auc_terms(
    scores: Sequence[Vector], outcomes: Sequence[Vector], households: Sequence[NDArray[np.object_]]
) -> tuple[NDArray[np.object_], Vector]:
    """Households, and terms whose mean is the AUC within campaigns and whose spread is that of resampled households.

    The AUC is the share of all comparisons of a household that redeemed with one of the same campaign that did not in
    which the first has the higher score: campaigns weigh by their comparisons. A household's term is the AUC and all
    of its contributions, in all of its campaigns (Obuchowski 1997, clustered ROC data), times the number of households.

    Args:
        scores, outcomes, households: (n,) of each campaign; campaigns in which all are alike compare nothing.

    Returns:
        (h,) sorted ids, and (h,) float64.
    """
    ids, place = np.unique(np.concatenate(households).astype(str), return_inverse=True)
    weights = np.array([y.sum() * (1 - y).sum() for y in outcomes])
    weights = weights / weights.sum()
    total, moved, start = 0.0, np.zeros(len(ids)), 0
    for weight, score, y in zip(weights, scores, outcomes, strict=True):
        at = place[start : start + len(y)]
        start += len(y)
        if weight > 0:
            auc, contributions = auc_of(score, y)
            total += weight * auc
            np.add.at(moved, at, weight * contributions)
    return ids.astype(object), total + len(ids) * moved


__all__ = ["auc_of", "auc_terms"]
