"""The benchmark of a large catalogue: what fitting and retrieving take, and from which size an index is worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from experiments.benchmarks.catalogue.sizes import at_size, crossover
from experiments.benchmarks.catalogue.trained import SETTINGS, trained
from experiments.benchmarks.features.measured import measured
from experiments.benchmarks.machine import machine
from training.by_vectors import INDEXED_FROM
from training.nearest import DEPTH, RECALL
from training.train import Notify

SIZES = (3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)


def benchmark_catalogue(
    items: int,
    events: int,
    notify: Notify | None = None,
    *,
    users: int = 2_000,
    sizes: Sequence[int] = SIZES,
    settings: Mapping[str, dict[str, Any]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit models of vectors on ``items`` and ``events``, each in a process of its own, and time searches by size.

    ``rows``: one per model, with its ``stages``. ``sizes``: exact and indexed search over planted vectors of each size
    up to ``items``. ``ratios``: ``index_faster_from`` is the size from which the index is faster for one question,
    ``index_faster_from_batch`` for many at once.

    Args:
        users: How many are asked.
        settings: Hyper-parameters by model, beside those of the benchmark.
    """
    told = notify or (lambda *_: None)
    wanted = [size for size in sizes if size <= items] or [items]
    n_steps = len(wanted) + len(SETTINGS)
    searched: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for size in wanted:
        told(f"search {size:,} items", len(searched), n_steps, {})
        searched.append(measured(at_size, size))
    for name in SETTINGS:
        told(f"fit the {name}", len(wanted) + len(rows), n_steps, {})
        own = dict((settings or {}).get(name, {}))
        rows.append(_row(name, measured(trained, name, items, events, users, seed, own)))
    told("done", n_steps, n_steps, {})
    return {
        "benchmark": "catalogue",
        "data": f"planted, {items} items, {events} events, seed {seed}",
        "machine": machine(),
        "recall_wanted": RECALL,
        "depth": DEPTH,
        "indexed_from": INDEXED_FROM,
        "rows": rows,
        "sizes": searched,
        "ratios": {
            "index_faster_from": crossover(searched),
            "index_faster_from_batch": crossover(searched, "exact_batch_ms", "index_batch_ms"),
            **{
                f"{row['model']}_exact_over_index": row["metrics"]["exact_ms"] / row["metrics"]["index_ms"]
                for row in rows
            },
        },
    }


def _row(name: str, result: dict[str, Any]) -> dict[str, Any]:
    measures = ("recall", "hit", "hit_exact", "index_ms", "exact_ms")
    others = ("stages", "indexed", "groups", "probes", "config", "cpu_s")
    return {
        "model": name,
        "metrics": {measure: result[measure] for measure in measures},
        "sd": {},
        "n": result["n"],
        "seconds": result["seconds"],
        "peak_mb": result["peak_mb"],
        **{other: result[other] for other in others},
    }


def render_catalogue(result: dict[str, Any]) -> Table:
    """Sizes first, then each model's stages."""
    ratios = result["ratios"]
    caption = f"index faster from {ratios['index_faster_from'] or 0:,} items on; used from {result['indexed_from']:,}"
    table = Table(title=result["data"], caption=caption)
    for column in ("what", "recall", "exact ms", "index ms", "seconds", "peak MB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for size in result["sizes"]:
        table.add_row(
            f"search {size['items']:,} items",
            f"{size['recall']:.4f}",
            f"{size['exact_ms']:.2f}",
            f"{size['index_ms']:.2f}",
            f"{size['build_s']:.1f}",
            f"{size['peak_mb']:,.0f}",
        )
    for row in result["rows"]:
        metrics = row["metrics"]
        recall, exact, index = f"{metrics['recall']:.4f}", f"{metrics['exact_ms']:.1f}", f"{metrics['index_ms']:.1f}"
        table.add_row(row["model"], recall, exact, index, f"{row['seconds']:.1f}", f"{row['peak_mb']:,.0f}")
        for stage in row["stages"]:
            table.add_row(f"  {stage['stage']}", "", "", "", f"{stage['seconds']:.1f}", f"{stage['peak_mb']:,.0f}")
    return table


__all__ = ["SIZES", "benchmark_catalogue", "render_catalogue"]
