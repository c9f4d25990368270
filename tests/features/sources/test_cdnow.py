"""CDNOW: every row is an order of its own, and counts from the end of its day."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def _order(user: int, day: str, pieces: int, amount: float) -> dict[str, Any]:
    return {"user_id": user, "order_dt": day, "order_products": pieces, "order_amount": amount}


def test_orders(tmp_path: Path, lay: Any, read: Any) -> None:
    orders = [
        _order(1, "20210131", 5, 77.0),
        _order(1, "20210131", 5, 77.0),  # a copy, or a second order
        _order(2, "20210201", 1, 0.0),  # free
        _order(2, "20210202", 3, 10.0),  # does not divide
        _order(3, "20210203", 0, 9.0),
        _order(3, "20210230", 1, 9.0),  # no such day
    ]
    lay(tmp_path, "cdnow_master.parquet", orders)
    events = read("cdnow", tmp_path, "events")
    assert events[0] == {
        "event_id": "1-20210131-1",
        "order_id": "1-20210131-1",
        "user_id": "1",
        "item_id": "unknown-goods",
        "event_type": "purchase",
        "ts": round(datetime(2021, 2, 1, tzinfo=UTC).timestamp() * 1000) - 1,
        "quantity": 5,
        "unit_price_cents": 1540,
        "properties": '{"amount_cents":7700}',
    }
    told = [(event["event_id"], event.get("unit_price_cents"), event.get("reject")) for event in events[1:5]]
    assert told == [
        ("1-20210131-2", 1540, None),
        ("2-20210201-1", 0, None),
        ("2-20210202-1", 333, None),
        ("3-20210203-1", None, "no pieces"),
    ]
    assert events[3]["properties"] == '{"amount_cents":1000}'
    assert "ts" not in events[5]
    assert read("cdnow", tmp_path, "items") == [
        {"item_id": "unknown-goods", "valid_from": 0, "category": "unknown", "available": True}
    ]
