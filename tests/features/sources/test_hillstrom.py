"""The e-mail test: the arm is a message, outcomes come after it and attributes before it; a lost arm is no control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from features.definitions import USER_FEATURES

_MAILED = 1_204_329_600_000
_WEEK = 7 * 86_400_000


def _customer(arm: str | None, visit: int, spend: float) -> dict[str, Any]:
    return {
        "recency": 6,
        "history_segment": "3) $200 - $350",
        "history": 329.08,
        "mens": 1,
        "womens": 0,
        "zip_code": "Rural",
        "newbie": 1,
        "channel": "Web",
        "segment": arm,
        "visit": visit,
        "conversion": int(spend > 0),
        "spend": spend,
    }


@pytest.fixture
def trial(tmp_path: Path, lay: Any) -> Path:
    rows = [
        _customer("Mens E-Mail", 1, 29.99),
        _customer("No E-Mail", 1, 0.0),
        _customer("Womens E-Mail", 0, 0.0),
        _customer("No E-Mail", 0, 0.0),
        _customer(None, 1, 0.0),
    ]
    lay(tmp_path, "hillstrom.parquet", rows)
    return tmp_path


def test_arms_and_outcomes_are_events(trial: Path, read: Any) -> None:
    assert read("hillstrom", trial, "events") == [
        {"event_id": "message-1", "user_id": "1", "event_type": "message", "ts": _MAILED}
        | {"properties": '{"arm":"Mens E-Mail"}'},
        {"event_id": "visit-1", "user_id": "1", "event_type": "visit", "ts": _MAILED + _WEEK},
        {"event_id": "purchase-1", "user_id": "1", "event_type": "purchase", "ts": _MAILED + _WEEK + 60_000}
        | {"item_id": "unknown-goods", "quantity": 1, "unit_price_cents": 2999},
        {"event_id": "visit-2", "user_id": "2", "event_type": "visit", "ts": _MAILED + _WEEK},
        {"event_id": "message-3", "user_id": "3", "event_type": "message", "ts": _MAILED}
        | {"properties": '{"arm":"Womens E-Mail"}'},
        {"event_id": "message-5", "user_id": "5", "event_type": "message", "ts": _MAILED, "reject": "no arm"}
        | {"properties": '{"arm":null}'},
        {"event_id": "visit-5", "user_id": "5", "event_type": "visit", "ts": _MAILED + _WEEK, "reject": "no arm"},
    ]


def test_attributes_are_what_was_known_before_and_no_feature(trial: Path, read: Any) -> None:
    users = read("hillstrom", trial, "users")
    assert users[0] == {
        "user_id": "1",
        "valid_from": _MAILED - 1,
        "prior_spend_band": "3) $200 - $350",
        "prior_channel": "Web",
        "area": "Rural",
        "newcomer": "1",
        "prior_mens": "1",
        "prior_womens": "0",
        "prior_recency_months": "6",
        "prior_spend_usd": "329.08",
    }
    # Treated or not, buyer or not: the same row.
    assert [{**user, "user_id": "1"} for user in users[:4]] == [users[0]] * 4
    assert users[4]["reject"] == "no arm"
    assert not {feature.name for feature in USER_FEATURES} & set(users[0])
