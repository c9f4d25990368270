"""dunnhumby Complete Journey 2.0: what households of a grocer bought, which campaigns they got and used."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.schema import DAY_MS, Columns, EventType
from features.sources.published import Kind, cents, epoch_ms, first_of_each, origin, read_columns, stacked

DESCRIPTION = (
    "dunnhumby Complete Journey 2.0: files transactions, products, demographics, campaigns, campaign_descriptions and "
    "coupon_redemptions, each .parquet"
)
POLICIES = {
    "transactions": "each is a purchase; a basket is an order; the file is a sample of rows, so baskets are "
    "incomplete and their sizes mean nothing",
    "price": "the unit price is sales_value / quantity in whole cents, what the shop received; the line's exact "
    "amount, its discounts and its store are in properties",
    "fuel": "GASOLINE is counted in thousandths of a gallon: a line of it is one piece at the line's price",
    "no quantity": "a line of no pieces is rejected",
    "not a product": "lines and products of the department COUPON are rejected",
    "free goods": "are kept at a price of 0: a price of 0 is a price",
    "item prices": "the shelf price before discounts, (sales_value + retail_disc + coupon_match_disc) / quantity, of "
    "the latest line of the product in any store; it holds from that line on and is missing before the first; fuel "
    "has none",
    "categories": "department/product_category/product_type as far as known; a slash inside a name becomes a dash; "
    "the other columns of products are attributes; all of it holds from the beginning",
    "users": "demographics are attributes of the households that told them, and hold from the beginning: when they "
    "were asked is unknown",
    "campaigns": "each household's is a message event at the start of the campaign's first day, with id, type and last "
    "day in properties; campaigns that began before the first transaction are among them",
    "coupon redemptions": "are redemption events in the last millisecond of their day, with coupon and campaign in "
    "properties; equal rows are several coupons; no item: a coupon is good for many products",
    "coupons, promotions": "are not read: which products a coupon or a leaflet was about, by store and week, is "
    "nobody's event",
    "time": "is taken for UTC; the lines of a basket share one instant",
}
ORDER_WITHIN_SESSION = False

NOT_GOODS = "COUPON"
FUEL = "GASOLINE"

_HOUSEHOLD = ("household_size", "household_comp", "kids_count", "marital_status", "home_ownership")
_DEMOGRAPHICS = ("age", "income", *_HOUSEHOLD)
_TRANSACTIONS = {
    **dict.fromkeys(("household_id", "store_id", "basket_id", "product_id"), Kind.TEXT),
    **dict.fromkeys(("quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc"), Kind.NUMBER),
    "transaction_timestamp": Kind.TIME,
}
_PATH = ("department", "product_category", "product_type")
_PRODUCTS = dict.fromkeys(("product_id", "manufacturer_id", "brand", "package_size", *_PATH), Kind.TEXT)


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Purchases, messages and redemptions; products with their prices over time; households."""
    products = read_columns(engine, folder, "products.parquet", _PRODUCTS)
    lines = _lines(read_columns(engine, folder, "transactions.parquet", _TRANSACTIONS), products)
    kinds = dict.fromkeys(("household_id", *_DEMOGRAPHICS), Kind.TEXT)
    households = read_columns(engine, folder, "demographics.parquet", kinds)
    users = households.select(
        households["household_id"].name(Columns.USER_ID),
        ibis.literal(0, "int64").name(Columns.VALID_FROM),
        *_DEMOGRAPHICS,
        **origin(households),
    )
    events = stacked(_purchases(engine, lines), _messages(engine, folder), _redemptions(engine, folder))
    return {"events": events, "items": _items(products, lines), "users": users}


def _lines(transactions: ibis.Table, products: ibis.Table) -> ibis.Table:
    """Transactions with pieces, amounts in cents, and what is needed of the product to judge them."""
    goods = first_of_each(products, "product_id").select("product_id", "department", "product_type")
    rows = transactions.left_join(goods, "product_id").drop("product_id_right")
    is_fuel = rows["product_type"].startswith(FUEL).fill_null(False)
    pieces = rows["quantity"]
    return rows.mutate(
        pieces=ibis.ifelse(is_fuel & (pieces > 0), 1.0, pieces),
        is_fuel=is_fuel,
        ts=epoch_ms(rows["transaction_timestamp"]),
        reject=ibis.cases(
            (_is_no_goods(rows), "not a product"),
            (~(pieces > 0), "no quantity"),
        ),
    )


def _is_no_goods(rows: ibis.Table) -> ibis.Value:
    return (rows["department"] == NOT_GOODS).fill_null(False)


def _purchases(engine: Engine, lines: ibis.Table) -> ibis.Table:
    properties = ibis.struct(
        {
            "store_id": lines["store_id"],
            "amount_cents": cents(lines["sales_value"]),
            "retail_discount_cents": cents(lines["retail_disc"]),
            "coupon_discount_cents": cents(lines["coupon_disc"]),
            "coupon_match_cents": cents(lines["coupon_match_disc"]),
        }
    )
    return lines.select(
        **{
            Columns.EVENT_ID: lines["basket_id"] + "-" + lines["product_id"],
            Columns.USER_ID: lines["household_id"],
            Columns.ITEM_ID: lines["product_id"],
            Columns.EVENT_TYPE: ibis.literal(EventType.PURCHASE.value),
            Columns.TS: lines["ts"],
            Columns.ORDER_ID: lines["basket_id"],
            Columns.QUANTITY: lines["pieces"],
            Columns.UNIT_PRICE_CENTS: cents(lines["sales_value"] / lines["pieces"]),
            Columns.PROPERTIES: engine.as_json(properties),
        },
        **origin(lines, lines["reject"]),
    )


