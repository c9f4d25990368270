"""Tripwire: a future planted beside the data must leave no trace in what models learn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from features.canary import plant, sample
from features.dataset import Dataset
from features.engine import Engine
from features.snapshot import Snapshot, build_snapshot
from training.tripwires.alarms import Alarm

WIRE = "future canary"

#: Users whose snapshot is built twice, and those of them, and items, of whom a future is planted.
USERS, PLANTED = 500, 20

Build = Callable[[Engine, Dataset, int], Snapshot]


def future_canary(engine: Engine, dataset: Dataset, as_of_ms: int, build: Build = build_snapshot) -> list[Alarm]:
    """An alarm for everything that differs between the snapshots of a sample of users with and without a future.

    Args:
        build: What makes the snapshots that models learn from.
    """
    few, ids = sample(engine, dataset, as_of_ms, USERS)
    plain = build(engine, few, as_of_ms)
    known = [str(item) for item in plain.item_matrix.index]
    items = [known[place] for place in np.linspace(0, len(known) - 1, min(PLANTED, len(known))).astype(np.int64)]
    users = [ids[place] for place in np.linspace(0, len(ids) - 1, min(PLANTED, len(ids))).astype(np.int64)]
    planted = build(engine, plant(few, users, items, as_of_ms), as_of_ms)
    return [Alarm(WIRE, name, "changes with what happens later") for name in differences(plain, planted)]


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """Names of what two snapshots do not have in common: rows, columns, sequences."""
    found = []
    for table, mine, theirs in (
        ("user", one.user_matrix, other.user_matrix),
        ("item", one.item_matrix, other.item_matrix),
    ):
        if not mine.index.equals(theirs.index):
            found.append(f"{table} rows")
            continue
        columns = mine.columns.union(theirs.columns, sort=False)
        found += [f"{table} column {name}" for name in columns if not _same(mine.get(name), theirs.get(name))]
    names = ("offsets", "items", "event_types", "ts")
    if not all(np.array_equal(getattr(one.sequences, name), getattr(other.sequences, name)) for name in names):
        found.append("sequences")
    if found == [] and one.digest != other.digest:
        found.append("the snapshot's digest")
    return found


def _same(one: pd.Series | None, other: pd.Series | None) -> bool:
    return one is not None and other is not None and one.equals(other)


__all__ = ["USERS", "WIRE", "Build", "differences", "future_canary"]
