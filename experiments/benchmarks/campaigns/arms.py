"""What is fitted on the pairs of earlier campaigns, and what it says of the households of the next."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from experiments.benchmarks.campaigns.pairs import RFM, Campaign
from training.intent.average import Average
from training.intent.boosting import Boosting
from training.intent.calibration import fit_calibrator
from training.intent.encoding import Encoder
from training.intent.judged import CALIBRATED_BY
from training.intent.logistic import Logistic
from training.intent.network import Network
from training.intent.predictor import Matrix, Predictor, Vector

BASELINE = "rfm"
_SHRUNK = "_shrunk"
_FOLDS = 3

#: Arms of one predictor each. A campaign has few who redeem: each predictor also comes with hardly any freedom.
SINGLE: dict[str, tuple[type[Predictor], Mapping[str, Any]]] = {
    BASELINE: (Logistic, {"pieces": 0, "ridge": 1.0}),
    Logistic.name: (Logistic, {}),
    Boosting.name: (Boosting, {}),
    Network.name: (Network, {}),
    Logistic.name + _SHRUNK: (Logistic, {"pieces": 0, "ridge": 1_000.0}),
    Boosting.name + _SHRUNK: (Boosting, {"trees": 200, "leaves": 2, "columns": 0.1, "rate": 0.02}),
    Network.name + _SHRUNK: (Network, {"pieces": 0, "epochs": 10, "decay": 1.0}),
}
#: Arms whose log-odds are means of others'.
AVERAGES: dict[str, tuple[str, ...]] = {
    Average.name: (Boosting.name, Network.name),
    Average.name + _SHRUNK: tuple(model.name + _SHRUNK for model in (Logistic, Boosting, Network)),
}
MODELS = (*SINGLE, *AVERAGES)


@dataclass(frozen=True, slots=True)
class Said:
    """By arm, what was said of the n households of one campaign.

    Attributes:
        ranked: (n,) log-odds.
        probability: (n,), calibrated; empty where that was not asked for.
        seconds: For learning and answering.
    """

    ranked: dict[str, Vector]
    probability: dict[str, Vector]
    seconds: dict[str, float]


def ask_arms(past: Sequence[Campaign], campaign: Campaign, seed: int, *, calibrate: bool = True) -> Said:
    """Learn from all pairs of ``past``, which have ended, and answer for ``campaign``, whose outcome is not read.

    With ``calibrate`` there are probabilities as well; calibrators learn from predictions of households that were left
    out, with all of their pairs.
    """
    rows = pd.concat([one.rows for one in past])
    y = np.concatenate([one.redeemed for one in past])
    fold = _folds(rows.index, seed)
    left_out: dict[str, Vector] = {}
    final: dict[str, Vector] = {}
    seconds: dict[str, float] = {}
    for name, (model, settings) in SINGLE.items():
        began = time.perf_counter()
        read = [*RFM, "campaign_type"] if name == BASELINE else list(rows)
        encoder = Encoder.fit(rows[read])
        x, asked = encoder.transform(rows[read]), encoder.transform(campaign.rows[read])
        left_out[name] = np.empty(len(y))
        for number in range(_FOLDS if calibrate else 0):
            out = fold == number
            left_out[name][out] = _log_odds(model, settings, seed, x[~out], y[~out], x[out])
        final[name] = _log_odds(model, settings, seed, x, y, asked)
        seconds[name] = time.perf_counter() - began
    for name, members in AVERAGES.items():
        left_out[name] = np.mean([left_out[member] for member in members], axis=0)
        final[name] = np.mean([final[member] for member in members], axis=0)
        seconds[name] = sum(seconds[member] for member in members)
    if not calibrate:
        return Said(final, {}, seconds)
    right = {name: fit_calibrator(expit(left_out[name]), y, CALIBRATED_BY) for name in MODELS}
    return Said(final, {name: right[name].apply(expit(final[name])) for name in MODELS}, seconds)


def _log_odds(
    model: type[Predictor], settings: Mapping[str, Any], seed: int, x: Matrix, y: Vector, asked: Matrix
) -> Vector:
    seeded = {"seed": seed} if "seed" in model.Config.model_fields else {}
    return model(**{**settings, **seeded}).fit(x, y).log_odds(asked)


def _folds(households: pd.Index, seed: int) -> NDArray[np.int64]:
    number, ids = pd.factorize(households)
    shuffled: NDArray[np.int64] = np.random.default_rng(seed).permutation(len(ids)) % _FOLDS
    return shuffled[number]


__all__ = ["AVERAGES", "BASELINE", "MODELS", "SINGLE", "Said", "ask_arms"]
