"""Retailrocket: views, carts and purchases of the buyers of one shop, one row per (user, item, behaviour)."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import Engine
from features.schema import Columns, EventType
from features.sources.published import Kind, read_columns

DESCRIPTION = "Retailrocket: user, item, behavior (view, cart, buy), timestamp in seconds; file train.parquet"
POLICIES = {
    "test.parquet": "is not read: its purchases carry no time",
    "repeats": "were collapsed by the publisher: one time per user, item and behaviour",
    "quantities": "are unknown; a purchase counts 1",
    "prices": "are unknown and stay missing",
    "items and users": "have no attributes; the category is unknown",
    "conversion rates": "mean nothing here: only buyers are in the data",
}
ORDER_WITHIN_SESSION = True

_KINDS = {"user": Kind.INTEGER, "item": Kind.INTEGER, "behavior": Kind.TEXT, "timestamp": Kind.INTEGER}
_EVENT_TYPES = {"view": EventType.VIEW, "cart": EventType.ADD_TO_CART, "buy": EventType.PURCHASE}


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """The events; items and users follow from them."""
    rows = read_columns(engine, folder, "train.parquet", _KINDS)
    user, item, seconds = (rows[name].cast("string") for name in ("user", "item", "timestamp"))
    event_type = rows["behavior"].cases(
        *((behaviour, event_type.value) for behaviour, event_type in _EVENT_TYPES.items()), else_=rows["behavior"]
    )
    events = {
        Columns.EVENT_ID: user + "-" + item + "-" + rows["behavior"] + "-" + seconds,
        Columns.USER_ID: user,
        Columns.ITEM_ID: item,
        Columns.EVENT_TYPE: event_type,
        Columns.TS: rows["timestamp"] * 1000,
        Columns.QUANTITY: ibis.ifelse(rows["behavior"] == "buy", 1, ibis.null("int64")),
        "reject": ibis.null("string"),
    }
    return {"events": rows.mutate(**events).drop("user", "item", "behavior", "timestamp")}


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
