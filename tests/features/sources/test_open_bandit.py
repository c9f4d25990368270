"""Open Bandit: impressions of two policies with what they were shown with, and clicks after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_FEATURES = {f"user_feature_{i}": f"hash {i}" for i in range(4)}


def _shown(time: str, click: int, propensity: float) -> dict[str, Any]:
    row = {"timestamp": time, "item_id": 36, "position": 2, "click": click, "propensity_score": propensity}
    return row | _FEATURES | {"Unnamed: 0": 0, "user-item_affinity_0": 1.0}


@pytest.fixture
def log(tmp_path: Path, lay: Any) -> Path:
    lay(tmp_path, "random_women.parquet", [_shown("2019-11-24 00:00:01.788335+00:00", 0, 0.25)])
    shown = [_shown("2019-11-24 00:00:02+00:00", 1, 1e-6), _shown("2019-11-24 09:00:02+09:00", 0, 0.5)]
    lay(tmp_path, "bts_women.parquet", shown)
    item = {"item_id": 36, "item_feature_0": -0.5} | {f"item_feature_{i}": f"h{i}" for i in (1, 2, 3)}
    lay(tmp_path, "random_women_item_context.parquet", [item])
    return tmp_path


_FIRST_MS = 1_574_553_601_788


def test_impressions(log: Path, read: Any) -> None:
    sampled, other_zone, uniform = read("open_bandit", log, "impressions")
    assert uniform == {
        "request_id": "random-1",
        "user_id": "random-1",
        "surface": "women",
        "item_id": "36",
        "rank": 2,
        "score": 0.25,
        "level": 0,
        "propensity": 0.25,
        "arm": "random",
        "bundle_digest": "open_bandit:random",
        "ts": _FIRST_MS,
    }
    assert (sampled["request_id"], sampled["arm"], sampled["propensity"]) == ("bernoulli_ts-1", "bernoulli_ts", 1e-6)
    assert sampled["ts"] == 1_574_553_602_000
    assert "ts" not in other_zone


def test_a_click_is_a_view_right_after_its_impression(log: Path, read: Any) -> None:
    assert read("open_bandit", log, "events") == [
        {
            "event_id": "click-bernoulli_ts-1",
            "user_id": "bernoulli_ts-1",
            "item_id": "36",
            "event_type": "view",
            "ts": 1_574_553_602_001,
            "properties": '{"request_id":"bernoulli_ts-1"}',
        }
    ]


def test_users_and_items(log: Path, read: Any) -> None:
    assert read("open_bandit", log, "users")[2] == {"user_id": "random-1", "valid_from": _FIRST_MS - 1, **_FEATURES}
    assert read("open_bandit", log, "items") == [
        {"item_id": "36", "valid_from": 0, "category": "unknown", "available": True, "item_feature_0": "-0.5"}
        | {f"item_feature_{i}": f"h{i}" for i in (1, 2, 3)}
    ]
