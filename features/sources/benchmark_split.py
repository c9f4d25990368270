"""A published split of pairs of user and item, without times and without an order."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import Engine
from features.schema import Columns, EventType
from features.sources.made_times import END_MS
from features.sources.published import Kind, origin, read_columns

DESCRIPTION = "a published split of pairs, such as LightGCN's Gowalla: user, item; file train.parquet"
POLICIES = {
    "test.parquet": "is not read: its pairs are held-out labels without a time",
    "pairs": "each is a purchase of one piece without a price, whatever it was: a check-in, a click",
    "time": "is unknown, even its order: every pair is at 2020-01-01T00:00:00Z, so that none comes before another",
    "copies": "of a pair that comes again the first is kept, the others are rejected",
    "items and users": "have no attributes; the category is unknown",
}
ORDER_WITHIN_SESSION = False


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """The events; items and users follow from them."""
    rows = read_columns(engine, folder, "train.parquet", {"user": Kind.INTEGER, "item": Kind.INTEGER})
    user, item = rows["user"].cast("string"), rows["item"].cast("string")
    events = rows.select(
        **{
            Columns.EVENT_ID: user + "-" + item,
            Columns.USER_ID: user,
            Columns.ITEM_ID: item,
            Columns.EVENT_TYPE: ibis.literal(EventType.PURCHASE.value),
            Columns.TS: ibis.literal(END_MS, "int64"),
            Columns.QUANTITY: ibis.literal(1),
        },
        **origin(rows),
    )
    return {"events": events}


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