def _messages(engine: Engine, folder: Path) -> ibis.Table:
    sent = read_columns(engine, folder, "campaigns.parquet", dict.fromkeys(("campaign_id", "household_id"), Kind.TEXT))
    rows = sent.left_join(_campaigns(engine, folder), "campaign_id")
    properties = {name: rows[name] for name in ("campaign_id", "campaign_type")}
    properties["end_date"] = rows["end_date"].cast("date").cast("string")
    return rows.select(
        **{
            Columns.EVENT_ID: "message-" + rows["campaign_id"] + "-" + rows["household_id"],
            Columns.USER_ID: rows["household_id"],
            Columns.EVENT_TYPE: ibis.literal(EventType.MESSAGE.value),
            Columns.TS: epoch_ms(rows["start_date"].cast("timestamp")),
            Columns.PROPERTIES: engine.as_json(ibis.struct(properties)),
        },
        **origin(rows),
    )


def _redemptions(engine: Engine, folder: Path) -> ibis.Table:
    kinds = dict.fromkeys(("household_id", "coupon_upc", "campaign_id"), Kind.TEXT) | {"redemption_date": Kind.DATE}
    used = read_columns(engine, folder, "coupon_redemptions.parquet", kinds)
    rows = used.left_join(_campaigns(engine, folder), "campaign_id")
    properties = {name: rows[name] for name in ("campaign_id", "campaign_type", "coupon_upc")}
    return rows.select(
        **{
            Columns.EVENT_ID: "redemption-" + rows[SOURCE_ROW].cast("string"),
            Columns.USER_ID: rows["household_id"],
            Columns.EVENT_TYPE: ibis.literal(EventType.REDEMPTION.value),
            Columns.TS: epoch_ms(rows["redemption_date"].cast("timestamp")) + DAY_MS - 1,
            Columns.PROPERTIES: engine.as_json(ibis.struct(properties)),
        },
        **origin(rows),
    )


def _campaigns(engine: Engine, folder: Path) -> ibis.Table:
    texts, dates = ("campaign_id", "campaign_type"), ("start_date", "end_date")
    kinds = dict.fromkeys(texts, Kind.TEXT) | dict.fromkeys(dates, Kind.DATE)
    return first_of_each(read_columns(engine, folder, "campaign_descriptions.parquet", kinds), "campaign_id").select(
        *kinds
    )


def _items(products: ibis.Table, lines: ibis.Table) -> ibis.Table:
    """A row per product from the beginning, and one more from each line on at which its shelf price changed."""
    listed = _described(products).mutate(ts=ibis.literal(0, "int64"), price_cents=ibis.null("int64"))
    described = _described(first_of_each(products, "product_id")).drop(SOURCE_FILE, SOURCE_ROW, "reject")
    priced = _price_changes(lines).inner_join(described, "product_id")
    return stacked(listed, priced).rename({Columns.ITEM_ID: "product_id", Columns.VALID_FROM: "ts"})


def _price_changes(lines: ibis.Table) -> ibis.Table:
    shelf = cents((lines["sales_value"] + lines["retail_disc"] + lines["coupon_match_disc"]) / lines["pieces"])
    sold = lines.mutate(price_cents=shelf).filter(lines["reject"].isnull(), ~lines["is_fuel"], shelf.notnull())
    # Of lines of one instant, in different stores, the first in the file speaks.
    at_once = ibis.row_number().over(group_by=[sold["product_id"], sold["ts"]], order_by=sold[SOURCE_ROW])
    sold = sold.mutate(at_once=at_once).filter(lambda rows: rows["at_once"] == 0)
    before = sold["price_cents"].lag().over(group_by=sold["product_id"], order_by=sold["ts"])
    changed = sold.mutate(before=before).filter(lambda rows: ~rows["before"].identical_to(rows["price_cents"]))
    return changed.select("product_id", "ts", "price_cents", SOURCE_FILE, SOURCE_ROW, "reject")


def _described(products: ibis.Table) -> ibis.Table:
    department, category, kind = (products[name].replace("/", "-") for name in _PATH)
    path = department + ("/" + category).fill_null("") + ("/" + kind).fill_null("")
    return products.select(
        products["product_id"],
        path.fill_null("unknown").name(Columns.CATEGORY),
        products["brand"].name(Columns.BRAND),
        ibis.literal(True).name(Columns.AVAILABLE),
        *("manufacturer_id", "package_size"),
        **origin(products, ibis.ifelse(_is_no_goods(products), "not a product", ibis.null("string"))),
    )


__all__ = ["DESCRIPTION", "FUEL", "NOT_GOODS", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
