"""Click sessions, as the papers on session-based recommendation report them: what is clicked next, after each click.

```
 train_sequences.parquet:  nine tenths of the sessions | a tenth
 decide:  models learn --------------------------------> | validation: every click of a session from its prefix
 test:    models learn -----------------------------------------> | test.parquet: prefix, target
```
Training sessions have no time and their order means nothing, so the tenth is drawn at random; the published test is
from later days than they are and harder, which no model here can know.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.arms import Arms, seeded
from experiments.benchmarks.published.fitted import FittedTwice, Material, fit_twice
from experiments.benchmarks.published.questions import REPEATS, answer, means, seen_share, spread
from experiments.benchmarks.published.render import render
from experiments.benchmarks.published.session_questions import Lists, hold_out, questions
from features.errors import ConfigError, InputError
from features.split import Labelled
from training.blend import Blend
from training.metrics import ranking_metrics
from training.recommender import Recommender
from training.train import Notify

#: Anonymous sessions of clicks.
SESSIONS: Arms = {
    "bestsellers": {"model": "bestsellers"},
    "neighbours": {"model": "neighbours"},
    "walk": {"model": "walk"},
    "transformer": {"model": "transformer"},
    "blend": {"model": "blend", "parts": ("neighbours", "walk", "transformer")},
}

#: The list that is judged.
K = 20

#: Names of the papers for what a ranking of one right answer is judged by.
METRICS = {f"p@{K}": f"recall@{K}", f"mrr@{K}": f"mrr@{K}", f"ndcg@{K}": f"ndcg@{K}"}


def benchmark_sessions(
    folder: Path, seeds: Iterable[int], notify: Notify | None = None, arms: Arms = SESSIONS
) -> dict[str, Any]:
    """Fit all arms on ``train_sequences.parquet`` and rank the full catalogue after every prefix of ``test.parquet``.

    Args:
        folder: Both files; the test holds ``prefix``, a list of items, and ``target``.
        seeds: One run each; the first also draws the validation sessions. Arms whose training is not random are fitted
            once.
        notify: Told what is done.
        arms: As for ``build_models``.

    Returns:
        One row per arm: ``metrics`` and ``sd`` (over seeds) of ``p@20`` (the share of targets in the list, which the
        papers call precision), ``mrr@20`` and ``ndcg@20`` on the test, and the same with ``validation_`` on that half
        of the held sessions on which single models decide nothing; it is where blends learn their weights. ``seconds``
        of one seed, by stage in ``stages``. Clicked items stay candidates if at least a share ``REPEATS`` of
        validation's targets were clicked before.

    Raises:
        ConfigError: No seeds.
        InputError: A file, a column or a question is missing.
    """
    tell = notify or (lambda *_: None)
    chosen = list(seeds)
    if not chosen:
        raise ConfigError("seeds", "must be at least one", 0)
    tell("data", 0, 2, {})
    train, test = (
        _read(folder, "train_sequences", ["session_idx", "items"]),
        _read(folder, "test", ["prefix", "target"]),
    )
    material = hold_out(train, np.random.default_rng(chosen[0]))
    tell("data", 1, 2, {})
    asked = questions(material.late, Lists.of(test["prefix"]), test["target"].to_numpy(np.int64))
    again = seen_share(material.validation) >= REPEATS
    tell("data", 2, 2, {})
    runs: list[dict[str, FittedTwice]] = []
    found: list[dict[str, dict[str, float]]] = []
    for seed in chosen:
        label = f"seed {seed}: "
        fitted = fit_twice(seeded(arms, seed), material, runs[0] if runs else {}, label, tell)
        judged = {}
        for name, arm in fitted.items():
            same = bool(runs) and runs[0][name] is arm
            judged[name] = found[0][name] if same else _judged(arm, material, asked, again, f"{label}{name}", tell)
        found.append(judged)
        runs.append(fitted)
    rows = [_row(name, [run[name] for run in runs], [run[name] for run in found], len(asked)) for name in arms]
    return {
        "benchmark": "sessions",
        "data": folder.name,
        "machine": machine(),
        "seeds": len(runs),
        "users": len(asked),
        "items": len(material.late.items),
        "seen_items_are_answers": again,
        "rows": rows,
        "ratios": _ratios(rows, runs[0]),
    }


def render_sessions(result: dict[str, Any]) -> Any:
    """A table of what the papers report, at 20; every prefix is a user."""
    return render(result, (f"validation_p@{K}", f"validation_mrr@{K}", f"p@{K}", f"mrr@{K}", f"ndcg@{K}"))


def _read(folder: Path, name: str, columns: list[str]) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise InputError(str(path), "must be a file", mend="name the folder of the published sessions")
    lacking = set(columns) - set(pq.read_schema(path).names)
    if lacking:
        raise InputError(f"{path}: column {min(lacking)!r}", "is required")
    return pd.read_parquet(path, columns=columns)


def _judged(
    arm: FittedTwice, material: Material, asked: Labelled, again: bool, stage: str, notify: Notify
) -> dict[str, float]:
    metrics = _means("validation_", arm.decided, material.blending, again, f"{stage}, validation", notify)
    began = time.perf_counter()
    metrics |= _means("", arm.final, asked, again, f"{stage}, test", notify)
    arm.seconds["answer"] = time.perf_counter() - began
    return metrics


def _means(
    label: str, model: Recommender, asked: Labelled, again: bool, stage: str, notify: Notify
) -> dict[str, float]:
    ids = answer(model, asked.histories, K, again=again, stage=stage, notify=notify)
    found = ranking_metrics(ids, asked.labels, (K,))
    return means({f"{label}{ours}": found[theirs] for ours, theirs in METRICS.items()})


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
        "peak_mb": peak_mb(),
    }


def _ratios(rows: list[dict[str, Any]], models: dict[str, FittedTwice]) -> dict[str, float]:
    """Of each blend to the single model that is best on validation, MRR@20 on the test."""
    of = {row["model"]: row["metrics"] for row in rows}
    singles = [name for name, arm in models.items() if not isinstance(arm.final, Blend)]
    best = max(singles, key=lambda name: of[name][f"validation_mrr@{K}"])
    return {
        f"{name}_over_{best}": of[name][f"mrr@{K}"] / of[best][f"mrr@{K}"]
        for name, arm in models.items()
        if isinstance(arm.final, Blend) and of[best][f"mrr@{K}"]
    }


__all__ = ["SESSIONS", "K", "benchmark_sessions", "render_sessions"]
