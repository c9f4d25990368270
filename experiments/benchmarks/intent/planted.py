"""P(a user buys within 7 and 30 days) on simulated shops, against the chance that each user truly has."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from scipy.stats import spearmanr

from experiments.benchmarks.cells import figure_cell
from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.repeated import seeds_of
from experiments.statistics import mean_interval
from experiments.uplift_metrics import slope_terms
from features.dataset import Dataset
from features.engine import Engine
from features.home import home
from features.ids import Vocabulary
from features.ingest import ingest
from features.schema import DAY_MS, Columns
from features.shop import Shop, ShopConfig
from features.snapshot import build_snapshot
from training.intent.contract import MIN_ROWS, OVERALL
from training.intent.fit import SEGMENTED, fit_user_intent, readable_columns
from training.intent.heads import Head, segments_of
from training.intent.predictor import Vector
from training.intent.targets import TARGETS, Target
from training.train import Notify

#: Of each shop.
USERS, EVENTS = 10_000, 400_000
#: Asked so many days before the log ends: as long as the longest horizon.
LAST_DAYS = 30
ASKED = tuple(target for target in TARGETS if not target.absent)
#: What the slope of the truth on the predictions should be.
SLOPES = (0.9, 1.1)


@dataclass(frozen=True, slots=True)
class Read:
    """A shop as of the instant of the question.

    Attributes:
        users: (n, columns) what is known of each user.
        attributes: Names of the demographic ones.
        heads: By target.
        truth: By target (n,) the true chance of each user.
        seconds: For fitting.
    """

    users: pd.DataFrame
    attributes: tuple[str, ...]
    heads: dict[str, Head]
    truth: dict[str, Vector]
    seconds: float


def benchmark_planted_intent(
    seeds: Iterable[int],
    notify: Notify | None = None,
    *,
    users: int = USERS,
    events: int = EVENTS,
    targets: tuple[Target, ...] = ASKED,
    predictor: str = "boosting",
) -> dict[str, Any]:
    """Fit the heads on one shop per seed as of ``LAST_DAYS`` before its end, and ask them of every known user then.

    What is told as a probability is held against the chance that the user truly has (``Shop.purchase_chance``): the
    slope of truth on prediction with an interval over users, the mean error, the absolute error; of all users and of
    each segment that the contract judges. Who is told a rank only is counted and left out.

    Args:
        targets: Of purchases, with whole days.

    Returns:
        ``rows``, one per target: means and deviations over shops, and in ``least`` and ``most`` the extremes of the
        slopes of segments. ``shops``: each shop's figures by target and segment.
    """
    tell = notify or (lambda *_: None)
    chosen = seeds_of(seeds)
    shops: list[dict[str, Any]] = []
    for number, seed in enumerate(chosen):
        tell(f"shop {seed}", number, len(chosen), {})
        read = read_shop(seed, users, events, targets, predictor)
        judged = {target.name: judge(read, target.name) for target in targets}
        shops.append({"seed": seed, "n": len(read.users), "seconds": read.seconds, "targets": judged})
        tell(f"shop {seed}", number + 1, len(chosen), {f"slope {n}": j[OVERALL]["slope"] for n, j in judged.items()})
    return {
        "benchmark": "intent-planted",
        "data": f"simulated, {users} users, {events} events, seeds {', '.join(map(str, chosen))}",
        "machine": machine(),
        "seeds": len(chosen),
        "rows": [_row(target.name, predictor, shops) for target in targets],
        "shops": shops,
        "ratios": {},
    }


def read_shop(seed: int, users: int, events: int, targets: tuple[Target, ...], predictor: str) -> Read:
    """A shop, written, taken in and read, and the truth about its users."""
    shop = Shop(ShopConfig.of(seed=seed, users=users, events=events))
    as_of_ms = shop.config.end_ms - LAST_DAYS * DAY_MS
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        files, out = Path(scratch) / "files", Path(scratch) / "data"
        shop.write(files)
        ingest(files, "tables", out)
        dataset = Dataset.open(out)
        began = time.perf_counter()
        contenders = {predictor: {"predictor": predictor}}
        fitted = fit_user_intent(engine, dataset, as_of_ms, targets, contenders=contenders, seed=seed).won
        seconds = time.perf_counter() - began
        snapshot = build_snapshot(engine, dataset, as_of_ms)
    known = readable_columns(snapshot.user_matrix)
    number = Vocabulary(shop.users[Columns.USER_ID]).encode(known.index).astype(np.int64)
    truth = {target.name: shop.purchase_chance(number, as_of_ms, as_of_ms + target.horizon_ms) for target in targets}
    return Read(known, snapshot.attributes, dict(fitted.heads), truth, seconds)


def judge(read: Read, target: str) -> dict[str, dict[str, float]]:
    """Figures of one head by segment, ``all`` first."""
    head, truth = read.heads[target], read.truth[target]
    told = head.chances(read.users).probability
    segments = {OVERALL: np.ones(len(truth), dtype=bool)}
    segments |= segments_of(read.users, [*read.attributes, *SEGMENTED], MIN_ROWS)
    found = {}
    for name, rows in segments.items():
        known = rows & np.isfinite(told)
        figures = {"n": float(rows.sum()), "told": float(known.sum() / rows.sum())}
        if known.sum() >= MIN_ROWS:
            figures |= against_truth(told[known], truth[known])
        found[name] = figures
    return found


def against_truth(told: Vector, truth: Vector) -> dict[str, float]:
    """Mean of the truth, relative mean error, mean absolute error, rank correlation; slope of truth on what is told.

    The slope's interval is over users (95 %); predictions that are all alike have none.
    """
    figures = {
        "mean_truth": float(truth.mean()),
        "mean_error": float(told.mean() / truth.mean() - 1),
        "absolute_error": float(np.abs(told - truth).mean()),
    }
    terms = slope_terms(told, truth)
    if terms is None:
        return figures
    interval = mean_interval(terms, seed=0)
    figures |= {"slope": interval.mean, "slope_low": interval.low, "slope_high": interval.high}
    return figures | {"rank_correlation": float(spearmanr(told, truth).statistic)}


def _row(target: str, predictor: str, shops: list[dict[str, Any]]) -> dict[str, Any]:
    overall = [shop["targets"][target][OVERALL] for shop in shops]
    parts = [
        (shop["seed"], segment, figures["slope"])
        for shop in shops
        for segment, figures in shop["targets"][target].items()
        if segment != OVERALL and "slope" in figures
    ]
    names = [name for name in overall[0] if name != "n" and all(name in figures for figures in overall)]
    values = {name: np.array([figures[name] for figures in overall]) for name in names}
    ddof = int(len(shops) > 1)
    return {
        "model": predictor,
        "target": target,
        "metrics": {name: float(found.mean()) for name, found in values.items()},
        "sd": {name: float(found.std(ddof=ddof)) for name, found in values.items()},
        "least": min(parts, key=lambda part: part[2], default=None),
        "most": max(parts, key=lambda part: part[2], default=None),
        "segments": len(parts),
        "segments_within": sum(SLOPES[0] <= slope <= SLOPES[1] for _, _, slope in parts),
        "n": int(np.mean([shop["n"] for shop in shops])),
        "seconds": float(np.mean([shop["seconds"] for shop in shops])),
        "peak_mb": peak_mb(),
    }


def render_planted_intent(result: dict[str, Any]) -> Table:
    """A line per target: figures of all users, and between which slopes the segments are."""
    table = Table(title=f"{result['data']}: {result['rows'][0]['n']:,} users asked per shop")
    shown = ("mean_truth", "told", "slope", "mean_error", "absolute_error", "rank_correlation")
    for column in ("target", *(name.replace("_", " ") for name in shown), "segments' slopes", "within", "seconds"):
        table.add_column(column, justify="left" if column == "target" else "right")
    for row in result["rows"]:
        # Where a shop's head is refused for all, there are no figures.
        figures = [figure_cell(row, name, runs=result["seeds"]) for name in shown]
        spread = "" if row["least"] is None else f"{row['least'][2]:.3f} to {row['most'][2]:.3f}"
        within = f"{row['segments_within']} of {row['segments']}"
        table.add_row(row["target"], *figures, spread, within, f"{row['seconds']:,.0f}")
    return table


__all__ = [
    "ASKED",
    "EVENTS",
    "USERS",
    "Read",
    "against_truth",
    "benchmark_planted_intent",
    "judge",
    "read_shop",
    "render_planted_intent",
]
