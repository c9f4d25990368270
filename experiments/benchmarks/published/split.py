"""A published split of pairs of user and item, as the papers on graph-based recommendation report it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.arms import SPLIT, Arms, seeded
from experiments.benchmarks.published.fitted import FittedTwice, Material, fit_twice
from experiments.benchmarks.published.questions import answer, means, spread
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.home import home
from features.ingest import ingest
from features.sequences import Ragged
from features.snapshot import Snapshot, build_snapshot
from features.sources.made_times import END_MS
from features.split import Group, Labelled
from training.metrics import ranking_metrics
from training.train import Notify

#: The list that is judged.
K = 20

#: One of so many of each user's training pairs is decided on, rounded up: as the published test was taken from all
#: pairs, ``n - floor(0.8 n)`` of each user's. Users with few pairs lose a larger share, and so they do here.
ONE_OF = 5

#: At most so many users are asked about what was held out, at random: a mean over half of them is sure to 0.005.
ASKED = 8_000


def benchmark_split(
    folder: Path, seeds: Iterable[int], notify: Notify | None = None, arms: Arms = SPLIT
) -> dict[str, Any]:
    """Fit all arms on ``train.parquet`` and rank the full catalogue for every user of ``test.parquet``.

    Decisions are taken by models fitted without a random fifth of each user's training pairs, on those pairs.

    Args:
        folder: Both files hold pairs ``user, item``.
        seeds: One run each; the first also draws the fifth. Arms whose training is not random are fitted once.
        notify: Told what is done.
        arms: As for ``build_models``.

    Returns:
        One row per arm: ``metrics`` and ``sd`` (over seeds) of ``recall@20`` and ``ndcg@20`` on the test, and the same
        with ``validation_``; the ideal list of NDCG holds ``min(20, pairs of the user)`` hits, as LightGCN's does.

    Raises:
        ConfigError: No seeds.
        InputError: Nobody in the test is in the training.
    """
    tell = notify or (lambda *_: None)
    chosen = list(seeds)
    if not chosen:
        raise ConfigError("seeds", "must be at least one", 0)
    train, test = (pd.read_parquet(folder / f"{name}.parquet", columns=["user", "item"]) for name in ("train", "test"))
    train = train.drop_duplicates(ignore_index=True)
    rng = np.random.default_rng(chosen[0])
    held = held_out(train["user"].to_numpy(np.int64), ONE_OF, rng)
    runs: list[dict[str, FittedTwice]] = []
    found: list[dict[str, dict[str, float]]] = []
    tell("data", 0, 2, {})
    early = _snapshot(train[~held])
    tell("data", 1, 2, {})
    late = _snapshot(train)
    tell("data", 2, 2, {})
    validation = asked_about(early, train[held])
    some = np.sort(rng.permutation(len(validation))[:ASKED])
    material, asked = Material(early, validation.take(some), late), asked_about(late, test)
    if not len(asked):
        raise InputError(f"{folder}: test.parquet", "must hold users of train.parquet")
    for seed in chosen:
        label = f"seed {seed}: "
        fitted = fit_twice(seeded(arms, seed), material, runs[0] if runs else {}, label, tell)
        same = {name for name, arm in fitted.items() if runs and runs[0][name] is arm}
        found.append(
            {
                name: found[0][name] if name in same else _judged(fitted[name], material, asked, f"{label}{name}", tell)
                for name in arms
            }
        )
        runs.append(fitted)
    rows = [_row(name, [run[name] for run in runs], [run[name] for run in found], len(asked)) for name in arms]
    return {
        "benchmark": "split",
        "data": folder.name,
        "machine": machine(),
        "seeds": len(runs),
        "users": len(asked),
        "items": len(late.items),
        "rows": rows,
        "ratios": {},
    }


def held_out(users: np.ndarray, one_of: int, rng: np.random.Generator) -> np.ndarray:
    """(m,) bool: of each user's pairs one of ``one_of`` at random, rounded up, and none of those who have one pair."""
    order = np.lexsort((rng.random(len(users)), users))
    _, starts, counts = np.unique(users[order], return_index=True, return_counts=True)
    wanted = np.where(counts > 1, -(-counts // one_of), 0)
    held = np.zeros(len(users), dtype=bool)
    held[order] = np.arange(len(users)) - np.repeat(starts, counts) < np.repeat(wanted, counts)
    return held


def _snapshot(pairs: pd.DataFrame) -> Snapshot:
    """What is known when these pairs have happened."""
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        files, out = Path(scratch) / "files", Path(scratch) / "data"
        files.mkdir()
        pairs.to_parquet(files / "train.parquet", index=False)
        ingest(files, "benchmark_split", out)
        return build_snapshot(engine, Dataset.open(out), END_MS + 1)


def asked_about(snapshot: Snapshot, pairs: pd.DataFrame) -> Labelled:
    """What each user of the snapshot has in ``pairs``, as questions about the snapshot's end."""
    rows = snapshot.users.encode(pairs["user"].astype(str))
    known = rows >= 0
    names = pairs["item"].astype(str)[known]
    vocabulary = snapshot.items.extended(names)
    cells = np.unique(np.stack([rows[known].astype(np.int64), vocabulary.encode(names).astype(np.int64)]), axis=1)
    users, numbers = np.unique(cells[0], return_inverse=True)
    labels = Ragged.from_rows(numbers.astype(np.int64), cells[1].astype(np.int32), len(users))
    groups = np.full(len(users), Group.HOT.value, dtype=object)
    return Labelled(snapshot.sequences.take(users), labels, vocabulary, groups)


def _judged(arm: FittedTwice, material: Material, asked: Labelled, label: str, notify: Notify) -> dict[str, float]:
    """Metrics on the test, and ``validation_`` metrics."""
    began = time.perf_counter()
    metrics: dict[str, float] = {}
    for prefix, model, questions in (("", arm.final, asked), ("validation_", arm.decided, material.blending)):
        stage = f"{label}, {prefix.replace('_', ' ')}answers"
        ids = answer(
            model,
            questions.histories,
            K,
            again=False,
            stage=stage,
            notify=notify,
        )
        found = means(ranking_metrics(ids, questions.labels, (K,)))
        metrics |= {f"{prefix}{name}": found[name] for name in (f"recall@{K}", f"ndcg@{K}")}
    arm.seconds["answer"] = time.perf_counter() - began
    return metrics


def _row(name: str, runs: list[FittedTwice], found: list[dict[str, float]], n: int) -> dict[str, Any]:
    metrics, sd = spread(found)
    stages, _ = spread([run.seconds for run in runs])
    cpu, _ = spread([run.cpu_seconds for run in runs])
    return {
        "model": name,
        "metrics": metrics,
        "sd": sd,
        "n": n,
        "seconds": sum(stages.values()),
        "cpu_seconds": sum(cpu.values()),
        "stages": stages,
        "peak_mb": peak_mb(),
    }


__all__ = ["ASKED", "ONE_OF", "K", "asked_about", "benchmark_split", "held_out"]
