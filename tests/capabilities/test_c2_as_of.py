"""C2: an event added after t never changes the answer as of t."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.schema import DAY_MS, EventType
from features.snapshot import Snapshot, build_snapshot


@pytest.fixture(scope="module")
def as_of_ms(shop_data: Dataset) -> int:
    return shop_data.first_ms // DAY_MS * DAY_MS + 80 * DAY_MS


@pytest.fixture(scope="module")
def answer(shop_data: Dataset, as_of_ms: int) -> Snapshot:
    return snapshot_of(shop_data, as_of_ms)


def snapshot_of(data: Dataset, as_of_ms: int) -> Snapshot:
    with Engine.duckdb(threads=1) as engine:
        return build_snapshot(engine, data, as_of_ms)


def with_events(events: pd.DataFrame, shop_files: Path, folder: Path) -> Dataset:
    events.to_parquet(folder / "events.parquet", index=False)
    for table in ("items", "users"):
        pd.read_parquet(shop_files / f"{table}.parquet").to_parquet(folder / f"{table}.parquet", index=False)
    ingest(folder, "tables", folder / "out")
    return Dataset.open(folder / "out")


def after(events: pd.DataFrame, as_of_ms: int, n: int) -> pd.DataFrame:
    """Events of every type by known and unknown users with known and unknown items, the first at the instant."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "event_id": [f"planted{number}" for number in range(n)],
            "anonymous_id": [f"visitor{number}" for number in range(n)],
            "user_id": [*rng.choice(events["user_id"].unique(), n - 9), *(f"stranger{at}" for at in range(9))],
            "item_id": [*rng.choice(events["item_id"].dropna().unique(), n - 9), *(f"novelty{at}" for at in range(9))],
            "event_type": [list(EventType)[number % len(EventType)].value for number in range(n)],
            "ts": as_of_ms + np.arange(n)[::-1] * 60_000,
            "order_id": [f"planted order {number}" for number in range(n)],
            "quantity": 100,
            "unit_price_cents": 10_000_000,
        }
    )


def test_events_added_after_the_instant(shop_files: Path, answer: Snapshot, as_of_ms: int, tmp_path: Path) -> None:
    events = pd.read_parquet(shop_files / "events.parquet")
    planted = with_events(pd.concat([events, after(events, as_of_ms, 3_000)]), shop_files, tmp_path)
    found = snapshot_of(planted, as_of_ms)
    pd.testing.assert_frame_equal(found.user_matrix, answer.user_matrix)
    pd.testing.assert_frame_equal(found.item_matrix, answer.item_matrix)
    assert found.digest == answer.digest


def test_events_taken_away_after_the_instant(shop_files: Path, answer: Snapshot, as_of_ms: int, tmp_path: Path) -> None:
    events = pd.read_parquet(shop_files / "events.parquet")
    past = events[events["ts"] < as_of_ms]
    assert 0 < len(past) < len(events)
    assert snapshot_of(with_events(past, shop_files, tmp_path), as_of_ms).digest == answer.digest


def test_an_event_before_the_instant_does_change_it(
    shop_files: Path, answer: Snapshot, as_of_ms: int, tmp_path: Path
) -> None:
    events = pd.read_parquet(shop_files / "events.parquet")
    one = after(events, as_of_ms, 10).iloc[:1].assign(ts=as_of_ms - 1)
    planted = with_events(pd.concat([events, one]), shop_files, tmp_path)
    assert snapshot_of(planted, as_of_ms).digest != answer.digest
