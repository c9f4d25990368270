"""Consents as of an instant: planted cases, and the engine against the rule for one user over random tables."""

from __future__ import annotations

import json
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.consent import LOCATION_KEYS, Consents, granted, permitted, standing
from features.engine import Engine
from features.errors import InputError
from features.schema import DEFAULT_PURPOSES, EventType, Purpose

AS_OF = 100

USERS = pa.schema([("user_id", pa.string()), ("valid_from", pa.int64()), ("consents", pa.string())])
TEXTS = ("event_id", "user_id", "event_type", "properties")


def users_table(rows: list[tuple[str, int, str | None]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(USERS.names, row, strict=True)) for row in rows], USERS)


def events_table(rows: list[tuple[str, str, Any]]) -> pa.Table:
    """(user, event type, properties), with their order as event_id."""
    return pa.Table.from_pylist(
        [
            {
                "event_id": f"e{number:03d}",
                "user_id": user,
                "event_type": event_type,
                "properties": properties if isinstance(properties, str | None) else json.dumps(properties),
            }
            for number, (user, event_type, properties) in enumerate(rows)
        ],
        pa.schema([(name, pa.string()) for name in TEXTS]),
    )


def read(
    engine: Engine,
    users: list[tuple[str, int, str | None]],
    events: list[tuple[str, str, Any]],
    merged: dict[str, str] | None = None,
) -> list[tuple[str, Any]]:
    """(event_id, parsed properties) of what may be read."""
    pairs = pd.DataFrame(list((merged or {}).items()), columns=["anonymous_id", "user_id"], dtype="str")
    seen = permitted(engine, engine.memtable(events_table(events)), engine.memtable(users_table(users)), AS_OF, pairs)
    rows = engine.to_arrow(seen.order_by("event_id"))
    assert rows.column_names == list(TEXTS)
    texts = rows["properties"].to_pylist()
    return list(
        zip(rows["event_id"].to_pylist(), [None if text is None else json.loads(text) for text in texts], strict=True)
    )


STORE, WEB = {"channel": "store"}, {"channel": "web"}
ONE_OF_EACH: list[tuple[str, str, Any]] = [
    ("u", "view", None), ("u", "search", None), ("u", "purchase", STORE), ("u", "purchase", WEB),
    ("u", "view", {"city": "Bonn", "n": 1}),
]  # fmt: skip
BLANK = {"city": None, "n": 1}


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([], [("e000", None), ("e003", WEB), ("e004", BLANK)]),
        ([("u", 1, None)], [("e000", None), ("e003", WEB), ("e004", BLANK)]),
        ([("u", 1, "personalisation")], [("e000", None), ("e003", WEB), ("e004", BLANK)]),
        ([("u", 1, "none")], []),
        ([("u", 1, "search_history, offline, location, email")], []),
        ([("other", 1, "none")], [("e000", None), ("e003", WEB), ("e004", BLANK)]),
        ([("u", 1, "personalisation,search_history")],
         [("e000", None), ("e001", None), ("e003", WEB), ("e004", BLANK)]),
        ([("u", 1, " offline , personalisation ")], [("e000", None), ("e002", STORE), ("e003", WEB), ("e004", BLANK)]),
        ([("u", 1, "personalisation,location")],
         [("e000", None), ("e003", WEB), ("e004", {"city": "Bonn", "n": 1})]),
        ([("u", 1, "personalisation"), ("u", AS_OF - 1, "none")], []),
        ([("u", 1, "none"), ("u", AS_OF - 1, "personalisation")],
         [("e000", None), ("e003", WEB), ("e004", BLANK)]),
        ([("u", 1, "none"), ("u", AS_OF, "personalisation")], []),
        ([("u", 1, "none"), ("u", 50, None)], []),
        ([("u", AS_OF, "none")], [("e000", None), ("e003", WEB), ("e004", BLANK)]),
    ],
)  # fmt: skip
def test_what_may_be_read(
    engine: Engine, users: list[tuple[str, int, str | None]], expected: list[tuple[str, Any]]
) -> None:
    assert read(engine, users, ONE_OF_EACH) == expected


@pytest.mark.parametrize(
    ("properties", "left"),
    [
        ('{"city" : "a \\"b\\", c" , "x":[1,{"lat":-1.5e3,"y":"lat"}]}',
         {"city": None, "x": [1, {"lat": None, "y": "lat"}]}),
        ('{"note":"say \\"city\\": 1","zip":53111}', {"note": 'say "city": 1', "zip": None}),
        ('{"x":1,"location":{"lat":1}}', None),
        ('{"coordinates":[50.7,7.1]}', None),
        ('{"city":null,"ok":true}', {"city": None, "ok": True}),
        ('{"city":true}', {"city": None}),
        ('{"cityhall":"x","country":"de"}', {"cityhall": "x", "country": "de"}),
    ],
)  # fmt: skip
def test_places_are_taken_out_and_nothing_else(engine: Engine, properties: str, left: Any) -> None:
    assert read(engine, [], [("u", "view", properties)]) == [("e000", left)]
    assert Consents.parse(None).visible(json.loads(properties)) == left


