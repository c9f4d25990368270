"""The data contract: one row per rule, the bounds, and typed columns beside text."""

from __future__ import annotations

import pyarrow as pa
import pytest

from features.check import check
from features.contracts import CONTRACTS, EVENTS
from tests.features.delivered import GOOD, NOW


@pytest.mark.parametrize(
    ("table", "field", "value", "reason"),
    [
        ("events", "event_id", "", "event_id must not be empty"),
        ("events", "user_id", None, "user_id must not be empty"),
        ("events", "event_type", "buy", "event_type must be one of view, search, add_to_cart"),
        ("events", "ts", "yesterday", "ts must be an integer"),
        ("events", "ts", "10.5", "ts must be an integer"),
        ("events", "ts", "9" * 25, "ts must be an integer"),
        ("events", "ts", "0", "ts must be at least 1"),
        ("events", "ts", str(NOW + 1), "ts must not be in the future"),
        ("events", "quantity", "abc", "quantity must be an integer"),
        ("events", "quantity", "0", "quantity must be at least 1"),
        ("events", "unit_price_cents", "-1", "unit_price_cents must be at least 0"),
        ("events", "unit_price_cents", "2.99", "unit_price_cents must be an integer"),
        ("events", "item_id", "", "item_id must be given for view, add_to_cart, purchase, remove_from_cart, refund"),
        ("events", "event_type", "identify", "anonymous_id must be given for identify, unidentify"),
        ("events", "event_type", "unidentify", "anonymous_id must be given for identify, unidentify"),
        ("events", "properties", "[1]", "properties must be a JSON object"),
        ("events", "properties", "{", "properties must be a JSON object"),
        ("items", "item_id", "", "item_id must not be empty"),
        ("items", "category", "", "category must not be empty"),
        ("items", "available", "perhaps", "available must be true or false"),
        ("items", "available", "", "available must not be empty"),
        ("items", "price_cents", "-5", "price_cents must be at least 0"),
        ("items", "valid_from", "-1", "valid_from must be at least 0"),
        ("users", "valid_from", "now", "valid_from must be an integer"),
        ("users", "consents", "everything", "consents must be none, or some of personalisation, search_history"),
        ("users", "consents", "none, email", "consents must be none, or some of"),
        ("users", "consents", "email,,push", "consents must be none, or some of"),
        ("users", "consents", "email,", "consents must be none, or some of"),
        ("users", "consents", "email push", "consents must be none, or some of"),
        ("users", "consents", "Email", "consents must be none, or some of"),
        ("users", "consents", " ", "consents must be none, or some of"),
        ("impressions", "rank", "0", "rank must be at least 1"),
        ("impressions", "score", "inf", "score must be a number"),
        ("impressions", "score", "high", "score must be a number"),
        ("impressions", "propensity", "0", "propensity must be above 0"),
        ("impressions", "propensity", "1.01", "propensity must be at most 1"),
        ("impressions", "level", "5", "level must be at most 4"),
    ],
)  # fmt: skip
def test_each_rule_rejects_what_breaks_it_and_nothing_else(
    table: str, field: str, value: str | None, reason: str
) -> None:
    good = GOOD[table] | {field: GOOD[table].get(field)}
    rows = pa.Table.from_pylist([good, {**good, field: value}, good], pa.schema([(name, pa.string()) for name in good]))
    parsed, breaches = check(CONTRACTS[table], rows, NOW)
    found = breaches.to_pylist()
    blamed = reason.split()[0]
    assert [(row["position"], row["field"]) for row in found] == [(1, blamed)]
    assert found[0]["reason"].startswith(reason)
    assert found[0]["received"] == (value or None if blamed == field else None)
    assert parsed.schema.names[: len(CONTRACTS[table].columns)] == CONTRACTS[table].columns


def test_values_on_the_bounds_are_accepted() -> None:
    row = {**GOOD["events"], "ts": str(NOW), "quantity": " +1.0 ", "unit_price_cents": "0", "properties": '{"a": [1]}'}
    parsed, breaches = check(EVENTS, pa.Table.from_pylist([row]), NOW)
    assert not len(breaches)
    assert parsed.select(["ts", "quantity", "unit_price_cents"]).to_pylist() == [
        {"ts": NOW, "quantity": 1, "unit_price_cents": 0}
    ]


def test_typed_columns_mean_the_same_as_text() -> None:
    typed = pa.table({
        "event_id": [7, 8, 9], "user_id": ["u"] * 3, "item_id": [1, 1, 1], "event_type": ["view"] * 3,
        "ts": pa.array([5.0, 5.5, float("inf")]), "quantity": pa.array([1, None, 2], pa.int8()),
    })  # fmt: skip
    parsed, breaches = check(EVENTS, typed, NOW)
    assert parsed.slice(0, 1).select(["event_id", "item_id", "ts", "quantity"]).to_pylist() == [
        {"event_id": "7", "item_id": "1", "ts": 5, "quantity": 1}
    ]
    assert breaches["reason"].to_pylist() == ["ts must be an integer"] * 2


@pytest.mark.parametrize("consents", ["", "none", " none ", "email", "personalisation,email", " push , push, sms "])
def test_consents_are_none_or_words_with_commas_between(consents: str) -> None:
    row = {**GOOD["users"], "consents": consents}
    parsed, breaches = check(CONTRACTS["users"], pa.Table.from_pylist([row]), NOW)
    assert not len(breaches)
    assert parsed["consents"].to_pylist() == [consents or None]


def test_an_identity_event_that_names_both_is_accepted() -> None:
    row = {**GOOD["events"], "event_type": "identify", "anonymous_id": "a1", "item_id": None}
    assert not len(check(EVENTS, pa.Table.from_pylist([row]), NOW)[1])
