"""The benchmark: simulate, ingest, build in full, by the day, by hand and in pandas, and compare."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from experiments.benchmarks.features.measured import by_hand, full, in_pandas, increment, measured
from experiments.benchmarks.machine import machine
from features.append import append
from features.engine import Engine
from features.home import home
from features.ingest import ingest
from features.schema import DAY_MS, Columns
from features.shop import Shop, ShopConfig
from training.train import Notify

#: What the engine may hold; numpy's and pandas' own arrays come on top.
MEMORY_GB = 4.0

#: Times that a short measurement is repeated; the median counts.
REPEATS = 3


def benchmark_features(events: int, seed: int = 0, notify: Notify | None = None) -> dict[str, Any]:
    """Measure the pipeline on simulated logs of ``events``, a quarter and a tenth of them.

    A user has 100 events, an item 200. The last day of the largest log is appended to the data set of the days before,
    and to the snapshot of the evening before; the result must equal the snapshot built in full.
    """
    told = notify or (lambda *_: None)
    steps = iter(range(1, 100))

    def say(step: str) -> None:
        told(step, next(steps), 16, {})

    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as folder:
        root = Path(folder)
        rows = [
            *_against_pandas(root, events // 10, seed, say),
            *_grown(root, events // 4, seed, say),
            *_by_the_day(root, events, seed, say),
        ]
    of = {row["model"]: row for row in rows}
    seconds = {name: row["seconds"] for name, row in of.items()}
    large = of["full snapshot"]
    return {
        "benchmark": "features",
        "data": f"simulated, {events} events, seed {seed}",
        "machine": machine(),
        "memory_limit_gb": MEMORY_GB,
        "user_features": large.pop("user_features"),
        "item_features": large.pop("item_features"),
        "rows": [{key: value for key, value in row.items() if not key.endswith("_features")} for row in rows],
        "ratios": {
            "full_over_hand_query": seconds["full snapshot"] / seconds["query by hand"],
            "pandas_over_full": seconds["pandas, a tenth"] / seconds["full snapshot, a tenth"],
            "growth_from_a_quarter": seconds["full snapshot"] / seconds["full snapshot, a quarter"],
            "increment_over_full": seconds["increment of a day"] / seconds["full snapshot"],
        },
    }


def _row(model: str, n_events: int, result: dict[str, Any], **metrics: float) -> dict[str, Any]:
    return {"model": model, "n": n_events, "metrics": metrics, "sd": {}, **result}


def _make(root: Path, events: int, seed: int) -> tuple[Path, ShopConfig]:
    config = ShopConfig.of(seed=seed, events=events, users=max(events // 100, 10), items=max(events // 200, 100))
    Shop(config).write(root / "files")
    return root / "files", config


def _against_pandas(root: Path, events: int, seed: int, say: Any) -> list[dict[str, Any]]:
    root = root / "tenth"
    say("simulate and ingest a tenth")
    files, config = _make(root, events, seed)
    ingest(files, "tables", root / "data")
    say("build a tenth")
    ours = measured(full, root / "data", config.end_ms, root / "ours", MEMORY_GB)
    say("pandas")
    theirs = measured(in_pandas, root / "data", config.end_ms, root / "theirs")
    different = {name: _differences(root, name) for name in ("user", "item")}
    shutil.rmtree(root)
    return [
        _row("full snapshot, a tenth", events, ours),
        _row("pandas, a tenth", events, {**theirs, "columns_that_differ": different}),
    ]


def _differences(root: Path, name: str) -> list[str]:
    """Columns of the pandas version whose values are not ours: whole numbers exactly, others within 1e-9."""
    ours, theirs = (pd.read_parquet(root / who / f"{name}_matrix.parquet") for who in ("ours", "theirs"))
    if ours.index.tolist() != theirs.index.tolist():
        return ["rows"]
    different = []
    for column in theirs.columns.difference(["top_price_band"]):
        one, other = ours[column], theirs[column]
        if pd.api.types.is_numeric_dtype(one) and pd.api.types.is_numeric_dtype(other):
            numbers = [values.to_numpy(dtype=float, na_value=np.nan) for values in (one, other)]
            same = bool(np.isclose(numbers[0], numbers[1], rtol=1e-9, atol=0, equal_nan=True).all())
        else:
            texts = [values.astype(object).where(values.notna(), "missing") for values in (one, other)]
            same = bool((texts[0] == texts[1]).all())
        if not same:
            different.append(str(column))
    return different


def _grown(root: Path, events: int, seed: int, say: Any) -> list[dict[str, Any]]:
    root = root / "quarter"
    say("simulate and ingest a quarter")
    files, config = _make(root, events, seed)
    ingest(files, "tables", root / "data")
    say("build a quarter")
    result = _median([measured(full, root / "data", config.end_ms, root / f"out{n}", MEMORY_GB) for n in range(2)])
    shutil.rmtree(root)
    return [_row("full snapshot, a quarter", events, result)]


def _by_the_day(root: Path, events: int, seed: int, say: Any) -> list[dict[str, Any]]:
    root = root / "whole"
    say("simulate all")
    files, config = _make(root, events, seed)
    evening_ms, end_ms = config.end_ms - DAY_MS, config.end_ms
    _cut(files, root, evening_ms)
    say("ingest all but the last day")
    start = time.perf_counter()
    ingest(root / "before", "tables", root / "data")
    ingested_s = time.perf_counter() - start
    shutil.rmtree(root / "before")
    shutil.rmtree(files)
    say("build the evening before")
    measured(full, root / "data", evening_ms, root / "evening", MEMORY_GB)
    say("append the last day")
    start = time.perf_counter()
    append(root / "data", root / "day", "tables")
    appended_s = time.perf_counter() - start
    say("build the day's increment")
    day = _median(
        [
            measured(increment, root / "data", end_ms, root / f"day{n}", MEMORY_GB, root / "evening")
            for n in range(REPEATS)
        ]
    )
    say("query by hand")
    hand = _median([measured(by_hand, root / "data", end_ms) for _ in range(REPEATS)])
    say("build all")
    whole = _median([measured(full, root / "data", end_ms, root / f"full{n}", MEMORY_GB) for n in range(2)])
    return [
        _row("query by hand", events, hand),
        _row("full snapshot", events, whole),
        _row("increment of a day", events, {**day, "equals_full": day["digest"] == whole["digest"]}),
        _row("ingest", events, {"seconds": ingested_s}),
        _row("append of a day", events, {"seconds": appended_s}),
    ]


def _cut(files: Path, root: Path, evening_ms: int) -> None:
    """The log before an instant, with all users and items, and the day after it."""
    with Engine.duckdb(MEMORY_GB, temp_dir=root) as engine:
        events = engine.read(files / "events.parquet")
        for name, rows in (
            ("before", events.filter(events[Columns.TS] < evening_ms)),
            ("day", events.filter(events[Columns.TS] >= evening_ms)),
        ):
            (root / name).mkdir()
            engine.write_parquet(rows.order_by(Columns.TS), root / name / "events.parquet")
    for name in ("users", "items"):
        shutil.copyfile(files / f"{name}.parquet", root / "before" / f"{name}.parquet")


def _median(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The run of median time; the peak is the largest of all."""
    ordered = sorted(results, key=lambda result: result["seconds"])
    middle = ordered[(len(ordered) - 1) // 2]
    seconds = [result["seconds"] for result in results]
    peak = max(result["peak_mb"] for result in results)
    return {**middle, "seconds": statistics.median(seconds), "runs_s": seconds, "peak_mb": peak}


def render_features(result: dict[str, Any]) -> Table:
    """The rows and ratios as a table."""
    ratios = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in result["ratios"].items())
    columns = f"{len(result['user_features'])} user and {len(result['item_features'])} item columns"
    table = Table("what", "events", "seconds", "peak MB", title=f"{result['data']}: {columns}", caption=ratios)
    for row in result["rows"]:
        peak = f"{row['peak_mb']:,.0f}" if "peak_mb" in row else ""
        table.add_row(row["model"], f"{row['n']:,}", f"{row['seconds']:.1f}", peak)
    return table


__all__ = ["MEMORY_GB", "benchmark_features", "render_features"]
