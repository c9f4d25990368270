"""Uplift models on simulated shops: the effects planted there, and none on the shops without any."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.repeated import seeds_of
from experiments.benchmarks.uplift.judged import SHARES, Terms, figure_rows, intervals, name_at, terms_of
from features.dataset import Dataset
from features.engine import Engine
from features.home import home
from features.ingest import ingest
from features.schema import Columns, EventType
from features.shop import Shop, ShopConfig
from features.shop.campaign import WINDOW_DAYS, CampaignConfig, run_campaign
from features.snapshot import build_snapshot
from training.train import Notify
from training.uplift.calibration import Calibrated
from training.uplift.effects import Bools, Doubles, pseudo_outcomes
from training.uplift.randomisation import check_randomised
from training.uplift.trial import Contrast, read_trial
from training.uplift.zoo import UPLIFT_MODELS

#: Of each shop; about six in ten users allow e-mail and are known, some 39,500.
USERS, EVENTS = 68_000, 700_000

#: Of the participants, kept apart to be judged on.
TEST_SHARE = 0.3

_SPLIT_STREAM = 5


@dataclass(frozen=True, slots=True)
class _Shop:
    contrast: Contrast
    truth: Doubles
    #: Visits of the same people if messages changed nothing.
    null_y: Doubles


def benchmark_planted(
    seeds: Iterable[int], notify: Notify | None = None, *, users: int = USERS, events: int = EVENTS
) -> dict[str, Any]:
    """All models on one shop with planted effects and one without per seed, judged on participants kept apart.

    ``rows``: per model mean and deviation over shops of the rank correlation with the true uplift (Spearman), the slope
    of the true and of the observed effects on the predicted, and the figures of the log. ``null``: what each model
    claims on the shops without effects. That no model claims anything on any of them is one statement, so the
    intervals there share one error of 5 % between all shops, models and figures.
    """
    chosen = seeds_of(seeds)
    shops: list[dict[str, Any]] = []
    for number, seed in enumerate(chosen):
        began = time.perf_counter()
        shop = _read(seed, users, events)
        if notify is not None:
            notify(f"shop {seed}", number, len(chosen), {})
        test = np.random.default_rng([seed, _SPLIT_STREAM]).random(len(shop.truth)) < TEST_SHARE
        planted = _judged(shop.contrast, shop.contrast.y, test, shop.truth, 0.95)
        nothing = _judged(shop.contrast, shop.null_y, test, None, 1 - 0.05 / len(chosen))
        shops.append({"seed": seed, "n": int(test.sum()), "planted": planted, "null": nothing})
        shops[-1]["seconds"] = time.perf_counter() - began
        if notify is not None:
            best = max(row["metrics"]["rank_correlation"] for row in planted)
            notify(f"shop {seed}", number + 1, len(chosen), {"rank_correlation": best})
    rows = [_row(name, shops) for name in UPLIFT_MODELS]
    claims = [(shop["seed"], row["model"], what) for shop in shops for row in shop["null"] for what in row["claims"]]
    return {
        "benchmark": "uplift-planted",
        "data": f"simulated, {users} users, {events} events, seeds {', '.join(map(str, chosen))}",
        "machine": machine(),
        "seeds": len(chosen),
        "rows": rows,
        "null": {"shops": len(shops), "claims": claims},
        "shops": shops,
        "ratios": {},
    }


def _read(seed: int, users: int, events: int) -> _Shop:
    """A shop with a campaign, written, taken in, and read as of the mailing."""
    shop = Shop(ShopConfig.of(seed=seed, users=users, events=events))
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        files, out = Path(scratch) / "files", Path(scratch) / "data"
        shop.write(files)
        campaign = run_campaign(shop, files, CampaignConfig())
        nothing = run_campaign(shop, files, CampaignConfig(null=True))
        campaign.append(files)
        ingest(files, "tables", out)
        dataset = Dataset.open(out)
        known = build_snapshot(engine, dataset, campaign.mailed_ms).user_matrix
        took_part = campaign.participants[Columns.USER_ID]
        trial = read_trial(
            engine,
            dataset,
            known[known.index.isin(took_part)],
            sent_ms=campaign.mailed_ms,
            outcome=EventType.VISIT,
            window_days=WINDOW_DAYS,
        )
    (arm,) = trial.arms
    contrast = trial.against_control(arm)
    at = took_part.searchsorted(contrast.user_ids)
    null_y = nothing.participants["visit"].to_numpy(np.float64)[at]
    return _Shop(contrast, campaign.uplift[arm][at], null_y)


def _judged(
    contrast: Contrast, y: Doubles, test: Bools, truth: Doubles | None, confidence: float
) -> list[dict[str, Any]]:
    """A row per model; without a truth, what it claims."""
    x, treated = contrast.x, contrast.treated
    check_randomised(x, treated, names=contrast.names)
    effects = pseudo_outcomes(treated[test], y[test])
    models: dict[str, Terms] = {}
    more: dict[str, dict[str, Any]] = {}
    for name, model in UPLIFT_MODELS.items():
        began = time.perf_counter()
        fitted = Calibrated(model()).fit(x[~test], treated[~test], y[~test])
        predicted = fitted.predict(x[test])
        models[name] = terms_of(predicted, predicted, effects)
        more[name] = {"seconds": time.perf_counter() - began, "learned_slope": fitted.line.slope}
        if truth is not None:
            more[name] |= _against_truth(predicted, truth[test])
    rows = figure_rows(models, confidence=confidence)
    if truth is None:
        # All figures of all models are one family: any of them above zero is a claim.
        every = {f"{name} {figure}": terms[figure] for name, terms in models.items() for figure in _CLAIMED}
        found = intervals(every | {"all mean": effects}, confidence=confidence)
        for row in rows:
            row["claims"] = [
                f"{figure} {found[name].low:+.4f} to {found[name].high:+.4f}"
                for figure in (*_CLAIMED, "mean")
                if (name := f"{'all' if figure == 'mean' else row['model']} {figure}") in found
                if found[name].low > 0 or found[name].high < 0
            ]
    return [row | {"more": more[row["model"]]} | _merged(row, more[row["model"]]) for row in rows]


_CLAIMED = ("qini", *map(name_at, SHARES))


def _against_truth(predicted: Doubles, truth: Doubles) -> dict[str, float]:
    if np.ptp(predicted) == 0:
        return {"rank_correlation": 0.0, "true_slope": 0.0}
    moved = predicted - predicted.mean()
    return {
        "rank_correlation": float(spearmanr(predicted, truth).statistic),
        "true_slope": float(moved @ truth / (moved @ moved)),
    }


def _merged(row: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    truth = {name: more[name] for name in ("rank_correlation", "true_slope") if name in more}
    return {"metrics": row["metrics"] | truth}


def _row(name: str, shops: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [next(row for row in shop["planted"] if row["model"] == name) for shop in shops]
    figures = [figure for figure in mine[0]["metrics"] if all(figure in row["metrics"] for row in mine)]
    values = {figure: np.array([row["metrics"][figure] for row in mine]) for figure in figures}
    ddof = int(len(shops) > 1)
    return {
        "model": name,
        "metrics": {figure: float(found.mean()) for figure, found in values.items()},
        "sd": {figure: float(found.std(ddof=ddof)) for figure, found in values.items()},
        "least": {figure: float(found.min()) for figure, found in values.items()},
        "most": {figure: float(found.max()) for figure, found in values.items()},
        "orders_by_uplift": [row["orders_by_uplift"] for row in mine],
        "n": int(np.mean([shop["n"] for shop in shops])),
        "seconds": float(np.mean([row["more"]["seconds"] for row in mine])),
        "peak_mb": peak_mb(),
    }


__all__ = ["EVENTS", "TEST_SHARE", "USERS", "benchmark_planted"]
