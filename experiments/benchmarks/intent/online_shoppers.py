"""P(purchase in a session) on UCI Online Shoppers, by repeated stratified cross-validation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from scipy.special import expit

from experiments.benchmarks.cells import figure_cell
from experiments.benchmarks.intent.shopper_features import shopper_features
from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.questions import spread
from experiments.benchmarks.published.repeated import seeds_of
from features.errors import InputError, NotFoundError
from training.intent.average import Average
from training.intent.boosting import Boosting
from training.intent.calibration import Calibrator, fit_calibrator, log_losses
from training.intent.encoding import Encoder
from training.intent.logistic import Logistic
from training.intent.network import Network
from training.intent.predictor import Matrix, Predictor, Vector
from training.intent.reliability import brier, chance_calibration_error, expected_calibration_error
from training.train import Notify

FILE = "online_shoppers.parquet"
LABEL = "Revenue"
FEATURE_SETS = {"with_page_values": True, "without_page_values": False}
SINGLE: tuple[type[Predictor], ...] = (Logistic, Boosting, Network)
AVERAGED = (Boosting.name, Network.name)
MODELS = (*(model.name for model in SINGLE), Average.name)
SHOWN = ("roc_auc", "pr_auc", "ece", "brier", "log_loss")

#: Share of the file's rows, which are in order of time, that the forward split learns from.
_EARLIER = 0.8
_INNER_FOLDS = 3

Rows = NDArray[np.int64]


@dataclass
class _Answers:
    """What all models said of the test rows, and how long each took."""

    p: dict[str, Vector] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def benchmark_online_shoppers(folder: Path, seeds: Iterable[int], notify: Notify, folds: int = 5) -> dict[str, Any]:
    """Fit every model on both feature sets in ``folds`` shuffled, stratified folds per seed.

    Hyper-parameters are the models' defaults. In each fold's training part, and nowhere else, encoder and models are
    fitted, and calibrators chosen by predictions for inner folds. ROC-AUC and PR-AUC are means over folds; calibration
    error (ten bins of equal size), Brier score and log loss are of all rows, each predicted when it was left out.

    Args:
        folder: Holds ``online_shoppers.parquet``.
        seeds: One repetition each.
        notify: Told the stage, and how many of its folds are done.
        folds: At least 2.

    Returns:
        ``benchmark``, ``data``, ``machine``, ``seeds``, ``folds``, ``users``; ``rows``, one per model and ``features``;
        ``ratios`` of the network's ROC-AUC to the best; ``forward``: metrics of the last fifth of rows, from the rest.

    Raises:
        NotFoundError, InputError: No such file, or not its columns.
    """
    chosen = seeds_of(seeds)
    frame = _read(folder)
    y = frame[LABEL].to_numpy(dtype=np.float64)
    rows: list[dict[str, Any]] = []
    forward: dict[str, dict[str, dict[str, float]]] = {}
    for features, page_values in FEATURE_SETS.items():
        table = shopper_features(frame, page_values=page_values)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
        seconds: dict[str, list[float]] = {name: [] for name in MODELS}
        for seed in chosen:
            metrics, took = _repetition(table, y, seed, folds, f"{features}, seed {seed}", notify)
            for name in MODELS:
                found[name].append(metrics[name])
                seconds[name].append(took[name])
        rows += [_row(name, features, found[name], seconds[name], len(y)) for name in MODELS]
        notify(f"{features}, forward in time", 0, 1, {})
        forward[features] = _forward(table, y, chosen[0])
    return {
        "benchmark": "intent",
        "data": folder.name,
        "machine": machine(),
        "seeds": len(chosen),
        "folds": folds,
        "users": len(y),
        "rows": rows,
        "ratios": {f"network_over_best_{features}": _ratio(rows, features) for features in FEATURE_SETS},
        "forward": forward,
    }


def render_online_shoppers(result: dict[str, Any]) -> Table:
    """One line per feature set and model: metrics ± the deviation over seeds, seconds of one seed, memory."""
    about = f"{result['data']}: {result['users']:,} sessions, {result['seeds']} x {result['folds']} folds"
    table = Table(title=about, caption=", ".join(f"{name} {value:.4f}" for name, value in result["ratios"].items()))
    for column in ("features", "model", *(name.replace("_", " ") for name in SHOWN), "seconds", "peak MB"):
        table.add_column(column, justify="left" if column in ("features", "model") else "right")
    for row in result["rows"]:
        values = [figure_cell(row, name, runs=result["seeds"]) for name in SHOWN]
        table.add_row(row["features"], row["model"], *values, f"{row['seconds']:,.0f}", f"{row['peak_mb']:,.0f}")
    return table


def _read(folder: Path) -> pd.DataFrame:
    path = folder / FILE
    if not path.is_file():
        raise NotFoundError(FILE, "must be in the folder", folder.name, "name the folder of UCI Online Shoppers")
    frame = pd.read_parquet(path)
    if LABEL not in frame or "PageValues" not in frame:
        raise InputError(FILE, f"must have PageValues and {LABEL}", list(frame.columns))
    return frame


def _repetition(
    table: pd.DataFrame, y: Vector, seed: int, folds: int, label: str, notify: Notify
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    from sklearn.model_selection import StratifiedKFold

    pooled = {name: np.empty(len(y)) for name in MODELS}
    ranked: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
    took = dict.fromkeys(MODELS, 0.0)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y)
    for fold, (train, test) in enumerate(split):
        notify(label, fold, folds, {})
        answers = _fold(table, y, train, test, seed)
        for name in MODELS:
            pooled[name][test] = answers.p[name]
            ranked[name].append(_ranking(answers.p[name], y[test]))
            took[name] += answers.seconds[name]
    return {name: spread(ranked[name])[0] | _numbers(pooled[name], y) for name in MODELS}, took


def _fold(table: pd.DataFrame, y: Vector, train: Rows, test: Rows, seed: int) -> _Answers:
    """Everything is learnt from ``train``; ``y`` of ``test`` is not looked at."""
    from sklearn.model_selection import StratifiedKFold

    encoder = Encoder.fit(table.iloc[train])
    x, asked, known = encoder.transform(table.iloc[train]), encoder.transform(table.iloc[test]), y[train]
    inner = list(StratifiedKFold(_INNER_FOLDS, shuffle=True, random_state=seed).split(x, known))
    answers = _Answers()
    left_out: dict[str, Vector] = {}
    final: dict[str, Vector] = {}
    for model in SINGLE:
        began = time.perf_counter()
        left_out[model.name] = np.empty(len(known))
        for within, out in inner:
            left_out[model.name][out] = _log_odds(model, seed, x[within], known[within], x[out])
        final[model.name] = _log_odds(model, seed, x, known, asked)
        answers.seconds[model.name] = time.perf_counter() - began
    # The average of members that are fitted anyway.
    left_out[Average.name] = np.mean([left_out[name] for name in AVERAGED], axis=0)
    final[Average.name] = np.mean([final[name] for name in AVERAGED], axis=0)
    answers.seconds[Average.name] = sum(answers.seconds[name] for name in AVERAGED)
    for name in MODELS:
        calibrator: Calibrator = fit_calibrator(expit(left_out[name]), known, seed=seed)
        answers.p[name] = calibrator.apply(expit(final[name]))
    return answers


def _log_odds(model: type[Predictor], seed: int, x: Matrix, y: Vector, asked: Matrix) -> Vector:
    seeded = {"seed": seed} if "seed" in model.Config.model_fields else {}
    return model(**seeded).fit(x, y).log_odds(asked)


def _forward(table: pd.DataFrame, y: Vector, seed: int) -> dict[str, dict[str, float]]:
    border = int(len(y) * _EARLIER)
    answers = _fold(table, y, np.arange(border), np.arange(border, len(y)), seed)
    later = y[border:]
    return {name: _ranking(answers.p[name], later) | _numbers(answers.p[name], later) for name in MODELS}


def _ranking(p: Vector, y: Vector) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {"roc_auc": float(roc_auc_score(y, p)), "pr_auc": float(average_precision_score(y, p))}


def _numbers(p: Vector, y: Vector) -> dict[str, float]:
    return {
        "ece": expected_calibration_error(p, y),
        "ece_by_chance": chance_calibration_error(p)[0],
        "brier": brier(p, y),
        "log_loss": float(log_losses(p, y).mean()),
    }


def _row(model: str, features: str, found: list[dict[str, float]], seconds: Sequence[float], n: int) -> dict[str, Any]:
    metrics, sd = spread(found)
    took = float(np.mean(seconds))
    about = {"model": model, "features": features, "n": n, "seconds": took, "peak_mb": peak_mb()}
    return about | {"metrics": metrics, "sd": sd}


def _ratio(rows: list[dict[str, Any]], features: str) -> float:
    of = {row["model"]: row["metrics"]["roc_auc"] for row in rows if row["features"] == features}
    return float(of[Network.name] / max(of.values()))


__all__ = ["FEATURE_SETS", "MODELS", "benchmark_online_shoppers", "render_online_shoppers"]
