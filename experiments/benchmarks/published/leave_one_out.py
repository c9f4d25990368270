"""Leave-one-out, as the papers on sequential recommendation report it: each user's last item is to be found.

```
 a user's items: .... .... .... .... | last but one | last
 strict:  models learn ------------> | input only   | test
 decide:  the same models            | validation   |
 refit:   models learn ---------------------------> | test
```
Everything that is decided is decided on the last but one item. ``strict``, alone, is what published tables report.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.arms import LEAVE_ONE_OUT, Arms, seeded
from experiments.benchmarks.published.fitted import FittedTwice, Material, fit_twice
from experiments.benchmarks.published.questions import (
    KS,
    REPEATS,
    answer,
    asked_of,
    means,
    measured,
    seen_share,
    spread,
)
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.home import home
from features.ingest import ingest
from features.schema import DAY_MS
from features.snapshot import build_snapshot
from features.sources.made_times import END_MS
from features.split import Labelled, ask
from training.blend import Blend
from training.train import Notify


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A folder, split.

    Attributes:
        material: Until the last but one items, and with them.
        test: Who took what last, asked about ``material.late``.
        again: Whether items may be answers that the user has seen; decided on validation.
    """

    material: Material
    test: Labelled
    again: bool


def leave_out(engine: Engine, dataset: Dataset) -> LeftOut:
    """Split a data set of the source ``benchmark_sequences``, whose lists end together, a day between two items."""
    early = build_snapshot(engine, dataset, END_MS - DAY_MS)
    validation = ask(engine, dataset, early, END_MS)
    late = build_snapshot(engine, dataset, END_MS)
    test = ask(engine, dataset, late, END_MS + 1)
    return LeftOut(Material(early, validation, late), test, seen_share(validation) >= REPEATS)


def benchmark_leave_one_out(
    folder: Path, seeds: Iterable[int], notify: Notify | None = None, arms: Arms = LEAVE_ONE_OUT
) -> dict[str, Any]:
    """Fit all arms on a folder with ``sequences.parquet`` and rank the full catalogue for every user.

    Args:
        folder: Also ``item2attributes.parquet``, if the items' attributes are known.
        seeds: One run each; arms whose training is not random are fitted once.
        notify: Told what is done.
        arms: As for ``build_models``.

    Returns:
        One row per arm: ``metrics`` and ``sd`` (over seeds) of ``validation_``, ``strict_`` and ``refit_`` ``hr@k`` and
        ``ndcg@k``, all of them means over ``n`` users; ``seconds`` of one seed, by stage in ``stages``. Validation is
        that half of the users on which single models decide nothing; it is where blends learn their weights.
        Items that the user has seen are no answers, unless at least a share ``REPEATS`` of validation's answers are.

    Raises:
        ConfigError: No seeds.
        StellarError: The folder cannot be read.
    """
    tell = notify or (lambda *_: None)
    chosen = list(seeds)
    if not chosen:
        raise ConfigError("seeds", "must be at least one", 0)
    runs: list[dict[str, FittedTwice]] = []
    found: list[dict[str, dict[str, float]]] = []
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        tell("data", 0, 1, {})
        ingest(folder, "benchmark_sequences", Path(scratch) / "data")
        split = leave_out(engine, Dataset.open(Path(scratch) / "data"))
        tell("data", 1, 1, {})
        for seed in chosen:
            label = f"seed {seed}: "
            fitted = fit_twice(seeded(arms, seed), split.material, runs[0] if runs else {}, label, tell)
            same = {name for name, arm in fitted.items() if runs and runs[0][name] is arm}
            found.append(
                {
                    name: found[0][name] if name in same else _judged(fitted[name], split, f"{label}{name}", tell)
                    for name in arms
                }
            )
            runs.append(fitted)
    rows = [_row(name, [run[name] for run in runs], [run[name] for run in found], len(split.test)) for name in arms]
    return {
        "benchmark": "leave-one-out",
        "data": folder.name,
        "machine": machine(),
        "seeds": len(runs),
        "users": len(split.test),
        "items": len(split.material.late.items),
        "seen_items_are_answers": split.again,
        "rows": rows,
        "ratios": _ratios(rows, runs[0]),
    }


def _judged(arm: FittedTwice, split: LeftOut, label: str, notify: Notify) -> dict[str, float]:
    """``validation_``, ``strict_`` and ``refit_`` metrics."""
    began = time.perf_counter()
    metrics: dict[str, float] = {}
    for fitted, model, asked in (
        ("validation", arm.decided, split.material.blending),
        ("strict", arm.decided, asked_of(split.material.early, split.test)),
        ("refit", arm.final, split.test),
    ):
        stage = f"{label}, {fitted} answers"
        ids = answer(
            model,
            asked.histories,
            max(KS),
            again=split.again,
            stage=stage,
            notify=notify,
        )
        metrics |= {f"{fitted}_{name}": value for name, value in means(measured(ids, asked.labels)).items()}
    arm.seconds["answer"] = time.perf_counter() - began
    return metrics


def _row(name: str, runs: list[FittedTwice], found: list[dict[str, float]], n: int) -> dict[str, Any]:
    metrics, sd = spread(found)
    stages, _ = spread([run.seconds for run in runs])
    cpu, _ = spread([run.cpu_seconds for run in runs])
    curve = runs[0].decided.curve
    return {
        "model": name,
        "metrics": metrics,
        "sd": sd,
        "n": n,
        "seconds": sum(stages.values()),
        "cpu_seconds": sum(cpu.values()),
        "stages": stages,
        "epochs": None if curve is None else [run.decided.curve.best_epoch for run in runs if run.decided.curve],
        "epoch_seconds": None if curve is None or not curve.seconds else sum(curve.seconds) / len(curve.seconds),
        "peak_mb": peak_mb(),
    }


def _ratios(rows: list[dict[str, Any]], models: dict[str, FittedTwice]) -> dict[str, float]:
    """Of each blend to the single model that is best on validation, strict NDCG@10."""
    of = {row["model"]: row["metrics"] for row in rows}
    singles = [name for name, arm in models.items() if not isinstance(arm.final, Blend)]
    best = max(singles, key=lambda name: of[name]["validation_ndcg@10"])
    return {
        f"{name}_over_{best}": of[name]["strict_ndcg@10"] / of[best]["strict_ndcg@10"]
        for name, arm in models.items()
        if isinstance(arm.final, Blend) and of[best]["strict_ndcg@10"]
    }


__all__ = ["LeftOut", "benchmark_leave_one_out", "leave_out"]
