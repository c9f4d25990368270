"""The calibration contract: in which segments a head's numbers may be served as probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import norm

from features.errors import InputError
from training.intent.calibration import logistic_line
from training.intent.predictor import Vector

MIN_ROWS = 500
MIN_OUTCOMES = 20
SLOPES = (0.8, 1.25)
RELATIVE_MEAN = 0.1
OVERALL = "all"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found in one segment.

    Attributes:
        segment: Name; ``all`` for all rows.
        n: Rows.
        probability: Whether its numbers may be served as probabilities; else only their order.
        reason: ``held``, ``mean_off``, ``slope_off``, ``too_few_outcomes``, or ``too_few_rows``, where the judgement of
            all rows stands in.
        mean: Observed over predicted mean, less 1, with its interval.
        slope: Of ``logit P(y)`` over ``logit p``, with its interval; all three NaN where there is none to find.
    """

    segment: str
    n: int
    probability: bool
    reason: str
    mean: tuple[float, float, float]
    slope: tuple[float, float, float]


def contract(
    p: Vector, y: Vector, segments: Mapping[str, NDArray[np.bool_]] | None = None, level: float = 0.95
) -> list[Judgement]:
    """Judge all rows, then each segment: calibration-in-the-large and slope (Cox 1958) against 0 and 1.

    A figure holds if its interval covers the ideal, or the figure itself is tolerated: mean within 10 % of the
    predicted, slope within .8 and 1.25. So a segment is refused on evidence of an error that matters, not on noise and
    not on an error that is sure but small. Intervals are widened for the number of segments (Bonferroni).

    Args:
        p: (n,) float64 in [0, 1], of rows that neither predictor nor calibrator has learnt from.
        y: (n,) float64, 0 or 1.
        segments: (n,) bool per name.
        level: Of all intervals together.

    Raises:
        InputError: Lengths differ, or values are outside of 0 and 1.
    """
    if p.shape != y.shape or not ((p >= 0) & (p <= 1)).all() or not np.isin(y, (0.0, 1.0)).all():
        raise InputError("p, y", "must be as many probabilities as outcomes of 0 or 1", (p.shape, y.shape))
    parts = {OVERALL: np.ones(len(p), dtype=bool), **(segments or {})}
    if any(rows.shape != p.shape for rows in parts.values()) or OVERALL in (segments or {}):
        raise InputError("segments", f"must be one flag per row, and none named {OVERALL}", sorted(parts))
    judged = sum(int(rows.sum()) >= MIN_ROWS for rows in parts.values())
    wide = float(norm.ppf(1 - (1 - level) / 2 / max(judged, 1)))
    found = [_judge(name, p[rows], y[rows], wide) for name, rows in parts.items()]
    return [
        Judgement(f.segment, f.n, found[0].probability, f.reason, f.mean, f.slope) if f.reason == "too_few_rows" else f
        for f in found
    ]


def _judge(name: str, p: Vector, y: Vector, wide: float) -> Judgement:
    unknown = (float("nan"),) * 3
    if len(p) < MIN_ROWS:
        return Judgement(name, len(p), False, "too_few_rows", unknown, unknown)
    mean = _mean(p, y, wide)
    if min(y.sum(), (1 - y).sum()) < MIN_OUTCOMES:
        return Judgement(name, len(p), False, "too_few_outcomes", mean, unknown)
    try:
        line, covariance = logistic_line(logit(np.clip(p, 1e-6, 1 - 1e-6)), y)
    except InputError:
        return Judgement(name, len(p), False, "slope_off", mean, unknown)
    half = wide * float(np.sqrt(covariance[1, 1]))
    slope = (float(line[1]), float(line[1]) - half, float(line[1]) + half)
    if not (mean[1] <= 0 <= mean[2] or abs(mean[0]) <= RELATIVE_MEAN):
        return Judgement(name, len(p), False, "mean_off", mean, slope)
    if not (slope[1] <= 1 <= slope[2] or SLOPES[0] <= slope[0] <= SLOPES[1]):
        return Judgement(name, len(p), False, "slope_off", mean, slope)
    return Judgement(name, len(p), True, "held", mean, slope)


def _mean(p: Vector, y: Vector, wide: float) -> tuple[float, float, float]:
    level = max(float(p.mean()), 1e-12)
    off = float((y - p).mean()) / level
    half = wide * float((y - p).std(ddof=1)) / np.sqrt(len(p)) / level
    return off, off - half, off + half


__all__ = ["MIN_OUTCOMES", "MIN_ROWS", "OVERALL", "RELATIVE_MEAN", "SLOPES", "Judgement", "contract"]
