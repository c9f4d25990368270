"""Training the peer in a process of its own, and judging the lists that it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.benchmarks.training.curve import Point
from experiments.benchmarks.training.environment import PeerError, last_line
from experiments.recommendation_file import read_recommendations
from features.errors import InputError
from features.ids import Vocabulary
from features.schema import Columns
from features.snapshot import Snapshot
from features.split import Labelled
from training.metrics import ranking_metrics
from training.train import Notify

#: What runs inside the peer's environment; its first lines say what it reads and writes.
SCRIPT = Path(__file__).with_name("peer.py")

#: The most epochs that the peer is given, as published; its time is over long before on a few cores.
EPOCHS = 200

#: The list that is judged.
K = 10


@dataclass(frozen=True, slots=True)
class PeerTraining:
    """What became of the peer.

    Attributes:
        curve: Its epochs.
        versions, settings: As it told them.
        ended: ``whole`` if it stopped by itself, else how it died; its epochs count all the same.
    """

    curve: list[Point]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    ended: str


def hand_over(
    folder: Path, snapshot: Snapshot, asked: Labelled, *, seconds: float, threads: int, seed: int, again: bool
) -> None:
    """Write what ``peer.py`` reads.

    Args:
        folder: Exists and is empty.
        snapshot: What the peer learns from: all events about items, none of them twice for one order of a timeline.
        asked: Questions about the snapshot.
        seconds: Of training, at least.
        again: Whether lists may hold what the user has had.
    """
    known = snapshot.sequences.where(snapshot.sequences.items >= 0)
    interactions = pd.DataFrame(
        {
            "user_id": known.user_ids[known.rows],
            "item_id": snapshot.items.decode(known.items),
            "datetime": pd.to_datetime(known.ts, unit="ms"),
        }
    )
    interactions.to_parquet(folder / "interactions.parquet", index=False)
    pd.DataFrame({Columns.USER_ID: asked.histories.user_ids}).to_parquet(folder / "users.parquet", index=False)
    job = {"seconds": seconds, "epochs": EPOCHS, "threads": threads, "seed": seed, "k": K, "again": again}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def run_peer(python: Path, folder: Path, asked: Labelled, notify: Notify, script: Path = SCRIPT) -> PeerTraining:
    """Train the peer on what ``hand_over`` wrote to ``folder``; its lists are judged when it has ended.

    Raises:
        PeerError: It died before its first epoch was over.
        InputError: What it left cannot be read.
    """
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    threads = {name: str(job["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    log, stage = folder / "peer.log", "the peer's training, in seconds"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(python), "-I", str(script), str(folder)],
            env=os.environ | threads,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    began = time.perf_counter()
    try:
        while process.poll() is None:
            of = int(max(job["seconds"], time.perf_counter() - began))
            notify(stage, int(time.perf_counter() - began), of, {})
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    curve = read_curve(folder, asked)
    if not curve:
        mend = "give it more memory, or see what its own log says"
        raise PeerError("the peer", "must train for an epoch", f"exit {process.returncode}: {last_line(log)}", mend)
    notify(stage, 1, 1, {"ndcg@10": max(point.ndcg for point in curve)})
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    ended = "whole" if process.returncode == 0 else f"died with exit status {process.returncode}: {last_line(log)}"
    return PeerTraining(curve, about["versions"], about["settings"], ended)


def read_curve(folder: Path, asked: Labelled) -> list[Point]:
    """The epochs whose lists are there, judged; a last line that was not written to its end is not an epoch.

    Raises:
        InputError: Another line is not one, or a list is not a ranking.
    """
    file, curve = folder / "epochs.jsonl", []
    whole = file.read_text(encoding="utf-8").rpartition("\n")[0] if file.is_file() else ""
    users = Vocabulary(asked.histories.user_ids)
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            told = json.loads(line)
            epoch, seconds, listing_s = int(told["epoch"]), float(told["seconds"]), float(told["listing_seconds"])
        except (ValueError, KeyError, TypeError) as error:
            rule = "must tell epoch, seconds and listing_seconds"
            raise InputError(f"{file.name}: line {number}", rule, line, "run again") from error
        ids, _ = read_recommendations(folder / f"lists-{epoch}.parquet", users, asked.vocabulary, K)
        ndcg = ranking_metrics(ids, asked.labels, (K,))[f"ndcg@{K}"].mean()
        curve.append(Point(epoch, seconds, listing_s, float(ndcg)))
    return curve


__all__ = ["EPOCHS", "SCRIPT", "K", "PeerTraining", "hand_over", "read_curve", "run_peer"]
