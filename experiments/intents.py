"""What was predicted of users, held against what they did since: which predictor is best, and how right it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from experiments.experiment import Experiment
from experiments.figures import figures
from experiments.statistics import paired_bootstrap
from experiments.verdict import judge
from features.dataset import Dataset
from features.engine import Engine
from features.instants import iso
from features.outcomes import who_did
from features.schema import DAY_MS
from training.intent.calibration import log_losses
from training.intent.contract import MIN_ROWS, contract
from training.intent.fit import SEGMENTED, Contest, readable_columns
from training.intent.heads import Head, segments_of
from training.intent.predictor import Vector
from training.intent.reliability import brier, expected_calibration_error


@dataclass(frozen=True, slots=True)
class Foretold:
    """One target of n users: what happened, and what had been said.

    Attributes:
        happened: (n,) float64, 0 or 1.
        chances: Predictor's name to (n,) float64, calibrated, also where the contract keeps them from being told.
        chosen: Name of the predictor whose head the bundle holds.
    """

    happened: Vector
    chances: Mapping[str, Vector]
    chosen: str


def foretold(
    engine: Engine, dataset: Dataset, contest: Contest, users: pd.DataFrame
) -> tuple[dict[str, Foretold], dict[str, str]]:
    """By target what became of it in its horizon from the instant of the fit; and why of others nothing can be said.

    Args:
        users: The user matrix as of the instant of the fit.
    """
    known, unknown = {}, {}
    readable = readable_columns(users)
    for name, heads in contest.heads.items():
        target = next(iter(heads.values())).target
        until_ms = contest.as_of_ms + target.horizon_ms
        if until_ms > dataset.last_ms + DAY_MS:
            unknown[name] = f"its horizon ends on {iso(until_ms)}, after the data"
            continue
        acted = who_did(engine, dataset, target.events, contest.as_of_ms, until_ms, target.category)
        happened = (readable.index.isin(acted) != target.absent).astype(np.float64)
        if happened.all() or not happened.any():
            unknown[name] = "everybody did" if happened.all() else "nobody did"
            continue
        chances = {each: _calibrated(head, readable) for each, head in heads.items()}
        known[name] = Foretold(happened, chances, contest.chosen[name])
    return known, unknown


def judge_intents(
    known: Mapping[str, Foretold],
    unknown: Mapping[str, str],
    contest: Contest,
    users: pd.DataFrame,
    attributes: tuple[str, ...],
    experiment: Experiment,
) -> dict[str, Any]:
    """JSON-able, by target: see README, What a user is about to do.

    Predictors after the first are judged against it by their users' log scores, ``ln`` of the chance given to what
    happened (a strictly proper score: Good 1952), with intervals simultaneous over predictors.

    Args:
        attributes: Columns of ``users`` whose values are segments.
    """
    report: dict[str, Any] = {}
    for name, heads in contest.heads.items():
        horizon = {"horizon_days": next(iter(heads.values())).target.horizon_days}
        if name in unknown:
            report[name] = {**horizon, "not_measurable": unknown[name]}
            continue
        one = known[name]
        report[name] = {
            **horizon,
            "n_users": len(one.happened),
            "share": float(one.happened.mean()),
            "chosen": one.chosen,
            "predictors": _predictors(one, heads, experiment),
            "segments": _segments(one, heads[one.chosen], users, attributes),
        }
    return report


def _predictors(one: Foretold, heads: Mapping[str, Head], experiment: Experiment) -> dict[str, Any]:
    scores = {name: -log_losses(p, one.happened) for name, p in one.chances.items()}
    first, *others = scores
    lifts = paired_bootstrap(
        scores[first],
        {name: scores[name] for name in others},
        resamples=experiment.resamples,
        confidence=experiment.confidence,
        seed=experiment.seed,
    )
    told: dict[str, Any] = {}
    for name, p in one.chances.items():
        told[name] = {**figures(p, one.happened), "learned_log_loss": heads[name].judged.log_loss}
        if name in lifts:
            judgement = judge(lifts[name], min_users=experiment.min_users)
            interval = {end: getattr(lifts[name], end) for end in ("difference", "low", "high", "p_value")}
            told[name] |= {"lift": interval, "verdict": judgement.verdict.value, "reason": judgement.reason}
    return told


def _segments(one: Foretold, head: Head, users: pd.DataFrame, attributes: tuple[str, ...]) -> dict[str, Any]:
    """How right the chosen head's numbers were in every segment, and whether they would have been told there."""
    p, y = one.chances[one.chosen], one.happened
    rows = segments_of(users, [*attributes, *SEGMENTED], MIN_ROWS)
    told = head.chances(users).refused == ""
    found: dict[str, Any] = {}
    for each in contract(p, y, rows):
        inside = rows.get(each.segment, np.ones(len(y), dtype=bool))
        found[each.segment] = {
            "n": each.n,
            "told": float(told[inside].mean()),
            "held": each.probability,
            "reason": each.reason,
            "mean": _finite(each.mean),
            "slope": _finite(each.slope),
            "brier": brier(p[inside], y[inside]),
            "ece": expected_calibration_error(p[inside], y[inside], min(10, each.n)),
        }
    return found


def _finite(interval: tuple[float, float, float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in interval]


def _calibrated(head: Head, users: pd.DataFrame) -> Vector:
    return head.judged.calibrator.apply(expit(head.predictor.log_odds(head.encoder.transform(users))))


__all__ = ["Foretold", "foretold", "judge_intents"]
