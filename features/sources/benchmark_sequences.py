"""Sequences of the recommender papers: per user the items in time order, without a time."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import Engine
from features.schema import DAY_MS, Columns, EventType
from features.sources.made_times import AGAIN, NO_ITEMS, items_in_order
from features.sources.published import Kind, origin, read_columns

DESCRIPTION = (
    "sequences of the recommender papers: user, items in time order; "
    "file sequences.parquet, if known item2attributes.parquet with item, attributes"
)
POLICIES = {
    "items": "each is a purchase of one piece without a price, whatever it was: a review, a rating",
    "time": "is made up from the order: every user's last item is at 2020-01-01T00:00:00Z, each earlier one a day "
    "before the next; as of that instant exactly the last item of each user is held out, as of a day earlier the last "
    "two; recency, sessions, hours and windows in days mean nothing else",
    "order inside a visit": "means nothing: no visits are known, and where the real times were dates or shared seconds "
    "the order of what shares one is arbitrary",
    "item attributes": "are one text of numbers joined by |, and hold from the beginning; the category is unknown",
    AGAIN: "the second list of a user is rejected",
    NO_ITEMS: "an empty list is rejected",
    "other files and columns": "are not read: maps to other numbers, marks of papers' validation users",
    "item numbers": "may follow first appearance: their closeness means nothing",
}
ORDER_WITHIN_SESSION = False


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Events, one per item of a sequence, and the items with attributes if they are there."""
    lists = read_columns(engine, folder, "sequences.parquet", {"user": Kind.INTEGER, "items": Kind.LIST})
    rows = items_in_order(lists, "user", DAY_MS)
    event_type, quantity = ibis.literal(EventType.PURCHASE.value), ibis.literal(1)
    events = rows.rename({Columns.USER_ID: "user"}).mutate(
        event_type.name(Columns.EVENT_TYPE), quantity.name(Columns.QUANTITY)
    )
    if not (folder / "item2attributes.parquet").exists():
        return {"events": events}
    kinds = {"item": Kind.INTEGER, "attributes": Kind.LIST}
    return {"events": events, "items": _items(read_columns(engine, folder, "item2attributes.parquet", kinds))}


def _items(rows: ibis.Table) -> ibis.Table:
    return rows.select(
        **{
            Columns.ITEM_ID: rows["item"].cast("string"),
            Columns.VALID_FROM: ibis.literal(0, "int64"),
            Columns.CATEGORY: ibis.literal("unknown"),
            Columns.AVAILABLE: ibis.literal(True),
        },
        attributes=rows["attributes"].cast("array<string>").join("|"),
        **origin(rows),
    )


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
