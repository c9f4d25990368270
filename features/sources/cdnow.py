"""CDNOW: the orders of a shop's new customers over eighteen months, made for customer lifetime value."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import SOURCE_ROW, Engine
from features.schema import DAY_MS, Columns, EventType
from features.sources.published import Kind, cents, epoch_ms, origin, read_columns
from features.sources.stand_in import STAND_IN, stand_in_item

DESCRIPTION = "CDNOW: user_id, order_dt (20210131), order_products, order_amount; file cdnow_master.parquet"
POLICIES = {
    "items": f"what was bought is unknown: every order is a purchase of the stand-in item {STAND_IN}",
    "quantity and price": "order_products at order_amount / order_products, in whole cents; the exact amount is kept "
    "in properties as amount_cents",
    "free orders": "an amount of zero is kept: a price of 0 is a price",
    "copies": "orders of one customer on one day stay orders of their own, equal ones too: nothing tells a copy from a "
    "second order",
    "no pieces": "an order of no products is rejected",
    "time": "is a date: an order counts from the last millisecond of its day (UTC)",
    "shifted dates": "the publisher moved them by years: weekdays and holidays mean nothing",
    "users": "have no attributes",
}
ORDER_WITHIN_SESSION = False


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Events, one per order, and the stand-in item."""
    rows = read_columns(
        engine,
        folder,
        "cdnow_master.parquet",
        {"user_id": Kind.INTEGER, "order_dt": Kind.TEXT, "order_products": Kind.INTEGER, "order_amount": Kind.NUMBER},
    )
    user, pieces, date = rows["user_id"].cast("string"), rows["order_products"], rows["order_dt"]
    number = ibis.row_number().over(group_by=[rows["user_id"], date], order_by=rows[SOURCE_ROW]) + 1
    order = user + "-" + date + "-" + number.cast("string")
    day = (date.substr(0, 4) + "-" + date.substr(4, 2) + "-" + date.substr(6)).try_cast("date")
    events = rows.select(
        **{
            Columns.EVENT_ID: order,
            Columns.USER_ID: user,
            Columns.ITEM_ID: ibis.literal(STAND_IN),
            Columns.EVENT_TYPE: ibis.literal(EventType.PURCHASE.value),
            Columns.TS: epoch_ms(day.cast("timestamp")) + DAY_MS - 1,
            Columns.ORDER_ID: order,
            Columns.QUANTITY: pieces,
            Columns.UNIT_PRICE_CENTS: cents(rows["order_amount"] / pieces),
            Columns.PROPERTIES: '{"amount_cents":' + cents(rows["order_amount"]).cast("string") + "}",
        },
        **origin(rows, ibis.ifelse(pieces < 1, "no pieces", ibis.null("string"))),
    )
    return {"events": events, "items": stand_in_item(rows)}


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
