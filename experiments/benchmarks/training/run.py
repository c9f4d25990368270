"""The benchmark: a peer's training first, then ours, judged by the same code on the same validation users.

```
 a user's items: .... .... .... .... | last but one | last
 both learn ------------------------> | validation   | nobody looks
```
Both train on the CPU with as many threads, one after the other. What counts is the time from the first call of the
training to the end of an epoch, without the time that judging it takes; the data are read and split before.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from experiments.benchmarks.machine import machine
from experiments.benchmarks.published.files import ingest_published
from experiments.benchmarks.published.fitted import Material
from experiments.benchmarks.published.leave_one_out import leave_out
from experiments.benchmarks.published.questions import answer
from experiments.benchmarks.training.curve import Curve, Point, best, epoch_seconds, seconds_to_reach
from experiments.benchmarks.training.environment import peer_python
from experiments.benchmarks.training.peer_run import K, PeerTraining, hand_over, run_peer
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.home import home
from training.metrics import ranking_metrics
from training.recommender import TrainingSet
from training.revision import code_revision
from training.train import Notify
from training.transformer import SequenceTransformer

PEER, OURS = "SASRec of RecTools", SequenceTransformer.name


def benchmark_training(folder: Path, minutes: float = 60.0, notify: Notify | None = None) -> dict[str, Any]:
    """Train SASRec of RecTools, then ``transformer``, on a folder with ``sequences.parquet``.

    Ours has the defaults, 64 dimensions and one block like the peer's published settings, and reads the items'
    attributes if they are known, which those do not. Its time includes the validation by which it decides when to stop;
    the peer decides nothing.

    Args:
        folder: As for ``benchmark_leave_one_out``.
        minutes: Of training for the peer; it ends its last epoch.
        notify: Told what is done.

    Returns:
        ``target``, the peer's best NDCG@10 on all validation users, from the full catalogue. ``rows``, one for each:
        its own best, ``seconds_to_reach`` the target (None: never), median ``epoch_seconds``, ``seconds`` of training,
        ``judging_s`` besides, ``curve``, ``versions``, ``settings``. ``ratios``: the peer's seconds to ours. ``load``:
        mean number of running processes on the machine in the minute before, between and after.

    Raises:
        ConfigError: ``minutes`` is not a number above 0.
        PeerError: The peer cannot be installed, or does not train.
        StellarError: The folder cannot be read.
    """
    if not 0 < minutes < math.inf:
        raise ConfigError("minutes", "must be above 0", minutes)
    tell, threads = notify or (lambda *_: None), torch.get_num_threads()
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch:
        material = _material(folder, Path(scratch), tell)
        python = peer_python(tell)
        load, job = [os.getloadavg()[0]], Path(scratch) / "peer"
        job.mkdir()
        asked, again = material.validation, material.again
        hand_over(job, material.early, asked, seconds=60 * minutes, threads=threads, seed=0, again=again)
        peer = run_peer(python, job, asked, tell)
    load.append(os.getloadavg()[0])
    model = SequenceTransformer(device="cpu")
    ours = train_ours(model, material, tell)
    load.append(os.getloadavg()[0])
    return {
        "benchmark": "training",
        "data": folder.name,
        "machine": machine(),
        "threads": threads,
        "load": load,
        "commit": code_revision().get("mlflow.source.git.commit"),
        "users": len(asked),
        "items": len(material.early.items),
        "minutes": minutes,
        "seen_items_are_answers": again,
        **compared(peer, ours, len(asked), model.config.model_dump(mode="json")),
    }


def _material(folder: Path, scratch: Path, tell: Notify) -> Material:
    tell("data", 0, 1, {})
    dataset, _ = ingest_published(folder, "benchmark_sequences", scratch / "data")
    with Engine.duckdb() as engine:
        split = leave_out(engine, dataset)
    if not len(split.material.blending):
        raise InputError(f"{folder}: sequences.parquet", "must hold two users with three items", 1, "give more of them")
    tell("data", 1, 1, {})
    return split.material


def train_ours(model: SequenceTransformer, material: Material, tell: Notify) -> list[Point]:
    """Fit the model as it is always fitted, with all validation users to stop on, and judge it after each epoch."""
    asked, curve, judging_s = material.validation, list[Point](), 0.0

    def judge(epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        nonlocal judging_s
        paused = time.perf_counter()
        seconds = paused - began - judging_s
        ids = answer(model, asked.histories, K, again=material.again)
        ndcg = float(ranking_metrics(ids, asked.labels, (K,))["ndcg@10"].mean())
        tell(OURS, epoch, of, {**metrics, "ndcg@10": ndcg})
        judging_s += time.perf_counter() - paused
        curve.append(Point(epoch, seconds, judging_s, ndcg))

    tell(OURS, 0, model.config.epochs, {})
    began = time.perf_counter()
    model.fit(TrainingSet(material.early, asked), judge)
    return curve


def compared(peer: PeerTraining, ours: Curve, n: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``target``, ``rows``, ``ratios`` and ``peer_ended``; see ``benchmark_training``.

    Args:
        n: Validation users.
        settings: Of ours.
    """
    target = best(peer.curve).ndcg
    versions = {"torch": torch.__version__}
    rows = [
        _row(PEER, peer.curve, target, n, peer.versions, peer.settings),
        _row(OURS, ours, target, n, versions, settings),
    ]
    theirs, own = rows
    measures = ("seconds_to_reach", "epoch_seconds")
    ratios = {name: None if own[name] is None else theirs[name] / own[name] for name in measures}
    return {"peer_ended": peer.ended, "target": target, "rows": rows, "ratios": ratios}


def _row(
    name: str, curve: Curve, target: float, n: int, versions: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    top = best(curve)
    return {
        "model": name,
        "metrics": {"ndcg@10": top.ndcg},
        "sd": {},
        "n": n,
        "best_epoch": top.epoch,
        "seconds_to_reach": seconds_to_reach(curve, target),
        "epoch_seconds": epoch_seconds(curve),
        "seconds": curve[-1].seconds,
        "judging_s": curve[-1].judging_s,
        "versions": dict(versions),
        "settings": dict(settings),
        "curve": [{"epoch": p.epoch, "seconds": p.seconds, "judging_s": p.judging_s, "ndcg@10": p.ndcg} for p in curve],
    }


def render_training(result: dict[str, Any]) -> Table:
    """Both trainings, and how much faster ours was."""
    target, faster = f"{result['target']:.4f}", result["ratios"]["seconds_to_reach"]
    told = [f"{result['minutes']:g} minutes for the peer, {result['threads']} thread(s)"]
    if result["peer_ended"] != "whole":
        told.append(f"the peer {result['peer_ended']}")
    told.append(f"{target} was never reached by ours" if faster is None else f"{faster:.1f} times faster to {target}")
    title = f"{result['data']}: {result['users']:,} validation users, {result['items']:,} items"
    table = Table(title=title, caption="; ".join(told))
    columns = ["model", "best ndcg@10", "in epoch", f"seconds to {target}", "seconds per epoch", "seconds"]
    for column in columns:
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in result["rows"]:
        reached = "never" if row["seconds_to_reach"] is None else f"{row['seconds_to_reach']:,.1f}"
        best_of = (f"{row['metrics']['ndcg@10']:.4f}", str(row["best_epoch"]))
        table.add_row(row["model"], *best_of, reached, f"{row['epoch_seconds']:,.1f}", f"{row['seconds']:,.0f}")
    return table


__all__ = ["OURS", "PEER", "benchmark_training", "compared", "render_training", "train_ours"]
