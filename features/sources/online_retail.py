"""UCI Online Retail: the invoice lines of a gift shop; each line that names a customer and a product is an event."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.schema import Columns, EventType
from features.sources.published import Kind, cents, epoch_ms, origin, read_columns

DESCRIPTION = "UCI Online Retail: invoice lines of a UK gift shop; file online_retail.parquet"

#: A category is the last word of the titles of at least this many items.
MIN_ITEMS_PER_CATEGORY = 20

PRODUCT_CODE = r"^([0-9]{5}[A-Z]*|DCGS.*|PADS)$"

POLICIES = {
    "bad debt": "invoices A... are rejected: they adjust accounts",
    "missing customer": "the line is rejected: nobody can be personalised by it",
    "not a product": "the line is rejected unless its code is five digits with optional letters, DCGS... or PADS: "
    "postage, fees, discounts, samples, manual entries and gift vouchers are no products",
    "cancellation": "lines of invoices C... become refund events with a positive quantity",
    "stock adjustment": "a quantity of zero or less on any other invoice is rejected",
    "no price": "a line at a price of zero or less is rejected",
    "duplicate line": "a line equal to an earlier one in all eight columns is rejected",
    "items": "title and price as on an item's first accepted line, from whose time on they hold; the category is the "
    f"last word of three letters or more in the title if at least {MIN_ITEMS_PER_CATEGORY} items share it, else other",
    "users": "country as on the first accepted line",
    "time": "InvoiceDate is taken for UTC; lines of one invoice share its minute",
}
ORDER_WITHIN_SESSION = False

_COLUMNS = {
    "InvoiceNo": Kind.TEXT,
    "StockCode": Kind.TEXT,
    "Description": Kind.TEXT,
    "Quantity": Kind.INTEGER,
    "InvoiceDate": Kind.TIME,
    "UnitPrice": Kind.NUMBER,
    "CustomerID": Kind.NUMBER,
    "Country": Kind.TEXT,
}


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Events, one per invoice line, and what the lines say about items and users."""
    rows = read_columns(engine, folder, "online_retail.parquet", _COLUMNS)
    # DuckDB does not tell Quantity from quantity.
    lines = _lines(rows.rename(SignedQuantity="Quantity"))
    # An item's or user's first line is the same with and without later copies of it, and sorting out copies takes long.
    accepted = lines.filter(lines["reject"].isnull())
    return {"events": _events(lines), "items": _items(accepted), "users": _users(accepted)}


def _lines(rows: ibis.Table) -> ibis.Table:
    """Each line in the contract's terms, judged by itself."""
    code, cancelled = rows["StockCode"].upper(), rows["InvoiceNo"].startswith("C")
    reject = ibis.cases(
        (rows["InvoiceNo"].startswith("A"), "bad debt"),
        (rows["CustomerID"].isnull(), "missing customer"),
        (~code.re_search(PRODUCT_CODE), "not a product"),
        ((rows["SignedQuantity"] <= 0) & ~cancelled, "stock adjustment"),
        (rows["UnitPrice"] <= 0, "no price"),
    )
    return rows.mutate(
        rows["CustomerID"].cast("int64").cast("string").name(Columns.USER_ID),
        code.name(Columns.ITEM_ID),
        ibis.ifelse(cancelled, EventType.REFUND.value, EventType.PURCHASE.value).name(Columns.EVENT_TYPE),
        epoch_ms(rows["InvoiceDate"]).name(Columns.TS),
        rows["InvoiceNo"].name(Columns.ORDER_ID),
        ibis.ifelse(cancelled, rows["SignedQuantity"].abs(), rows["SignedQuantity"]).name(Columns.QUANTITY),
        cents(rows["UnitPrice"]).name(Columns.UNIT_PRICE_CENTS),
        reject.name("reject"),
    )


def _events(lines: ibis.Table) -> ibis.Table:
    """Each line with its number in the invoice, judged beside the others."""
    number = ibis.row_number().over(group_by=lines["InvoiceNo"], order_by=lines[SOURCE_ROW]) + 1
    original = [lines["SignedQuantity" if name == "Quantity" else name] for name in _COLUMNS]
    copy = ibis.row_number().over(group_by=original, order_by=lines[SOURCE_ROW])
    return lines.select(
        (lines["InvoiceNo"] + "-" + number.cast("string")).name(Columns.EVENT_ID),
        *(
            Columns.USER_ID,
            Columns.ITEM_ID,
            Columns.EVENT_TYPE,
            Columns.TS,
            Columns.ORDER_ID,
            Columns.QUANTITY,
            Columns.UNIT_PRICE_CENTS,
        ),
        *(SOURCE_FILE, SOURCE_ROW),
        lines["reject"].fill_null(ibis.ifelse(copy > 0, "duplicate line", ibis.null("string"))).name("reject"),
    )


def _items(accepted: ibis.Table) -> ibis.Table:
    first = _first(accepted, Columns.ITEM_ID)
    title = first["Description"].strip()
    titled = first.mutate(
        title.name(Columns.TITLE), title.re_extract(r"([A-Za-z]{3,})[^A-Za-z]*$", 1).lower().name("word")
    )
    shared = titled.count().over(group_by=titled["word"])
    known = (shared >= MIN_ITEMS_PER_CATEGORY) & (titled["word"] != "")
    return titled.select(
        titled[Columns.ITEM_ID],
        titled[Columns.TS].name(Columns.VALID_FROM),
        ibis.ifelse(known, titled["word"], "other").name(Columns.CATEGORY),
        titled[Columns.UNIT_PRICE_CENTS].name(Columns.PRICE_CENTS),
        ibis.literal(True).name(Columns.AVAILABLE),
        titled[Columns.TITLE],
        **origin(titled),
    )


def _users(accepted: ibis.Table) -> ibis.Table:
    first = _first(accepted, Columns.USER_ID)
    return first.select(
        Columns.USER_ID, first[Columns.TS].name(Columns.VALID_FROM), first["Country"].name("country"), **origin(first)
    )


def _first(accepted: ibis.Table, key: str) -> ibis.Table:
    position = ibis.row_number().over(group_by=accepted[key], order_by=[accepted[Columns.TS], accepted[SOURCE_ROW]])
    return accepted.mutate(position.name("position")).filter(lambda lines: lines["position"] == 0)


__all__ = ["DESCRIPTION", "MIN_ITEMS_PER_CATEGORY", "ORDER_WITHIN_SESSION", "POLICIES", "PRODUCT_CODE", "read"]
