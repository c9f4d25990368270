"""MineThatData e-mail test: customers randomised to two mailings or none, and what they did in the two weeks after."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import SOURCE_ROW, Engine
from features.schema import DAY_MS, Columns, EventType
from features.sources.published import Kind, cents, origin, read_columns, stacked
from features.sources.stand_in import STAND_IN, stand_in_item

DESCRIPTION = "MineThatData e-mail test: one row per customer with arm and outcome; file hillstrom.parquet"

#: 2008-03-01T00:00:00Z, made up: the file has no dates.
MAILED_MS = 1_204_329_600_000

NOT_MAILED = "No E-Mail"
NO_ARM = "no arm"

POLICIES = {
    "time": "is made up: everybody is mailed at 2008-03-01T00:00:00Z, whoever visited did so seven days later, whoever "
    "bought did so a minute after that; only the order mailing, visit, purchase is meant",
    "arms": f"a mailed customer has a message event with the arm in properties; {NOT_MAILED!r} has none: whoever is in "
    "users without a message was randomised to control; the arm is no attribute",
    "outcomes": "visit and conversion are events after the mailing, spend is the price of one purchase of the stand-in "
    f"item {STAND_IN}; none of them is an attribute",
    NO_ARM: "a row without a segment is rejected, and so is all that came of it: nobody is in control by oversight",
    "attributes": "are what was known before the mailing and hold from just before it; recency, history, "
    "history_segment, mens, womens, zip_code, newbie and channel become prior_recency_months, prior_spend_usd, "
    "prior_spend_band, prior_mens, prior_womens, area, newcomer and prior_channel: they are the publisher's figures "
    "over the year before, not features computed here",
    "users": "are numbered by row: equal rows are different customers",
    "small effects": "differences between good methods are below the noise: intervals are the result",
}
ORDER_WITHIN_SESSION = False

_VISITED_MS = MAILED_MS + 7 * DAY_MS
_BOUGHT_MS = _VISITED_MS + 60_000

_ATTRIBUTES = {
    "prior_spend_band": ("history_segment", Kind.TEXT),
    "prior_channel": ("channel", Kind.TEXT),
    "area": ("zip_code", Kind.TEXT),
    "newcomer": ("newbie", Kind.INTEGER),
    "prior_mens": ("mens", Kind.INTEGER),
    "prior_womens": ("womens", Kind.INTEGER),
    "prior_recency_months": ("recency", Kind.INTEGER),
    "prior_spend_usd": ("history", Kind.NUMBER),
}
_OUTCOMES = {"segment": Kind.TEXT, "visit": Kind.INTEGER, "conversion": Kind.INTEGER, "spend": Kind.NUMBER}


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Customers as before the mailing; messages, visits and purchases; the stand-in item."""
    rows = read_columns(engine, folder, "hillstrom.parquet", dict(_ATTRIBUTES.values()) | _OUTCOMES)
    users = rows.select(
        **{
            Columns.USER_ID: rows[SOURCE_ROW].cast("string"),
            Columns.VALID_FROM: ibis.literal(MAILED_MS - 1, "int64"),
        },
        **{name: rows[column].cast("string") for name, (column, _) in _ATTRIBUTES.items()},
        **_judged(rows),
    )
    return {"events": _events(engine, rows), "items": stand_in_item(rows), "users": users}


def _events(engine: Engine, rows: ibis.Table) -> ibis.Table:
    mailed = rows.filter(rows["segment"].fill_null(NO_ARM) != NOT_MAILED)
    bought = rows.filter(rows["conversion"] != 0)
    arm = {Columns.PROPERTIES: engine.as_json(ibis.struct({"arm": mailed["segment"]}))}
    goods = {
        Columns.ITEM_ID: ibis.literal(STAND_IN),
        Columns.QUANTITY: ibis.literal(1),
        Columns.UNIT_PRICE_CENTS: cents(bought["spend"]),
    }
    return stacked(
        _one_each(mailed, EventType.MESSAGE, MAILED_MS, arm),
        _one_each(rows.filter(rows["visit"] != 0), EventType.VISIT, _VISITED_MS, {}),
        _one_each(bought, EventType.PURCHASE, _BOUGHT_MS, goods),
    )


def _one_each(rows: ibis.Table, event_type: EventType, ts: int, more: dict[str, ibis.Value]) -> ibis.Table:
    """An event for each customer in ``rows``, all at one instant."""
    customer = rows[SOURCE_ROW].cast("string")
    return rows.select(
        **{
            Columns.EVENT_ID: event_type.value + "-" + customer,
            Columns.USER_ID: customer,
            Columns.EVENT_TYPE: ibis.literal(event_type.value),
            Columns.TS: ibis.literal(ts, "int64"),
        },
        **more,
        **_judged(rows),
    )


def _judged(rows: ibis.Table) -> dict[str, ibis.Value]:
    return origin(rows, ibis.ifelse(rows["segment"].isnull(), NO_ARM, ibis.null("string")))


__all__ = ["DESCRIPTION", "MAILED_MS", "NOT_MAILED", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
