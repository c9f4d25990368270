"""How much of the planted truth the arms find, on several simulated shops, and whether they find any where none is."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments.benchmarks.cells import figure_cell, lift_cell
from experiments.benchmarks.machine import machine, peak_mb
from experiments.compare import Comparison, compare
from experiments.replay import measure, replay
from experiments.standard import CONTROL, SIMULATED_HORIZON_DAYS, standard_experiment
from experiments.statistics import paired_bootstrap
from features.dataset import Dataset
from features.engine import Engine
from features.ids import Vocabulary
from features.ingest import ingest
from features.schema import DAY_MS, Columns
from features.shop import Shop, ShopConfig
from features.split import Moment, ask
from training.metrics import PerUser
from training.recommender import top_k
from training.train import Notify

K = 20
METRIC = f"ndcg@{K}"
BLEND = "blend"

#: Where there is no taste, the question is whether an arm that personalises claims to be better than popularity. The
#: two counts of popularity are not held against each other: new items make their difference real there, too.
NULL_CONTROL = "popular_all_time"


def benchmark_simulated_shop(seeds: Iterable[int], events: int, notify: Notify | None = None) -> dict[str, Any]:
    """Run the demo's experiment on one shop with taste and one without per seed.

    ``rows``: mean and standard deviation over seeds of each arm's metric, and of its share of the metric that the
    ranking by planted truth reaches. ``null``: the verdicts on the shops without taste.
    """
    shops, nulls, users = [], [], []
    for seed in seeds:
        shop, per_user = _one(seed, events, null=False, notify=notify)
        shops.append(shop)
        users.append(per_user)
        nulls.append(_one(seed, events, null=True, notify=notify)[0])
    arms = shops[0]["arms"]
    return {
        "benchmark": "simulated-shop",
        "data": f"simulated, {events} events, seeds {', '.join(str(shop['seed']) for shop in shops)}",
        "machine": machine(),
        "rows": [_row(name, shops) for name in [*arms, "truth"]],
        "pooled": {
            moment: {base: _pooled([per_user[moment] for per_user in users], base) for base in (CONTROL, BLEND)}
            for moment in Moment
        },
        "seeds": shops,
        "null": nulls,
        "ratios": {
            "blend_over_truth": [shop["blend_over_truth"] for shop in shops],
            "null_ships": sum(len(shop["ships"]) for shop in nulls),
        },
    }


def _pooled(users: list[PerUser], base: str) -> dict[str, dict[str, float]]:
    """Difference of every arm to ``base`` over all seeds' users, with simultaneous 95 % intervals given these shops."""
    values = {name: np.concatenate([per_user[name] for per_user in users]) for name in users[0]}
    control = values.pop(base)
    lifts = paired_bootstrap(control, values, seed=0)
    return {
        name: {"difference": lift.difference, "low": lift.low, "high": lift.high, "n_users": lift.n_users}
        for name, lift in lifts.items()
    }


def _one(seed: int, events: int, *, null: bool, notify: Notify | None) -> tuple[dict[str, Any], dict[Moment, PerUser]]:
    """One shop: what is reported of it, and the metric of every arm per deciding user, by moment."""
    label = f"{'null shop' if null else 'shop'} {seed}"
    started = time.perf_counter()

    def tell(stage: str, done: int, of: int, metrics: dict[str, float]) -> None:
        if notify is not None:
            notify(f"{label}: {stage}", done, of, metrics)

    shop = Shop(ShopConfig.of(seed=seed, events=events, null=null))
    with tempfile.TemporaryDirectory() as scratch:
        files, out = Path(scratch) / "files", Path(scratch) / "data"
        shop.write(files)
        ingest(files, "tables", out)
        dataset = Dataset.open(out)
        experiment = standard_experiment(label, out, None, seed=seed, control=NULL_CONTROL if null else CONTROL)
        if null:
            experiment = experiment.model_copy(update={"arms": _without(experiment.arms, CONTROL)})
        with Engine.duckdb() as engine:
            comparison = compare(engine, dataset, experiment, tell)
            live = _live(engine, dataset, comparison)
    report = comparison.report
    arms = {
        name: {"mean": arm[METRIC]["mean"], "low": arm[METRIC]["low"], "high": arm[METRIC]["high"]}
        | ({"lift": arm["lift"], "verdict": arm["verdict"]} if "lift" in arm else {})
        for name, arm in report["arms"].items()
    }
    truth = float(_truth(shop, comparison).mean())
    hot = comparison.asked.groups == report["group"]
    between = {name: answered.metrics[METRIC][hot] for name, answered in comparison.replays.items()}
    summary = {
        "seed": seed,
        "n_users": report["n_users"],
        "arms": arms,
        "truth": truth,
        # Of the arm that is served by default: the best of many on the test would tell too much.
        "blend_over_truth": arms[BLEND]["mean"] / truth,
        "ships": [name for name, arm in arms.items() if arm.get("verdict") == "ship"],
        "seconds": round(time.perf_counter() - started, 1),
        "fit_seconds": {
            name: report["seconds"].get(f"fit_{name}", 0.0) + report["seconds"].get(f"refit_{name}", 0.0)
            for name in arms
        },
        "live": {name: float(values.mean()) for name, values in live.items()},
        "peak_mb": round(peak_mb(), 1),
    }
    return summary, {Moment.AS_OF: between, Moment.LIVE: live}


def _without(arms: dict[str, Any], name: str) -> dict[str, Any]:
    return {arm: settings for arm, settings in arms.items() if arm != name}


def _live(engine: Engine, dataset: Dataset, comparison: Comparison) -> PerUser:
    """The arms asked again in the middle of a session, when L4 has something to say."""
    snapshot = comparison.trained.snapshot
    until_ms = snapshot.as_of_ms + round(SIMULATED_HORIZON_DAYS * DAY_MS)
    asked = ask(engine, dataset, snapshot, until_ms, Moment.LIVE)
    asked = asked.take(np.flatnonzero(asked.groups == comparison.report["group"]))
    allowed = snapshot.item_matrix[Columns.AVAILABLE].to_numpy(dtype=bool)
    return {name: replay(model, asked, K, allowed).metrics[METRIC] for name, model in comparison.trained.models.items()}


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
        "seconds": float(np.mean([shop["fit_seconds"].get(name, 0.0) for shop in shops])),
        "peak_mb": max(shop["peak_mb"] for shop in shops),
    }


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def render_benchmark(result: dict[str, Any]) -> Table:
    """The rows as a table, with differences over the users of all seeds and what the arms reach within a session."""
    table = Table(title=f"{result['data']}; null shops that would ship: {result['ratios']['null_ships']}")
    within = result["pooled"][Moment.LIVE][BLEND]
    above, below = result["pooled"][Moment.AS_OF][CONTROL], result["pooled"][Moment.AS_OF][BLEND]
    for column in (
        "arm",
        METRIC,
        "share of truth",
        f"over {CONTROL}",
        f"against {BLEND}",
        f"against {BLEND}, in session",
    ):
        table.add_column(column, justify="left" if column == "arm" else "right")
    runs = len(result["seeds"])
    for row in result["rows"]:
        name = row["model"]
        table.add_row(
            name,
            figure_cell(row, METRIC, runs=runs),
            figure_cell(row, "share_of_truth", runs=runs, form=".1%"),
            *(lift_cell(lifts.get(name)) for lifts in (above, below, within)),
        )
    return table


__all__ = ["benchmark_simulated_shop", "render_benchmark"]
