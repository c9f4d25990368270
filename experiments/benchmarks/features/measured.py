"""What is timed, each in a process of its own: nothing is warm from before, and the peak of memory is its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from experiments.benchmarks.machine import peak_mb


def measured(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What ``work`` returns, with the ``seconds`` it took and ``peak_mb``, imports and start not counted."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_timed, work, arguments).result()


def _timed(work: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Any]:
    import features.snapshot  # noqa: F401  # imported before the clock starts

    start, cpu = time.perf_counter(), time.process_time()
    result = work(*arguments)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    return {**result, "seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb()}


def full(dataset: Path, as_of_ms: int, out: Path, memory_gb: float) -> dict[str, Any]:
    """A full snapshot, written with what the next one starts from."""
    return _built(dataset, as_of_ms, out, memory_gb, None)


def increment(dataset: Path, as_of_ms: int, out: Path, memory_gb: float, since: Path) -> dict[str, Any]:
    """The same from an earlier one."""
    return _built(dataset, as_of_ms, out, memory_gb, since)


def _built(dataset: Path, as_of_ms: int, out: Path, memory_gb: float, since: Path | None) -> dict[str, Any]:
    from features.basis import Basis
    from features.dataset import Dataset
    from features.engine import Engine
    from features.snapshot import BASIS, build_snapshot

    stages: list[tuple[str, float]] = []
    with Engine.duckdb(memory_gb) as engine:
        basis = None if since is None else Basis.load(since / BASIS)
        snapshot = build_snapshot(
            engine,
            Dataset.open(dataset),
            as_of_ms,
            basis,
            lambda stage: stages.append((stage, time.perf_counter())),
        )
        stages.append(("write", time.perf_counter()))
        snapshot.save(out)
    ends = [instant for _, instant in stages[1:]] + [time.perf_counter()]
    return {
        "digest": snapshot.digest,
        "users": len(snapshot.users),
        "items": len(snapshot.items),
        "events": len(snapshot.sequences.items),
        "stages": {stage: end - start for (stage, start), end in zip(stages, ends, strict=True)},
        "user_features": list(snapshot.user_matrix.columns),
        "item_features": list(snapshot.item_matrix.columns),
    }


def by_hand(dataset: Path, as_of_ms: int) -> dict[str, Any]:
    """The query by hand."""
    from experiments.benchmarks.features.by_hand import users_by_hand

    return {"users": users_by_hand(dataset, as_of_ms)}


def in_pandas(dataset: Path, as_of_ms: int, out: Path) -> dict[str, Any]:
    """The same products in plain pandas, written."""
    from experiments.benchmarks.features.in_pandas import snapshot_in_pandas

    snapshot_in_pandas(dataset, as_of_ms, out)
    return {}


__all__ = ["by_hand", "full", "in_pandas", "increment", "measured"]
