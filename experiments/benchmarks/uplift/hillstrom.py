"""The MineThatData e-mail test: does any model rank its customers by what an e-mail changes in their visits?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.repeated import seeds_of
from experiments.benchmarks.uplift.judged import Terms, comparison, figure_rows, intervals, mean_terms, terms_of
from experiments.uplift_metrics import qini_curve
from features.dataset import Dataset
from features.engine import Engine
from features.home import home
from features.ingest import ingest
from features.schema import Columns, EventType
from features.sources.hillstrom import MAILED_MS
from training.folds import folds_of
from training.train import Notify
from training.uplift.calibration import Calibrated
from training.uplift.effects import Doubles, pseudo_outcomes
from training.uplift.randomisation import check_randomised
from training.uplift.trial import Contrast, Trial, read_trial
from training.uplift.zoo import UPLIFT_MODELS

WINDOW_DAYS = 14
FOLDS = 5


def benchmark_hillstrom(folder: Path, seeds: Iterable[int], notify: Notify | None = None) -> dict[str, Any]:
    """All models on both arms against control: every customer is judged by models that have not seen them.

    Each seed splits the customers anew into ``FOLDS`` folds; a customer's terms are averaged over seeds, then customers
    are resampled. Ranking figures are those of the raw predictions, the slope is that of the calibrated ones.

    Args:
        folder: Holds ``hillstrom.parquet``.
        seeds: At least one.
        notify: Told (stage, done, of, metrics).

    Raises:
        InputError: The log is not randomised, or the file is not as expected.
    """
    chosen = seeds_of(seeds)
    trial = _trial(folder)
    rows: list[dict[str, Any]] = []
    arms: dict[str, Any] = {}
    for arm in trial.arms:
        contrast = trial.against_control(arm)
        balance = check_randomised(contrast.x, contrast.treated, names=contrast.names)
        effects = pseudo_outcomes(contrast.treated, contrast.y)
        models, seconds, curves = {}, {}, {}
        by_seed: dict[str, list[float]] = {}
        for done, name in enumerate(UPLIFT_MODELS):
            began = time.perf_counter()
            repeats, ranked = [], np.zeros(len(effects))
            for seed in chosen:
                terms, raw = _out_of_fold(name, contrast, effects, seed)
                repeats.append(terms)
                ranked += raw / len(chosen)
                if notify is not None:
                    notify(f"{arm}: {name}, seed {seed}", done + 1, len(UPLIFT_MODELS), {"qini": terms["qini"].mean()})
            models[name], seconds[name] = mean_terms(repeats), (time.perf_counter() - began) / len(chosen)
            by_seed[name] = [float(terms["qini"].mean()) for terms in repeats]
            curves[name] = _thinned(*qini_curve(ranked, effects))
        mean = intervals({"mean": effects})["mean"]
        for row in figure_rows(models):
            name = row["model"]
            spread = float(np.std(by_seed[name], ddof=1)) if len(chosen) > 1 else 0.0
            rows.append(
                {"arm": arm, **row, "sd": {"qini": spread}}
                | {"n": len(effects), "seconds": seconds[name], "peak_mb": peak_mb()}
            )
        arms[arm] = {
            "n": len(effects),
            "uplift": mean.as_json(),
            "balance_p": balance.p_value,
            "models": comparison(models),
            "curves": curves,
        }
    return {
        "benchmark": "uplift-hillstrom",
        "data": folder.name,
        "machine": machine(),
        "seeds": len(chosen),
        "rows": rows,
        "arms": arms,
        "ratios": {},
    }


def _trial(folder: Path) -> Trial:
    """The test as its event log tells it."""
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        ingest(folder, "hillstrom", Path(scratch) / "data")
        dataset = Dataset.open(Path(scratch) / "data")
        users = engine.to_pandas(dataset.users(engine)).set_index(Columns.USER_ID).sort_index()
        return read_trial(
            engine,
            dataset,
            users[list(dataset.attributes)],
            sent_ms=MAILED_MS,
            outcome=EventType.VISIT,
            window_days=WINDOW_DAYS,
        )


def _out_of_fold(name: str, contrast: Contrast, effects: Doubles, seed: int) -> tuple[Terms, Doubles]:
    """The terms, and each customer's place in their fold by raw prediction."""
    x, treated, y = contrast.x, contrast.treated, contrast.y
    fold = folds_of(len(x), FOLDS, seed)
    raw, predicted, place = np.empty(len(x)), np.empty(len(x)), np.empty(len(x))
    for held_out in range(FOLDS):
        rest, out = fold != held_out, fold == held_out
        model = Calibrated(UPLIFT_MODELS[name](), seed=seed).fit(x[rest], treated[rest], y[rest])
        raw[out] = model.raw(x[out])
        predicted[out] = model.calibrated(raw[out])
        place[out] = raw[out].argsort(kind="stable").argsort(kind="stable") / out.sum()
    return terms_of(raw, predicted, effects, fold), place


def _thinned(shares: Doubles, gains: Doubles, points: int = 101) -> dict[str, list[float]]:
    grid = np.linspace(0, 1, points)
    return {"share": grid.tolist(), "gain": np.interp(grid, shares, gains).tolist()}


__all__ = ["benchmark_hillstrom"]
