"""Figures of all uplift models on the same users, with intervals that hold for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from experiments.statistics import Lift, paired_bootstrap
from experiments.uplift_metrics import auuc_terms, qini_terms, slope_terms, uplift_at_terms
from training.uplift.calibration import Folds
from training.uplift.effects import Doubles

SHARES = (0.1, 0.2, 0.3)

#: Of a comparison in which no model's interval lies above another's.
CANNOT_TELL = "cannot_tell"

Terms = dict[str, Doubles]


class Orders(StrEnum):
    """Whether a model puts users with more uplift first: its Qini's interval lies above zero, below, or holds it."""

    YES = "yes"
    NO = "no"
    CANNOT_TELL = CANNOT_TELL

    @classmethod
    def of(cls, low: float | None, high: float | None) -> Orders:
        """By the ends of the interval, None where there is none."""
        if low is not None and low > 0:
            return cls.YES
        return cls.NO if high is not None and high < 0 else cls.CANNOT_TELL


def terms_of(ranked: Doubles, predicted: Doubles, effects: Doubles, fold: Folds | None = None) -> Terms:
    """Figure to (n,) terms: ranking figures of ``ranked``, the slope of ``predicted``; no slope if that is flat."""
    slope = slope_terms(predicted, effects, fold)
    found = {"qini": qini_terms(ranked, effects, fold), "auuc": auuc_terms(ranked, effects, fold)}
    found |= {name_at(share): uplift_at_terms(ranked, effects, share, fold) for share in SHARES}
    return found if slope is None else found | {"slope": slope}


def name_at(share: float) -> str:
    """The figure's name: ``uplift@10`` for a tenth."""
    return f"uplift@{round(100 * share)}"


def mean_terms(repeats: Sequence[Terms]) -> Terms:
    """Each user's terms averaged over repeats, for the figures that all of them have."""
    names = [name for name in repeats[0] if all(name in terms for terms in repeats)]
    return {name: np.mean([terms[name] for terms in repeats], axis=0) for name in names}


def intervals(terms: Mapping[str, Doubles], *, confidence: float = 0.95, seed: int = 0) -> dict[str, Lift]:
    """Name to mean and interval, simultaneous over all names."""
    n = len(next(iter(terms.values())))
    return paired_bootstrap(np.zeros(n), terms, confidence=confidence, seed=seed)


def figure_rows(models: Mapping[str, Terms], *, confidence: float = 0.95) -> list[dict[str, Any]]:
    """One row per model: each figure with its interval, simultaneous over models.

    ``orders_by_uplift``: a value of ``Orders``.
    """
    rows: list[dict[str, Any]] = [{"model": name, "metrics": {}, "low": {}, "high": {}} for name in models]
    for figure in ("qini", "auuc", *map(name_at, SHARES), "slope"):
        having = {name: terms[figure] for name, terms in models.items() if figure in terms}
        found = intervals(having, confidence=confidence) if having else {}
        for row in rows:
            if row["model"] in found:
                lift = found[row["model"]].as_json()
                row["metrics"][figure] = lift["difference"]
                row["low"][figure], row["high"][figure] = lift["low"], lift["high"]
    for row in rows:
        row["orders_by_uplift"] = Orders.of(row["low"]["qini"], row["high"]["qini"]).value
    return rows


def comparison(models: Mapping[str, Terms], *, figure: str = "qini") -> dict[str, Any]:
    """The best model against the others, by paired differences: the winner's name, or ``cannot_tell``.

    The best is the one with the largest mean on the same users, so all pairs are in the family of the intervals.
    """
    values = {name: terms[figure] for name, terms in models.items()}
    best = max(values, key=lambda name: float(values[name].mean()))
    pairs = {f"{one} - {two}": values[one] - values[two] for one in values for two in values if one < two}
    found = intervals(pairs) if pairs else {}
    against = {}
    for name in values:
        if name == best:
            continue
        first, second = sorted((best, name))
        lift = found[f"{first} - {second}"]
        ends = (lift.difference, lift.low, lift.high)
        difference, low, high = ends if first == best else (-lift.difference, -lift.high, -lift.low)
        against[name] = {"difference": difference, "low": low, "high": high}
    clear = all(one["low"] > 0 for one in against.values())
    return {"best": best, "verdict": best if clear else CANNOT_TELL, "over": against}


__all__ = [
    "CANNOT_TELL",
    "SHARES",
    "Orders",
    "Terms",
    "comparison",
    "figure_rows",
    "intervals",
    "mean_terms",
    "name_at",
    "terms_of",
]
