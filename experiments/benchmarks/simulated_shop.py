"""How much of the planted truth the arms find, on several simulated shops, and whether they find any where none is."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments.benchmarks.machine import machine, peak_mb
from experiments.compare import Comparison, compare
from experiments.demo import CONTROL, SIMULATED_HORIZON_DAYS, demo_experiment
from experiments.replay import measure
from features.dataset import Dataset
from features.engine import Engine
from features.ids import Vocabulary
from features.ingest import ingest
from features.schema import DAY_MS, Columns
from features.shop import Shop, ShopConfig
from training.recommender import top_k
from training.train import Notify

K = 20
METRIC = f"ndcg@{K}"


def benchmark_simulated_shop(seeds: Iterable[int], events: int, notify: Notify | None = None) -> dict[str, Any]:
    """Run the demo's experiment on one shop with taste and one without per seed.

    ``rows``: mean and standard deviation over seeds of each arm's metric, and of its share of the metric that the
    ranking by planted truth reaches. ``null``: the verdicts on the shops without taste.
    """
    shops, nulls = [], []
    for seed in seeds:
        shops.append(_one(seed, events, null=False, notify=notify))
        nulls.append(_one(seed, events, null=True, notify=notify))
    arms = shops[0]["arms"]
    return {
        "benchmark": "simulated-shop",
        "data": f"simulated, {events} events, seeds {', '.join(str(shop['seed']) for shop in shops)}",
        "machine": machine(),
        "rows": [_row(name, shops) for name in [*arms, "truth"]],
        "seeds": shops,
        "null": nulls,
        "ratios": {
            "best_arm_over_truth": [shop["best_over_truth"] for shop in shops],
            "null_ships": sum(len(shop["ships"]) for shop in nulls),
        },
    }


def _one(seed: int, events: int, *, null: bool, notify: Notify | None) -> dict[str, Any]:
    label = f"{'null shop' if null else 'shop'} {seed}"
    started = time.perf_counter()

    def tell(stage: str, done: int, of: int, metrics: dict[str, float]) -> None:
        if notify is not None:
            notify(f"{label}: {stage}", done, of, metrics)

    shop = Shop(ShopConfig(seed=seed, events=events, null=null))
    with tempfile.TemporaryDirectory() as scratch:
        files, out = Path(scratch) / "files", Path(scratch) / "data"
        shop.write(files)
        ingest(files, "tables", out)
        dataset = Dataset.open(out)
        experiment = demo_experiment(label, out, "tables", seed=seed)
        with Engine.duckdb() as engine:
            comparison = compare(engine, dataset, experiment, tell)
    report = comparison.report
    arms = {
        name: {"mean": arm[METRIC]["mean"], "low": arm[METRIC]["low"], "high": arm[METRIC]["high"]}
        | ({"lift": arm["lift"], "verdict": arm["verdict"]} if "lift" in arm else {})
        for name, arm in report["arms"].items()
    }
    best = max(arms, key=lambda name: arms[name]["mean"])
    truth = float(_truth(shop, comparison).mean())
    return {
        "seed": seed,
        "n_users": report["n_users"],
        "arms": arms,
        "truth": truth,
        "best": best,
        "best_over_truth": arms[best]["mean"] / truth,
        "ships": [name for name, arm in arms.items() if arm.get("verdict") == "ship"],
        "seconds": round(time.perf_counter() - started, 1),
        "peak_mb": round(peak_mb(), 1),
    }


def _truth(shop: Shop, comparison: Comparison) -> np.ndarray:
    """The metric per deciding user of ranking by the purchases that the shop's own truth expects in the window."""
    asked, snapshot = comparison.asked, comparison.trained.snapshot
    members = np.flatnonzero(asked.groups == comparison.report["group"])
    users = Vocabulary(shop.users[Columns.USER_ID]).encode(asked.histories.user_ids[members]).astype(np.int64)
    until_ms = snapshot.as_of_ms + round(SIMULATED_HORIZON_DAYS * DAY_MS)
    rates = shop.purchase_rate(users, snapshot.as_of_ms, until_ms)
    known = Vocabulary(shop.items[Columns.ITEM_ID]).encode(snapshot.items.ids)
    ids, _ = top_k(rates[:, known], K)
    return measure(ids, asked.take(members), K, len(snapshot.items)).metrics[METRIC]


def _row(name: str, shops: list[dict[str, Any]]) -> dict[str, Any]:
    values = np.array([shop["truth"] if name == "truth" else shop["arms"][name]["mean"] for shop in shops])
    shares = values / np.array([shop["truth"] for shop in shops])
    return {
        "model": name,
        "metrics": {METRIC: float(values.mean()), "share_of_truth": float(shares.mean())},
        "sd": {METRIC: _sd(values), "share_of_truth": _sd(shares)},
        "n": int(np.mean([shop["n_users"] for shop in shops])),
        "seconds": float(np.mean([shop["seconds"] for shop in shops])),
        "peak_mb": max(shop["peak_mb"] for shop in shops),
    }


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def render_benchmark(result: dict[str, Any]) -> Table:
    """The rows as a table, with the lift over the control on every seed."""
    table = Table(title=f"{result['data']}; null shops that would ship: {result['ratios']['null_ships']}")
    for column in ("arm", METRIC, "share of truth", f"seeds with interval above {CONTROL}"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for row in result["rows"]:
        name = row["model"]
        above = sum(shop["arms"][name].get("lift", {}).get("low", 0) > 0 for shop in result["seeds"] if name != "truth")
        table.add_row(
            name,
            f"{row['metrics'][METRIC]:.4f} ±{row['sd'][METRIC]:.4f}",
            f"{row['metrics']['share_of_truth']:.1%} ±{row['sd']['share_of_truth']:.1%}",
            "" if name in ("truth", CONTROL) else f"{above} of {len(result['seeds'])}",
        )
    return table


__all__ = ["benchmark_simulated_shop", "render_benchmark"]
