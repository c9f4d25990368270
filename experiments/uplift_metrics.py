"""How good a ranking of users by predicted uplift is, from a randomised log.

Every figure is the mean over users of one term each, built on their pseudo-outcomes z (``training.uplift.effects``),
whose mean over any group is an unbiased estimate of the group's effect whatever the propensities. So the paired
bootstrap of ``experiments.statistics`` gives simultaneous intervals over models and figures. Terms are made within
folds: predictions of models that learned from different folds are not compared.

The Qini curve here is ``g(phi)``: the extra outcomes per user of the whole population if the share ``phi`` with the
highest predictions is treated. Radcliffe's (2007) counts ``Y_t - Y_c N_t / N_c`` in the prefix; where the arms' shares
are alike in every prefix it is ``g`` times the number of treated users. The Qini coefficient is the area between ``g``
and the straight line to ``g(1)``, not divided by anything: in outcomes per user, comparable between models on the same
users; AUUC is the area under ``g``. Users with equal predictions are treated together, in any order: a model that says
the same of everybody has coefficient 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from experiments.statistics import Interval, mean_interval
from features.errors import InputError
from training.uplift.calibration import Folds
from training.uplift.effects import Doubles


@dataclass(frozen=True, slots=True)
class Bin:
    """Users with similar predictions: how many, the mean prediction, and the effect that was observed."""

    n: int
    predicted: float
    observed: Interval


def qini_curve(predicted: Doubles, effects: Doubles) -> tuple[Doubles, Doubles]:
    """Shares of users treated (m + 1,) from 0 to 1, and ``g`` at each; one point per distinct prediction.

    >>> share, gain = qini_curve(np.array([3.0, 2.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0, -1.0]))
    >>> share.tolist(), gain.tolist()
    ([0.0, 0.25, 0.75, 1.0], [0.0, 0.25, 0.5, 0.25])
    """
    _check(predicted, effects)
    order = np.argsort(-predicted, kind="stable")
    last = np.append(np.flatnonzero(np.diff(predicted[order])), len(order) - 1)
    gain = np.cumsum(effects[order])[last] / len(order)
    return np.append(0.0, (last + 1) / len(order)), np.append(0.0, gain)


def qini_terms(predicted: Doubles, effects: Doubles, fold: Folds | None = None) -> Doubles:
    """(n,) whose mean is the Qini coefficient: ``z (1/2 - r)``, r a user's place from 0 (highest prediction) to 1."""
    return effects * (0.5 - _places(predicted, effects, fold))


def auuc_terms(predicted: Doubles, effects: Doubles, fold: Folds | None = None) -> Doubles:
    """(n,) whose mean is the area under the uplift curve."""
    return effects * (1.0 - _places(predicted, effects, fold))


def uplift_at_terms(predicted: Doubles, effects: Doubles, share: float, fold: Folds | None = None) -> Doubles:
    """(n,) whose mean is the effect in the ``share`` with the highest predictions; ties at the border count in part.

    Raises:
        InputError: The share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise InputError("share", "must be above 0 and at most 1", share)
    _check(predicted, effects)
    chosen = np.zeros(len(predicted))
    for rows in _groups(len(predicted), fold):
        first, last = (len(rows) - rankdata(predicted[rows], method=side) for side in ("max", "min"))
        width = last + 1 - first
        chosen[rows] = np.clip((share * len(rows) - first) / width, 0, 1)
    terms: Doubles = effects * chosen / share
    return terms


def slope_terms(predicted: Doubles, effects: Doubles, fold: Folds | None = None) -> Doubles | None:
    """(n,) whose mean is the slope of effects on predictions, and whose spread is its influence function.

    1 is calibrated; below it, differences between users are overstated. None where all predictions are equal.
    """
    _check(predicted, effects)
    moved, rest = predicted.copy(), effects.copy()
    for rows in _groups(len(predicted), fold):
        moved[rows] -= predicted[rows].mean()
        rest[rows] -= effects[rows].mean()
    variance = float(np.mean(moved**2))
    if variance <= 1e-18:
        return None
    slope = float(np.mean(moved * rest)) / variance
    terms: Doubles = slope + moved * (rest - slope * moved) / variance
    return terms


def calibration_bins(predicted: Doubles, effects: Doubles, *, bins: int = 10, seed: int) -> list[Bin]:
    """Effects by predictions, highest first, in bins of as equal size as ties allow."""
    _check(predicted, effects)
    place = np.floor(_places(predicted, effects, None) * bins).astype(np.intp)
    found = []
    for which in np.unique(place):
        rows = place == which
        observed = mean_interval(effects[rows], seed=seed)
        found.append(Bin(int(rows.sum()), float(predicted[rows].mean()), observed))
    return found


def _places(predicted: Doubles, effects: Doubles, fold: Folds | None) -> Doubles:
    """(n,) the middle of each user's place in the order of predictions in the fold, from 0 (highest) to 1."""
    _check(predicted, effects)
    place = np.empty(len(predicted))
    for rows in _groups(len(predicted), fold):
        place[rows] = 1 - (rankdata(predicted[rows]) - 0.5) / len(rows)
    return place


def _groups(n: int, fold: Folds | None) -> list[NDArray[np.intp]]:
    return [np.arange(n)] if fold is None else [np.flatnonzero(fold == which) for which in np.unique(fold)]


def _check(predicted: Doubles, effects: Doubles) -> None:
    if predicted.shape != effects.shape or predicted.ndim != 1 or not len(predicted):
        shapes = f"{predicted.shape} and {effects.shape}"
        raise InputError("predicted and effects", "must be one number each per user, for at least one", shapes)
    if not (np.isfinite(predicted).all() and np.isfinite(effects).all()):
        raise InputError("predicted and effects", "must be finite")


__all__ = ["Bin", "auuc_terms", "calibration_bins", "qini_curve", "qini_terms", "slope_terms", "uplift_at_terms"]