@pytest.mark.parametrize("properties", [{"channel": "Store"}, {"a": [{"channel": "OFFLINE"}]}])
def test_a_shop_is_recognised_at_any_depth_and_in_any_case(engine: Engine, properties: dict[str, Any]) -> None:
    assert read(engine, [], [("u", "view", properties)]) == []
    assert not Consents.parse(None).permits(EventType.VIEW, properties)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.sampled_from(["store", "Offline", "web", "city", 'a"city":1', "\\"]) | SCALARS
KEYS = st.sampled_from(["channel", "note", "n", *LOCATION_KEYS[:3], "city", "zip"])
PROPERTIES = st.none() | st.dictionaries(
    KEYS, VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(KEYS, VALUES, max_size=2), max_size=3
)
STATED = st.none() | st.just("none") | st.lists(st.sampled_from(list(Purpose)), min_size=1).map(", ".join)
PEOPLE = st.sampled_from(["u", "v", "w", "x"])


@settings(deadline=None, max_examples=25)
@given(
    st.dictionaries(st.tuples(PEOPLE, st.integers(1, 120)), STATED, max_size=8),
    st.lists(st.tuples(PEOPLE, st.sampled_from(["view", "search", "purchase"]), PROPERTIES), max_size=30),
    st.sampled_from([{}, {"v": "u"}, {"v": "u", "w": "u"}]),
    st.sampled_from(Purpose),
)
def test_the_engine_decides_as_the_rule_for_one_user(
    engine: Engine,
    users: dict[tuple[str, int], str | None],
    events: list[tuple[str, str, Any]],
    merged: dict[str, str],
    purpose: Purpose,
) -> None:
    events = [(merged.get(user, user), event_type, properties) for user, event_type, properties in events]
    last: dict[str, str] = {}
    for (user, valid_from), text in sorted(users.items()):
        if valid_from < AS_OF and text is not None:
            last[user] = text
    consents = {
        user: Consents.strictest(last.get(one) for one in (user, *(a for a, known in merged.items() if known == user)))
        for user in "uvwx"
    }
    expected = [
        (f"e{number:03d}", consents[user].visible(properties))
        for number, (user, event_type, properties) in enumerate(events)
        if consents[user].permits(EventType(event_type), properties)
    ]
    rows = [(user, valid_from, text) for (user, valid_from), text in users.items()]
    assert read(engine, rows, events, merged) == expected
    pairs = pd.DataFrame(list(merged.items()), columns=["anonymous_id", "user_id"], dtype="str")
    known = {merged.get(user, user) for user, valid_from, _ in rows if valid_from < AS_OF}
    table = granted(engine, engine.memtable(users_table(rows)), purpose, AS_OF, pairs)
    who = sorted(user for user in known if purpose in consents[user].purposes)
    assert sorted(engine.to_arrow(table)["user_id"].to_pylist()) == who


def test_impressions_of_who_refuses_are_left_out_and_cost_nothing_else(engine: Engine) -> None:
    shown = engine.memtable(pa.table({"user_id": ["u", "v"], "rank": [1, 2]}))
    refusing = engine.memtable(users_table([("u", 1, "none")]))
    assert engine.to_arrow(permitted(engine, shown, refusing, AS_OF)).to_pylist() == [{"user_id": "v", "rank": 2}]
    assert permitted(engine, shown, refusing, 1) is shown


def test_nothing_is_joined_where_nobody_differs_from_the_defaults(engine: Engine) -> None:
    events = engine.memtable(events_table(ONE_OF_EACH))
    usual = engine.memtable(users_table([("u", 1, "personalisation,email"), ("v", 1, None)]))
    assert "JOIN" not in ibis.to_sql(permitted(engine, events, usual, AS_OF), dialect="duckdb").upper()


def test_who_stated_something(engine: Engine) -> None:
    table = standing(engine, engine.memtable(users_table([("u", 1, "email"), ("v", 1, None)])), AS_OF)
    flags = {purpose.value: purpose is Purpose.EMAIL for purpose in Purpose}
    assert engine.to_arrow(table).to_pylist() == [{"user_id": "u", **flags}]


def test_texts_for_one_user() -> None:
    assert Consents.parse(None) == Consents.parse("") == Consents(frozenset(DEFAULT_PURPOSES))
    assert Consents.parse(" none ").purposes == frozenset()
    assert Consents.parse("sms , push").purposes == {Purpose.SMS, Purpose.PUSH}
    assert Consents.strictest([None, "none", "email"]).purposes == frozenset()
    for text in ("none, email", "email,", "Email", "all"):
        with pytest.raises(InputError, match="consents must name purposes"):
            Consents.parse(text)
