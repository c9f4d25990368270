"""UCI Online Shoppers Purchasing Intention: sessions of unknown visitors, and whether they bought."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import ibis

from features.engine import SOURCE_ROW, Engine
from features.schema import Columns, EventType
from features.sources.published import Kind, origin, read_columns, stacked
from features.sources.stand_in import STAND_IN, stand_in_item

DESCRIPTION = "UCI Online Shoppers Purchasing Intention: one row per session; file online_shoppers.parquet"
POLICIES = {
    "sessions": "each row is a visit event of a user of its own, who is numbered by row: the publisher took one "
    "session of each; equal rows are different sessions",
    "Revenue": f"is the label: a purchase of the stand-in item {STAND_IN} a minute after the visit, in no "
    "attribute and no property; what was bought and its price are unknown",
    "PageValues": "is computed with knowledge of the transaction: it stands apart, as page_values under knows_outcome "
    "in the visit's properties; every result must be reported with and without it",
    "page and session figures": "are the other properties of the visit; bounce_rate and exit_rate are averages of the "
    "visited pages over the publisher's whole period, later sessions among them",
    "users": "visitor type, region, operating system and browser are attributes, which hold from just before the visit",
    "time": "is made up from Month: every visit of a month is at its first instant in 2017 (UTC)",
}
ORDER_WITHIN_SESSION = False

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_MS = {name: round(datetime(2017, i + 1, 1, tzinfo=UTC).timestamp() * 1000) for i, name in enumerate(_MONTHS)}
_SALE_AFTER_MS = 60_000

_ATTRIBUTES = {
    "visitor_type": ("VisitorType", Kind.TEXT),
    "region": ("Region", Kind.INTEGER),
    "operating_system": ("OperatingSystems", Kind.INTEGER),
    "browser": ("Browser", Kind.INTEGER),
}
_PROPERTIES = {
    "administrative_pages": ("Administrative", Kind.INTEGER),
    "administrative_s": ("Administrative_Duration", Kind.NUMBER),
    "informational_pages": ("Informational", Kind.INTEGER),
    "informational_s": ("Informational_Duration", Kind.NUMBER),
    "product_pages": ("ProductRelated", Kind.INTEGER),
    "product_s": ("ProductRelated_Duration", Kind.NUMBER),
    "bounce_rate": ("BounceRates", Kind.NUMBER),
    "exit_rate": ("ExitRates", Kind.NUMBER),
    "special_day": ("SpecialDay", Kind.NUMBER),
    "traffic_type": ("TrafficType", Kind.INTEGER),
    "weekend": ("Weekend", Kind.FLAG),
}
_REST = {"PageValues": Kind.NUMBER, "Month": Kind.TEXT, "Revenue": Kind.FLAG}


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Visits and purchases, the visitors, and the stand-in item."""
    columns = dict(_ATTRIBUTES.values()) | dict(_PROPERTIES.values()) | _REST
    rows = read_columns(engine, folder, "online_shoppers.parquet", columns)
    rows = rows.mutate(
        rows[SOURCE_ROW].cast("string").name(Columns.USER_ID),
        rows["Month"].cases(*_MONTH_MS.items(), else_=ibis.null("int64")).name("visit_ms"),
    )
    users = rows.select(
        rows[Columns.USER_ID],
        (rows["visit_ms"] - 1).name(Columns.VALID_FROM),
        **{name: rows[column].cast("string") for name, (column, _) in _ATTRIBUTES.items()},
        **origin(rows),
    )
    return {"events": stacked(_visits(engine, rows), _purchases(rows)), "items": stand_in_item(rows), "users": users}


def _visits(engine: Engine, rows: ibis.Table) -> ibis.Table:
    known = {name: rows[column] for name, (column, _) in _PROPERTIES.items()}
    apart = {"knows_outcome": ibis.struct({"page_values": rows["PageValues"]})}
    return rows.select(
        **{
            Columns.EVENT_ID: "visit-" + rows[Columns.USER_ID],
            Columns.USER_ID: rows[Columns.USER_ID],
            Columns.EVENT_TYPE: ibis.literal(EventType.VISIT.value),
            Columns.TS: rows["visit_ms"],
            Columns.PROPERTIES: engine.as_json(ibis.struct(known | apart)),
        },
        **origin(rows),
    )


def _purchases(rows: ibis.Table) -> ibis.Table:
    bought = rows.filter(rows["Revenue"])
    return bought.select(
        **{
            Columns.EVENT_ID: "purchase-" + bought[Columns.USER_ID],
            Columns.USER_ID: bought[Columns.USER_ID],
            Columns.ITEM_ID: ibis.literal(STAND_IN),
            Columns.EVENT_TYPE: ibis.literal(EventType.PURCHASE.value),
            Columns.TS: bought["visit_ms"] + _SALE_AFTER_MS,
            Columns.QUANTITY: ibis.literal(1),
        },
        **origin(bought),
    )


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
