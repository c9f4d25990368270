"""How long answers of the running service take, above what one takes that computes nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.table import Table

from experiments.benchmarks.machine import machine
from experiments.benchmarks.serving.client import Endpoint, Lap, drive
from experiments.standard import ARMS, SIMULATED_HORIZON_DAYS
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.schema import DAY_MS
from features.shop import Shop, ShopConfig
from serving import server
from training.blend import Blend
from training.bundle import Bundle, save_bundle
from training.intent.fit import fit_user_intent
from training.intent.targets import TARGETS, Target
from training.train import Notify, build_models, train

CONNECTIONS = 16

#: Levels that are fitted in seconds; a network ranks no faster or slower than these by much.
PARTS = ("bestsellers", "history", "cooccurrence", "linear", "live")

NO_OP, INTENT, RECOMMEND = "no-op", "intent", "recommend"


def benchmark_serving(
    events: int,
    notify: Notify | None = None,
    *,
    requests: int = 2_000,
    rounds: int = 10,
    workers: int | None = None,
    targets: Sequence[Target] = TARGETS,
    predictor: str = "boosting",
) -> dict[str, Any]:
    """Train on a simulated shop, start the service as ``stellar serve`` does, and ask it from 16 connections.

    ``rows``: latency in ms at the median and further out, requests per second and the service's CPU per request, over
    all rounds, with standard deviations between rounds. ``ratios``: how many ms later than the no-op's its 99th
    percentile is. ``load``: the machine's mean number of running processes in the last minute, before and after.

    Args:
        requests: Of each endpoint, at least; a tenth as many before, to warm up.
        rounds: In which the endpoints take turns.
        workers: Processes of the service that answer; one per core if absent.
    """
    tell, workers = notify or (lambda *_: None), workers or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as scratch:
        bundle = _bundle(Path(scratch), events, targets, predictor, tell)
        state_url = f"sqlite:///{Path(scratch) / 'state.db'}"
        load = os.getloadavg()[0]
        per_round = -(-requests // rounds)
        tell("ask", 0, 1, {})
        with server.start(
            "127.0.0.1", 0, bundle=Path(scratch) / "bundle", state_url=state_url, workers=workers
        ) as running:
            asked = _endpoints(bundle, per_round * rounds)
            # A client in this process would share it with all that training has left behind.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as client:
                plan = (rounds, per_round, max(requests // 10, 1), CONNECTIONS, running.process.pid)
                laps = client.submit(drive, running.url, asked, *plan).result()
            peak_mb = _memory_mb(running.process.pid)
        tell("ask", 1, 1, {})
    rows = [_row(each.name, [lap for lap in laps if lap.name == each.name], peak_mb) for each in asked]
    return {
        "benchmark": "serving",
        "data": f"simulated, {events} events, {len(bundle.users)} users, {len(targets)} targets by {predictor}",
        "machine": machine(),
        "connections": CONNECTIONS,
        "workers": workers,
        "load": [load, os.getloadavg()[0]],
        "rows": rows,
        "ratios": {
            f"{row['model']}_p99_over_no_op_ms": row["metrics"]["p99_ms"] - rows[0]["metrics"]["p99_ms"]
            for row in rows[1:]
        },
    }


def _bundle(scratch: Path, events: int, targets: Sequence[Target], predictor: str, tell: Notify) -> Bundle:
    tell("simulate", 0, 1, {})
    Shop(ShopConfig.of(seed=0, events=events)).write(scratch / "files")
    ingest(scratch / "files", "tables", scratch / "data")
    dataset = Dataset.open(scratch / "data")
    tell("simulate", 1, 1, {})
    as_of_ms, horizon_ms = dataset.last_ms + 1, SIMULATED_HORIZON_DAYS * DAY_MS
    models: dict[str, Mapping[str, Any]] = {name: ARMS[name] for name in PARTS}
    models["blend"] = {"model": "blend", "parts": list(PARTS)}
    with Engine.duckdb() as engine:
        trained = train(engine, dataset, build_models(models), as_of_ms, horizon_ms, tell)
        contenders = {predictor: {"predictor": predictor}}
        intent = fit_user_intent(engine, dataset, as_of_ms, targets, contenders=contenders, notify=tell).won
    blend = trained.models["blend"]
    assert isinstance(blend, Blend)
    return save_bundle(scratch / "bundle", blend, trained.snapshot, arm="blend", policy={}, intent=intent)


def _endpoints(bundle: Bundle, requests: int) -> list[Endpoint]:
    """The one that computes nothing first; users are drawn from all whom the snapshot knows."""
    rng = np.random.default_rng(0)
    users = [str(user) for user in rng.choice(bundle.users.ids, requests)]
    about_users = [json.dumps({"user_id": user}) for user in users]
    return [
        Endpoint(NO_OP, "GET /livez", [""]),
        Endpoint(INTENT, "POST /intent", about_users),
        Endpoint(RECOMMEND, "POST /recommend", about_users),
    ]


def _row(name: str, laps: Sequence[Lap], peak_mb: float) -> dict[str, Any]:
    by_lap = [_metrics([lap]) for lap in laps]
    return {
        "model": name,
        "metrics": _metrics(laps),
        "sd": {metric: float(np.std([each[metric] for each in by_lap])) for metric in by_lap[0]},
        "n": sum(len(lap.latencies_s) for lap in laps),
        "seconds": sum(lap.seconds for lap in laps),
        "peak_mb": peak_mb,
    }


def _metrics(laps: Sequence[Lap]) -> dict[str, float]:
    latencies_ms = np.concatenate([lap.latencies_s for lap in laps]) * 1_000
    quantiles = {f"p{percent}_ms": float(np.percentile(latencies_ms, percent)) for percent in (50, 95, 99)}
    n = len(latencies_ms)
    per_second = n / sum(lap.seconds for lap in laps)
    return {**quantiles, "per_second": per_second, "cpu_ms": 1_000 * sum(lap.cpu_s for lap in laps) / n}


def _memory_mb(pid: int) -> float:
    """What the service's processes hold, in MiB."""
    process = psutil.Process(pid)
    return float(sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))) / 2**20


def render_serving(result: dict[str, Any]) -> Table:
    """The rows, and how much later than the no-op each answers."""
    load, ratios = result["load"], result["ratios"]
    title = f"{result['data']}; {result['connections']} connections, {result['workers']} worker(s)"
    table = Table(title=f"{title}, load {load[0]:.1f} to {load[1]:.1f}")
    for column in ("endpoint", "p50 ms", "p95 ms", "p99 ms", "p99 over no-op", "per second", "CPU ms"):
        table.add_column(column, justify="left" if column == "endpoint" else "right")
    for row in result["rows"]:
        told, over = row["metrics"], ratios.get(f"{row['model']}_p99_over_no_op_ms")
        latencies = [f"{told[name]:.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
        beyond = "" if over is None else f"{over:+.1f}"
        table.add_row(row["model"], *latencies, beyond, f"{told['per_second']:,.0f}", f"{told['cpu_ms']:.2f}")
    return table


__all__ = ["CONNECTIONS", "benchmark_serving", "render_serving"]
