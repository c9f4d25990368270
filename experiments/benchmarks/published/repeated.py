"""The arms of a published benchmark, fitted and judged once per seed, as one row per arm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from experiments.benchmarks.machine import machine
from experiments.benchmarks.published.arms import Arms, seeded
from experiments.benchmarks.published.fitted import Clock, FittedTwice, Material, fit_twice
from experiments.benchmarks.published.kept import Found, Kept
from experiments.benchmarks.published.questions import answer, means, spread
from features.errors import ConfigError
from features.split import Labelled
from training.blend import Blend
from training.metrics import ranking_metrics
from training.train import Notify

#: The metrics of an arm; told the name of the stage.
Judge = Callable[[FittedTwice, str], dict[str, float]]


def seeds_of(seeds: Iterable[int]) -> list[int]:
    """As a list.

    Raises:
        ConfigError: There is none.
    """
    chosen = list(seeds)
    if not chosen:
        raise ConfigError("seeds", "must be at least one", 0)
    return chosen


def judge_on(asked: Labelled, material: Material, metrics: Mapping[str, str], k: int, notify: Notify) -> Judge:
    """Judges lists of ``k``: on the test, ``asked``, and with ``validation_`` on the half that blends learn from.

    Args:
        metrics: What to report under which name: ours to those of ``ranking_metrics``.
    """
    again = material.again

    def judge(arm: FittedTwice, stage: str) -> dict[str, float]:
        judged: dict[str, float] = {}
        for label, model, some in (("validation_", arm.decided, material.blending), ("", arm.final, asked)):
            asking = f"{stage}, {label.replace('_', ' ')}answers"
            ids = answer(model, some.histories, k, again=again, stage=asking, notify=notify)
            found = means(ranking_metrics(ids, some.labels, (k,)))
            judged |= {f"{label}{ours}": found[theirs] for ours, theirs in metrics.items()}
        return judged

    return judge


def repeated(
    arms: Arms,
    seeds: Iterable[int],
    material: Material,
    judge: Judge,
    n: int,
    notify: Notify,
    *,
    kept: Kept,
    decides: str,
    told: str,
) -> dict[str, Any]:
    """Fit and judge ``arms`` once per seed; those whose training is not random only once.

    Args:
        judge: Asks ``n`` users of an arm.
        kept: Seeds that are in it are not run again; the others are added as they end.
        decides: Metric of validation by which the best single model is chosen, that blends are held against ...
        told: ... and the metric of the test in which they are.

    Returns:
        ``machine``, ``seeds``, ``commits`` of the code that ran, ``users``, ``items``, ``seen_items_are_answers``;
        ``rows``, one per arm: ``metrics`` and ``sd`` over the seeds, mean ``seconds`` and ``cpu_seconds`` of one seed,
        by stage in ``stages``; ``ratios`` of each blend to the best single model.
    """
    seeds = list(seeds)
    first: dict[str, FittedTwice] = {}
    of_first: dict[str, Found] = {}
    for seed in seeds:
        if seed in kept.runs:
            notify(f"seed {seed}: kept", 1, 1, {})
            continue
        label = f"seed {seed}: "
        fitted = fit_twice(seeded(arms, seed), material, first, label, notify)
        found = {}
        for name, arm in fitted.items():
            if first and first[name] is arm:
                found[name] = of_first[name]
                continue
            clock = Clock()
            metrics = judge(arm, f"{label}{name}")
            arm.timed("answer", clock)
            found[name] = _found(arm, metrics)
        first, of_first = first or fitted, of_first or found
        kept.add(seed, found)
    runs = [kept.runs[seed] for seed in seeds]
    rows = [_row(name, [run["arms"][name] for run in runs], n) for name in arms]
    return {
        "machine": machine(),
        "seeds": len(runs),
        "commits": sorted({run["commit"] for run in runs if run["commit"]}),
        "users": n,
        "items": len(material.late.items),
        "seen_items_are_answers": material.again,
        "rows": rows,
        "ratios": _ratios(rows, arms, decides, told),
    }


def _found(arm: FittedTwice, metrics: dict[str, float]) -> Found:
    curve = arm.decided.curve
    return {
        "metrics": metrics,
        "seconds": arm.seconds,
        "cpu_seconds": arm.cpu_seconds,
        "best_epoch": curve.best_epoch if curve else None,
        "epoch_seconds": curve.seconds if curve else [],
        "peak_mb": arm.peak_mb,
    }


def _row(name: str, runs: list[Found], n: int) -> dict[str, Any]:
    metrics, sd = spread([run["metrics"] for run in runs])
    stages, _ = spread([run["seconds"] for run in runs])
    cpu, _ = spread([run["cpu_seconds"] for run in runs])
    epochs = [seconds for run in runs for seconds in run["epoch_seconds"]]
    return {
        "model": name,
        "metrics": metrics,
        "sd": sd,
        "n": n,
        "seconds": sum(stages.values()),
        "cpu_seconds": sum(cpu.values()),
        "stages": stages,
        "epochs": [run["best_epoch"] for run in runs] if epochs else None,
        "epoch_seconds": sum(epochs) / len(epochs) if epochs else None,
        "peak_mb": max(run["peak_mb"] for run in runs),
    }


def _ratios(rows: list[dict[str, Any]], arms: Arms, decides: str, told: str) -> dict[str, float]:
    of = {row["model"]: row["metrics"] for row in rows}
    blends = [name for name, arm in arms.items() if arm["model"] == Blend.name]
    best = max((name for name in arms if name not in blends), key=lambda name: of[name][decides])
    return {f"{name}_over_{best}": of[name][told] / of[best][told] for name in blends if of[best][told]}


__all__ = ["Judge", "judge_on", "repeated", "seeds_of"]
