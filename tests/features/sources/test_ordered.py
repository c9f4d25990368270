"""Sequences, sessions and pairs: data that has an order but no time, or not even an order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError
from features.sources import source

_END = 1_577_836_800_000
_DAY = 86_400_000


def test_lists_end_together_and_keep_their_order(tmp_path: Path, lay: Any, read: Any) -> None:
    lay(tmp_path, "sequences.parquet", [{"user": 7, "items": [5, 9, 5]}, {"user": 8, "items": [2]}])
    events = read("benchmark_sequences", tmp_path, "events")
    same = {"event_type": "purchase", "quantity": 1}
    assert events == [
        {"event_id": "1-1", "user_id": "7", "item_id": "5", "ts": _END - 2 * _DAY, **same},
        {"event_id": "1-2", "user_id": "7", "item_id": "9", "ts": _END - _DAY, **same},
        {"event_id": "1-3", "user_id": "7", "item_id": "5", "ts": _END, **same},
        {"event_id": "2-1", "user_id": "8", "item_id": "2", "ts": _END, **same},
    ]


def test_nothing_of_a_list_is_dropped_in_silence(tmp_path: Path, lay: Any, read: Any) -> None:
    lists = [
        {"user": 1, "items": [5]},
        {"user": 2, "items": []},
        {"user": 3, "items": None},
        {"user": 1, "items": [6, 7]},
        {"user": 4, "items": [None]},
    ]
    lay(tmp_path, "sequences.parquet", lists)
    events = read("benchmark_sequences", tmp_path, "events")
    told = [(event["user_id"], event.get("item_id"), event.get("reject")) for event in events]
    assert told == [
        ("1", "5", None),
        ("2", None, "no items"),
        ("3", None, "no items"),
        ("1", "6", "listed again"),
        ("1", "7", "listed again"),
        ("4", None, None),
    ]
    ids = [event["event_id"] for event in events if "item_id" in event]
    assert len(set(ids)) == len(ids)


def test_attributes_of_items_are_optional(tmp_path: Path, lay: Any, read: Any, engine: Any) -> None:
    lay(tmp_path, "sequences.parquet", [{"user": 1, "items": [5]}])
    assert set(source("benchmark_sequences").read(engine, tmp_path)) == {"events"}
    lay(tmp_path, "item2attributes.parquet", [{"item": 5, "attributes": [3, 1]}, {"item": 6, "attributes": [4]}])
    same = {"valid_from": 0, "category": "unknown", "available": True}
    assert read("benchmark_sequences", tmp_path, "items") == [
        {"item_id": "5", "attributes": "3|1", **same},
        {"item_id": "6", "attributes": "4", **same},
    ]


def test_clicks_of_a_session_are_views_a_minute_apart(tmp_path: Path, lay: Any, read: Any) -> None:
    lay(tmp_path, "train_sequences.parquet", [{"session_idx": 3, "items": [5, 5]}, {"session_idx": 4, "items": []}])
    (tmp_path / "test.parquet").write_bytes(b"held out, and no Parquet")
    first, second, empty = read("session_lists", tmp_path, "events")
    same = {"user_id": "3", "session_id": "3", "item_id": "5", "event_type": "view"}
    assert first == {"event_id": "1-1", "ts": _END - 60_000, **same}
    assert second == {"event_id": "1-2", "ts": _END, **same}
    assert empty["reject"] == "no items"


def test_pairs_without_an_order_share_one_instant(tmp_path: Path, lay: Any, read: Any) -> None:
    lay(tmp_path, "train.parquet", [{"user": 1, "item": 9}, {"user": 0, "item": 8}])
    (tmp_path / "test.parquet").write_bytes(b"held out, and no Parquet")
    same = {"event_type": "purchase", "quantity": 1, "ts": _END}
    assert read("benchmark_split", tmp_path, "events") == [
        {"event_id": "1-9", "user_id": "1", "item_id": "9", **same},
        {"event_id": "0-8", "user_id": "0", "item_id": "8", **same},
    ]


def test_only_sessions_carry_an_order_inside_a_visit() -> None:
    assert source("session_lists").order_within_session
    assert not source("benchmark_sequences").order_within_session
    assert not source("benchmark_split").order_within_session


def test_lists_of_text_are_refused(tmp_path: Path, lay: Any, read: Any) -> None:
    lay(tmp_path, "sequences.parquet", [{"user": 1, "items": ["5"]}])
    with pytest.raises(InputError, match="column 'items' must be lists of whole numbers, received 'array<string>'"):
        read("benchmark_sequences", tmp_path, "events")
