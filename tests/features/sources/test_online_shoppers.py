"""Online shoppers: a session is a visit; the label is an event after it; what knows the outcome stands apart."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

_SESSION = {
    "Administrative": 1,
    "Administrative_Duration": 2.5,
    "Informational": 0,
    "Informational_Duration": 0.0,
    "ProductRelated": 7,
    "ProductRelated_Duration": 64.0,
    "BounceRates": 0.2,
    "ExitRates": 0.1,
    "PageValues": 12.5,
    "SpecialDay": 0.6,
    "Month": "June",
    "OperatingSystems": 2,
    "Browser": 3,
    "Region": 1,
    "TrafficType": 4,
    "VisitorType": "New_Visitor",
    "Weekend": True,
    "Revenue": True,
}
_JUNE = round(datetime(2017, 6, 1, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def sessions(tmp_path: Path, lay: Any) -> Path:
    unsold, odd = {**_SESSION, "Revenue": False}, {**_SESSION, "Month": "Jum", "Revenue": False}
    lay(tmp_path, "online_shoppers.parquet", [_SESSION, _SESSION, unsold, odd])
    return tmp_path


def test_visits_and_purchases(sessions: Path, read: Any) -> None:
    events = read("online_shoppers", sessions, "events")
    assert [(event["event_id"], event.get("ts")) for event in events] == [
        ("visit-1", _JUNE),
        ("purchase-1", _JUNE + 60_000),
        ("visit-2", _JUNE),
        ("purchase-2", _JUNE + 60_000),
        ("visit-3", _JUNE),
        ("visit-4", None),
    ]
    assert events[1] == {
        "event_id": "purchase-1",
        "user_id": "1",
        "item_id": "unknown-goods",
        "event_type": "purchase",
        "ts": _JUNE + 60_000,
        "quantity": 1,
    }
    assert json.loads(events[0]["properties"]) == {
        "administrative_pages": 1,
        "administrative_s": 2.5,
        "informational_pages": 0,
        "informational_s": 0.0,
        "product_pages": 7,
        "product_s": 64.0,
        "bounce_rate": 0.2,
        "exit_rate": 0.1,
        "special_day": 0.6,
        "traffic_type": 4,
        "weekend": True,
        "knows_outcome": {"page_values": 12.5},
    }


def test_the_label_is_nowhere_but_in_the_purchase(sessions: Path, read: Any) -> None:
    bought, _, not_bought = read("online_shoppers", sessions, "users")[:3]
    assert bought == {
        "user_id": "1",
        "valid_from": _JUNE - 1,
        "visitor_type": "New_Visitor",
        "region": "1",
        "operating_system": "2",
        "browser": "3",
    }
    assert {**not_bought, "user_id": "1"} == bought
    visits = [event for event in read("online_shoppers", sessions, "events") if event["event_type"] == "visit"]
    assert visits[0]["properties"] == visits[2]["properties"]
