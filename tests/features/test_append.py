"""What the service recorded is read back, once, under the same contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.append import with_recorded
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.schema import DAY_MS
from features.snapshot import build_snapshot

AS_OF = 20_000 * DAY_MS
Rows = list[dict[str, Any]]

EVENTS: Rows = [
    {"event_id": f"e{n}", "user_id": f"u{n % 3}", "item_id": f"i{n % 4}", "event_type": "view", "ts": AS_OF - 9 - n}
    for n in range(20)
]
ITEMS: Rows = [{"item_id": f"i{n}", "valid_from": 0, "category": "c", "available": True} for n in range(4)]
USERS: Rows = [{"user_id": f"u{n}", "valid_from": 0, "gender": "f", "country": "x"} for n in range(3)]
SHOWN = {"surface": "home", "score": 0.5, "level": 3, "propensity": 0.25, "arm": "champion", "bundle_digest": "d"}
IMPRESSIONS: Rows = [
    {"request_id": request, "user_id": "u1", "item_id": f"i{rank}", "rank": rank, "ts": AS_OF - 5, **SHOWN}
    for request in ("r1", "r2")
    for rank in (1, 2)
]
NONE = pd.DataFrame()


@pytest.fixture(scope="module")
def data(make_dataset: Callable[[dict[str, Rows]], Dataset]) -> Dataset:
    return make_dataset({"events": EVENTS, "items": ITEMS, "users": USERS})


def ids(data: Dataset, table: str, *keys: str) -> list[Any]:
    return sorted(
        pq.read_table(data.folder / f"{table}.parquet", columns=list(keys)).to_pandas().itertuples(index=False)
    )


def test_the_snapshot_sees_what_was_recorded(data: Dataset, engine: Engine, tmp_path: Path) -> None:
    recorded = pd.DataFrame(
        [
            {"event_id": "live1", "user_id": "u1", "item_id": "i3", "event_type": "purchase", "ts": AS_OF - 2},
            {"event_id": "live2", "user_id": "guest", "item_id": "fresh", "event_type": "view", "ts": AS_OF - 1},
            {"event_id": "live3", "user_id": "guest", "item_id": "fresh", "event_type": "view", "ts": AS_OF},
        ]
    )
    both = with_recorded(data, recorded, pd.DataFrame(IMPRESSIONS), tmp_path / "deep" / "out")
    before, after = build_snapshot(engine, data, AS_OF), build_snapshot(engine, both, AS_OF)
    assert both.attributes == data.attributes == ("gender", "country")
    assert set(after.user_matrix.index) - set(before.user_matrix.index) == {"guest"}
    assert set(after.item_matrix.index) - set(before.item_matrix.index) == {"fresh"}
    assert after.user_matrix["purchases_1d"].to_dict() == {"guest": 0, "u0": 0, "u1": 1, "u2": 0}
    assert after.user_matrix["impressions_1d"].to_dict() == {"guest": 0, "u0": 0, "u1": 4, "u2": 0}
    assert after.item_matrix["impressions_90d"].to_dict() == {"fresh": 0, "i0": 0, "i1": 2, "i2": 2, "i3": 0}
    assert after.item_matrix.loc["fresh", "views_1d"] == 1
    shown = both.impressions(engine)
    assert shown is not None
    columns = ["request_id", "rank", "level", "propensity", "bundle_digest"]
    rows = engine.to_pandas(shown.order_by(["request_id", "rank"])[columns]).to_dict("records")
    assert rows == [{name: row[name] for name in columns} for row in IMPRESSIONS]


def test_a_row_is_taken_once(data: Dataset, tmp_path: Path) -> None:
    """Most of what is appended is there already: no breach of the contract, whatever its share."""
    new = {"event_id": "new", "user_id": "u1", "item_id": "i0", "event_type": "view", "ts": AS_OF}
    first = with_recorded(data, pd.DataFrame([*EVENTS, new]), pd.DataFrame(IMPRESSIONS[:3]), tmp_path / "first")
    assert [one.event_id for one in ids(first, "events", "event_id")] == sorted([*(f"e{n}" for n in range(20)), "new"])
    second = with_recorded(first, pd.DataFrame([new]), pd.DataFrame(IMPRESSIONS), tmp_path / "second")
    assert ids(second, "events", "event_id") == ids(first, "events", "event_id")
    assert [tuple(one) for one in ids(second, "impressions", "request_id", "rank")] == [
        ("r1", 1),
        ("r1", 2),
        ("r2", 1),
        ("r2", 2),
    ]


def test_the_same_content_as_one_ingest(
    data: Dataset, make_dataset: Callable[[dict[str, Rows]], Dataset], tmp_path: Path
) -> None:
    half = make_dataset({"events": EVENTS[:10], "items": ITEMS, "users": USERS})
    assert with_recorded(half, pd.DataFrame(EVENTS[10:]), NONE, tmp_path / "out").digest == data.digest


def test_nothing_recorded_changes_nothing(data: Dataset, tmp_path: Path) -> None:
    same = with_recorded(data, NONE, NONE, tmp_path / "out")
    assert same.digest == data.digest and "impressions" not in same.info["tables"]


def test_own_impressions_stay(data: Dataset, tmp_path: Path) -> None:
    shown = with_recorded(data, NONE, pd.DataFrame(IMPRESSIONS), tmp_path / "shown")
    assert with_recorded(shown, NONE, NONE, tmp_path / "again").digest == shown.digest


def test_in_place(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = with_recorded(data, NONE, pd.DataFrame(IMPRESSIONS), out)
    assert with_recorded(first, NONE, pd.DataFrame(IMPRESSIONS), out).digest == first.digest


def test_data_without_order_stays_without(data: Dataset, tmp_path: Path) -> None:
    assert with_recorded(data, NONE, NONE, tmp_path / "ordered").order_within_session
    info = tmp_path / "ordered" / "dataset.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "order_within_session": False}))
    unordered = Dataset.open(tmp_path / "ordered")
    assert not with_recorded(unordered, pd.DataFrame(EVENTS[:1]), NONE, tmp_path / "out").order_within_session


def test_what_breaks_the_contract_is_refused(data: Dataset, tmp_path: Path) -> None:
    bad = pd.DataFrame([{**EVENTS[0], "event_id": "bad", "event_type": "teleport"}])
    with pytest.raises(InputError, match="event_type must be one of"):
        with_recorded(data, bad, NONE, tmp_path / "out")
    assert not (tmp_path / "out").exists()
