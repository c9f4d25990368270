"""Complete Journey: lines, campaigns and coupons become events; prices hold from the line on that showed them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

_MON, _TUE, _WED = (datetime(2017, 1, day, 12, 30) for day in (2, 3, 4))


def _ms(instant: datetime) -> int:
    return round(instant.replace(tzinfo=UTC).timestamp() * 1000)


def _line(basket: str, product: str, quantity: float, sales: float, at: datetime, **discounts: float) -> dict[str, Any]:
    row = {"household_id": "1", "store_id": "309", "basket_id": basket, "product_id": product, "quantity": quantity}
    none = {"retail_disc": 0.0, "coupon_disc": 0.0, "coupon_match_disc": 0.0}
    return row | {"sales_value": sales} | none | discounts | {"transaction_timestamp": at}


def _product(product: str, department: str, category: str | None = None, kind: str | None = None) -> dict[str, Any]:
    row = {"product_id": product, "manufacturer_id": "2", "department": department, "brand": "National"}
    return row | {"product_category": category, "product_type": kind, "package_size": "22 LB"}


_PRODUCTS = [
    _product("ice", "GROCERY", "FRZN ICE", "ICE - CRUSHED/CUBED"),
    _product("misc", "MISC", None, None),
    _product("gas", "FUEL", "FUEL", "GASOLINE-REG UNLEADED"),
    _product("off", "COUPON", "COUPONS/STORE & MFG", None),
]
_LINES = [
    _line("a", "ice", 2.0, 2.0, _MON, retail_disc=1.0, coupon_match_disc=0.5),
    _line("b", "ice", 1.0, 1.75, _TUE),  # the same shelf price: 1.75
    _line("c", "ice", 3.0, 1.0, _WED, coupon_disc=9.0),
    _line("d", "ice", 1.0, 9.0, _WED),  # at the same instant as c, in the same file after it
    _line("a", "gas", 8776.0, 23.25, _MON),
    _line("a", "off", 1.0, 0.0, _MON),
    _line("a", "misc", 0.0, 0.0, _MON),
    _line("b", "misc", 1.0, 0.0, _TUE),  # free
    _line("b", "ghost", 1.0, 1.0, _TUE),  # not among the products
]


@pytest.fixture
def journey(tmp_path: Path, lay: Any) -> Path:
    lay(tmp_path, "transactions.parquet", _LINES)
    lay(tmp_path, "products.parquet", _PRODUCTS)
    household = {"household_id": "1", "age": "65+", "income": "35-49K", "home_ownership": None}
    household |= {"marital_status": "Married", "household_size": "2", "household_comp": "2 Adults", "kids_count": "0"}
    # A column that is missing throughout still has its type.
    lay(tmp_path, "demographics.parquet", [household, {**household, "household_id": "2", "home_ownership": "Renter"}])
    campaign = {"campaign_id": "26", "campaign_type": "Type B"}
    dates = {"start_date": date(2016, 12, 28), "end_date": date(2017, 2, 19)}
    lay(tmp_path, "campaign_descriptions.parquet", [campaign | dates])
    lay(tmp_path, "campaigns.parquet", [{"campaign_id": "26", "household_id": "1"}])
    used = {"household_id": "1", "coupon_upc": "510", "campaign_id": "26", "redemption_date": date(2017, 1, 3)}
    lay(tmp_path, "coupon_redemptions.parquet", [used, used])
    return tmp_path


def _events(journey: Path, read: Any, event_type: str) -> list[dict[str, Any]]:
    return [row for row in read("complete_journey", journey, "events") if row["event_type"] == event_type]


def test_lines_are_purchases(journey: Path, read: Any) -> None:
    lines = _events(journey, read, "purchase")
    assert [line.get("reject") for line in lines] == [None] * 5 + ["not a product", "no quantity", None, None]
    first = lines[0]
    assert json.loads(first.pop("properties")) == {
        "store_id": "309",
        "amount_cents": 200,
        "retail_discount_cents": 100,
        "coupon_discount_cents": 0,
        "coupon_match_cents": 50,
    }
    assert first == {
        "event_id": "a-ice",
        "user_id": "1",
        "item_id": "ice",
        "event_type": "purchase",
        "ts": _ms(_MON),
        "order_id": "a",
        "quantity": 2,
        "unit_price_cents": 100,
    }
    assert [(line["quantity"], line["unit_price_cents"]) for line in (*lines[1:5], *lines[7:])] == [
        *((1, 175), (3, 33), (1, 900)),
        (1, 2325),  # fuel
        *((1, 0), (1, 100)),
    ]


def test_campaigns_are_messages_and_coupons_redemptions(journey: Path, read: Any) -> None:
    [message] = _events(journey, read, "message")
    assert message == {
        "event_id": "message-26-1",
        "user_id": "1",
        "event_type": "message",
        "ts": _ms(datetime(2016, 12, 28)),
        "properties": '{"campaign_id":"26","campaign_type":"Type B","end_date":"2017-02-19"}',
    }
    first, second = _events(journey, read, "redemption")
    assert first == {
        "event_id": "redemption-1",
        "user_id": "1",
        "event_type": "redemption",
        "ts": _ms(datetime(2017, 1, 4)) - 1,
        "properties": '{"campaign_id":"26","campaign_type":"Type B","coupon_upc":"510"}',
    }
    assert second == {**first, "event_id": "redemption-2"}


def test_prices_hold_from_the_line_on_that_showed_them(journey: Path, read: Any) -> None:
    items = read("complete_journey", journey, "items")
    same = {"brand": "National", "available": True, "manufacturer_id": "2", "package_size": "22 LB"}
    ice = {"item_id": "ice", "category": "GROCERY/FRZN ICE/ICE - CRUSHED-CUBED", **same}
    assert [item for item in items if item["item_id"] == "ice"] == [
        {**ice, "valid_from": 0},
        {**ice, "valid_from": _ms(_MON), "price_cents": 175},
        {**ice, "valid_from": _ms(_WED), "price_cents": 33},
    ]
    assert [item for item in items if item["item_id"] == "misc"] == [
        {"item_id": "misc", "category": "MISC", "valid_from": 0, **same},
        {"item_id": "misc", "category": "MISC", "valid_from": _ms(_TUE), "price_cents": 0, **same},
    ]
    assert [(item["valid_from"], item.get("price_cents")) for item in items if item["item_id"] == "gas"] == [(0, None)]
    assert [item.get("reject") for item in items if item["item_id"] == "off"] == ["not a product"]
    assert not [item for item in items if item["item_id"] == "ghost"]


def test_a_later_line_changes_no_earlier_price(journey: Path, lay: Any, read: Any) -> None:
    before = read("complete_journey", journey, "items")
    later = _line("z", "ice", 1.0, 5.0, datetime(2017, 1, 5))
    lay(journey, "transactions.parquet", [later, *_LINES])
    after = read("complete_journey", journey, "items")
    assert [item for item in after if item["valid_from"] < _ms(datetime(2017, 1, 5))] == before


def test_a_product_or_campaign_given_twice_doubles_nothing(journey: Path, lay: Any, read: Any) -> None:
    events, items = read("complete_journey", journey, "events"), read("complete_journey", journey, "items")
    lay(journey, "products.parquet", [*_PRODUCTS, _product("ice", "OTHER")])
    campaign = {"campaign_id": "26", "start_date": date(2016, 12, 28), "end_date": date(2017, 2, 19)}
    twice = [{**campaign, "campaign_type": kind} for kind in ("Type B", "Type C")]
    lay(journey, "campaign_descriptions.parquet", twice)
    assert read("complete_journey", journey, "events") == events
    # The second row of the product is there, to be rejected for its key.
    assert len(read("complete_journey", journey, "items")) == len(items) + 1


def test_households(journey: Path, read: Any) -> None:
    known = {"user_id": "1", "valid_from": 0, "age": "65+", "income": "35-49K", "marital_status": "Married"}
    known |= {"household_size": "2", "household_comp": "2 Adults", "kids_count": "0"}
    assert read("complete_journey", journey, "users") == [known, {**known, "user_id": "2", "home_ownership": "Renter"}]
