"""A model of a large catalogue: fitted, saved and loaded, and asked with and without its index."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import training.zoo  # noqa: F401  # models are found by name
from experiments.benchmarks.catalogue.planted import planted
from experiments.benchmarks.catalogue.timed import alone_ms
from experiments.benchmarks.machine import peak_mb
from features.schema import Columns
from training.blend import Blend
from training.by_vectors import ByVectors
from training.recommender import Ids, TrainingSet, model_class

#: Hyper-parameters that bound the work: of a network few and large steps, for each goes over all items' vectors.
SETTINGS: dict[str, dict[str, Any]] = {
    "transformer": {"epochs": 2, "batch_size": 2_048, "batch_events": 16_384, "device": "cpu"},
    "factorization": {},
}

K, ALONE = 100, 32


class Stages:
    """What happened: seconds of the wall clock and of the processor, and the most memory held until the end of each."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        result = work()
        spent = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
        self.told.append({"stage": name, **spent, "peak_mb": peak_mb()})
        return result


def trained(
    name: str, n_items: int, n_events: int, n_users: int, seed: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Fit a model on a planted log, and hold what its index finds against a look at all items.

    Args:
        n_users: How many are asked for ``K`` available items.
        settings: Hyper-parameters beside those of ``SETTINGS``.

    Returns:
        ``stages``, ``recall`` of the index, ``hit`` and ``hit_exact`` (the share of users whose next purchase is
        found), ``exact_ms`` and ``index_ms`` of the processor for one request, a blend's of that model alone.
    """
    stage = Stages()
    world = stage("log", lambda: planted(n_items, n_events, seed))
    snapshot = world.snapshot
    model: Any = model_class(name)(**SETTINGS[name] | settings)
    stage("fit and index", lambda: model.fit(TrainingSet(snapshot)))
    with tempfile.TemporaryDirectory() as folder:
        stage("save", lambda: model.save(Path(folder)))
        model = stage("load", lambda: type(model).load(Path(folder)))
    assert isinstance(model, ByVectors)
    rows = np.unique(np.linspace(0, len(snapshot.users) - 1, n_users).astype(np.int64))
    asked, answers = snapshot.sequences.take(rows), world.answers[rows]
    allowed = snapshot.item_matrix[Columns.AVAILABLE].to_numpy(dtype=bool)
    found = stage("retrieve", lambda: model.recommend(asked, K, allowed)[0])
    alone = Blend.of_one(name, model, snapshot)
    index_ms = alone_ms(lambda row: alone.recommend(asked.take(row), K, allowed), ALONE)
    index, model._nearest = model._nearest, None
    best = stage("retrieve exactly", lambda: model.recommend(asked, K, allowed)[0])
    exact_ms = alone_ms(lambda row: alone.recommend(asked.take(row), K, allowed), ALONE)
    shared = [len(set(one) & set(other)) for one, other in zip(best.tolist(), found.tolist(), strict=True)]
    return {
        "stages": stage.told,
        "n": len(rows),
        "recall": float(np.mean(shared)) / K,
        "hit": _hit(found, answers),
        "hit_exact": _hit(best, answers),
        "index_ms": index_ms,
        "exact_ms": exact_ms,
        "indexed": index is not None,
        "groups": 0 if index is None else index.n_groups,
        "probes": 0 if index is None else index.probes,
        "config": model.config.model_dump(),
    }


def _hit(found: Ids, answers: Ids) -> float:
    return float((found == answers[:, None]).any(axis=1).mean())


__all__ = ["SETTINGS", "trained"]
