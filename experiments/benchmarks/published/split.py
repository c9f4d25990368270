"""A published split of pairs of user and item, as the papers on graph-based recommendation report it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.benchmarks.published.arms import SPLIT, Arms
from experiments.benchmarks.published.files import read_published
from experiments.benchmarks.published.fitted import Material
from experiments.benchmarks.published.kept import Kept, identity_of
from experiments.benchmarks.published.repeated import judge_on, repeated, seeds_of
from experiments.benchmarks.published.snapshots import snapshot_of
from features.errors import InputError
from features.sequences import Ragged
from features.snapshot import Snapshot
from features.sources.published import Kind
from features.split import Group, Labelled
from training.train import Notify

#: The list that is judged.
K = 20

#: By the papers' names, which are ours.
METRICS = {name: name for name in (f"recall@{K}", f"ndcg@{K}")}

#: One of so many of each user's training pairs is decided on, rounded up: as the published test was taken from all
#: pairs, ``n - floor(0.8 n)`` of each user's. Users with few pairs lose a larger share, and so they do here.
ONE_OF = 5

#: At most so many users are asked about what was held out, at random: a mean over half of them is sure to 0.005.
ASKED = 8_000

#: What both files hold.
_PAIRS = {"user": Kind.INTEGER, "item": Kind.INTEGER}

#: The file and the source that reads it.
_READ_AS = ("train.parquet", "benchmark_split")


def benchmark_split(
    folder: Path,
    seeds: Iterable[int],
    notify: Notify | None = None,
    arms: Arms = SPLIT,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Fit all arms on ``train.parquet`` and rank the full catalogue for every user of ``test.parquet``.

    Decisions are taken by models fitted without a random fifth of each user's training pairs, on those pairs.

    Args:
        folder: Both files hold pairs ``user, item``.
        seeds: One run each; the first also draws the fifth. Arms whose training is not random are fitted once.
        notify: Told what is done.
        arms: As for ``build_models``.
        keep: A file that each seed is written to as it ends, and read from instead of being run again.

    Returns:
        One row per arm: ``metrics`` and ``sd`` (over seeds) of ``recall@20`` and ``ndcg@20`` on the test, and the same
        with ``validation_``; the ideal list of NDCG holds ``min(20, pairs of the user)`` hits, as LightGCN's does.
        ``left_out``: the rows that were not used, by reason.

    Raises:
        ConfigError: No seeds.
        StellarError: A file cannot be read, or nobody in the test is in the training.
    """
    tell, chosen = notify or (lambda *_: None), seeds_of(seeds)
    kept = Kept(keep, identity_of("split", folder, arms))
    train, test = (read_published(folder, f"{name}.parquet", _PAIRS) for name in ("train", "test"))
    left_out = {
        "train: copies of a pair": int(train.duplicated().sum()),
        "test: copies of a pair": int(test.duplicated().sum()),
        "test: users without training": int((~test["user"].isin(train["user"])).sum()),
    }
    train = train.drop_duplicates(ignore_index=True)
    rng = np.random.default_rng(chosen[0])
    held = held_out(train["user"].to_numpy(np.int64), ONE_OF, rng)
    tell("data", 0, 2, {})
    early = snapshot_of(train[~held], *_READ_AS)
    tell("data", 1, 2, {})
    late = snapshot_of(train, *_READ_AS)
    tell("data", 2, 2, {})
    validation = asked_about(early, train[held])
    some = np.sort(rng.permutation(len(validation))[:ASKED])
    material, asked = Material(early, validation.take(some), late), asked_about(late, test)
    if not len(asked):
        users = ", ".join(str(user) for user in test["user"].unique()[:3])
        raise InputError(
            f"{folder}: test.parquet", "must hold users of train.parquet", users, "give files of one split"
        )

    judge = judge_on(asked, material, METRICS, K, tell)
    decides, told = f"validation_ndcg@{K}", f"ndcg@{K}"
    return {
        "benchmark": "split",
        "data": folder.name,
        "left_out": {reason: count for reason, count in left_out.items() if count},
        **repeated(arms, chosen, material, judge, len(asked), tell, kept=kept, decides=decides, told=told),
    }


def held_out(users: np.ndarray, one_of: int, rng: np.random.Generator) -> np.ndarray:
    """(m,) bool: of each user's pairs one of ``one_of`` at random, rounded up, and none of those who have one pair."""
    order = np.lexsort((rng.random(len(users)), users))
    _, starts, counts = np.unique(users[order], return_index=True, return_counts=True)
    wanted = np.where(counts > 1, -(-counts // one_of), 0)
    held = np.zeros(len(users), dtype=bool)
    held[order] = np.arange(len(users)) - np.repeat(starts, counts) < np.repeat(wanted, counts)
    return held


def asked_about(snapshot: Snapshot, pairs: pd.DataFrame) -> Labelled:
    """What each user of the snapshot has in ``pairs``, as questions about the snapshot's end."""
    rows = snapshot.users.encode(pairs["user"].astype(str))
    known = rows >= 0
    names = pairs["item"].astype(str)[known]
    vocabulary = snapshot.items.extended(names)
    labels = Ragged.distinct(rows[known], vocabulary.encode(names), len(snapshot.users))
    users = np.flatnonzero(labels.lengths)
    groups = np.full(len(users), Group.HOT.value, dtype=object)
    return Labelled(snapshot.sequences.take(users), labels.take(users), vocabulary, groups)


__all__ = ["ASKED", "ONE_OF", "K", "asked_about", "benchmark_split", "held_out"]
