"""Who belongs to which segment: the whole table and one row say the same."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.engine import Engine
from features.errors import InputError
from features.segments.columns import Type, schema_of
from features.segments.definitions import Segments, make_segments
from features.segments.membership import member_of, membership, memberships

USERS = pd.DataFrame(
    {
        "purchase_recency_days": pd.array([10, 100, None, 200], "Int64"),
        "monetary_cents": [50_000, 50_000, 0, 900],
        "country": ["DE", "DE", "missing", "FR"],
    },
    index=pd.Index(["d", "c", "b", "a"], name="user_id"),
)
RULES = [
    {"name": "lapsed Germans", "parent": "lapsed", "where": 'country = "DE"'},
    {"name": "lapsed", "where": "purchase_recency_days >= 90"},
    {"name": "not lapsed", "where": "not purchase_recency_days >= 90"},
    {"name": "never bought", "where": "purchase_recency_days is missing"},
    {"name": "not from here", "where": 'country != "DE"'},
    {"name": "everybody", "where": "true"},
    {"name": "user_id", "where": "monetary_cents / purchase_recency_days > 1000"},
]
EXPECTED = {
    "d": {"not lapsed", "everybody", "user_id"},
    "c": {"lapsed Germans", "lapsed", "everybody"},
    "b": {"never bought", "everybody"},
    "a": {"lapsed", "not from here", "everybody"},
}


@pytest.fixture(scope="module")
def segments() -> Segments:
    return make_segments(RULES, schema_of(USERS))


def as_sets(members: pd.DataFrame) -> dict[Any, set[str]]:
    return {user: set(members.columns[row]) for user, row in zip(members.index, members.to_numpy(), strict=True)}


def test_a_frame_keeps_its_order(engine: Engine, segments: Segments) -> None:
    members = memberships(engine, USERS, segments)
    assert as_sets(members) == EXPECTED
    pd.testing.assert_index_equal(members.index, USERS.index)
    assert list(members.columns) == [rule["name"] for rule in RULES]
    assert set(members.dtypes) == {pd.Series([True]).dtype}


def test_a_table_is_sorted_by_its_key(engine: Engine, segments: Segments) -> None:
    members = memberships(engine, engine.memtable(USERS.reset_index()), segments)
    assert as_sets(members) == EXPECTED
    assert list(members.index) == ["a", "b", "c", "d"]
    assert members.index.name == "user_id"


def test_one_row(segments: Segments) -> None:
    rows = USERS.reset_index().to_dict("records")
    assert {row["user_id"]: membership(row, segments) for row in rows} == EXPECTED
    assert membership({}, segments) == {"never bought", "everybody"}


def test_nothing_to_ask_and_nobody_to_ask_about(engine: Engine, segments: Segments) -> None:
    assert memberships(engine, USERS.iloc[:0], segments).shape == (0, len(RULES))
    none = memberships(engine, USERS, make_segments([], schema_of(USERS)))
    assert none.shape == (4, 0)
    assert list(none.index) == list(USERS.index)
    everybody = make_segments([{"name": "all", "where": "true"}], {})
    assert memberships(engine, USERS, everybody)["all"].tolist() == [True] * 4


def test_users_who_stand_twice_are_both_answered(engine: Engine, segments: Segments) -> None:
    twice = pd.concat([USERS, USERS])
    members = memberships(engine, twice, segments)
    assert list(members.index) == list(twice.index)
    assert as_sets(members) == EXPECTED


def test_a_frame_that_does_not_fit(engine: Engine, segments: Segments) -> None:
    with pytest.raises(InputError, match="column 'country' is missing from the table"):
        memberships(engine, USERS.drop(columns="country"), segments)
    with pytest.raises(InputError, match="column 'country' must be a text"):
        memberships(engine, USERS.assign(country=1), segments)
    with pytest.raises(InputError, match="monetary_cents must be a number"):
        membership({"monetary_cents": "much"}, segments)


SCHEMA = {"a": Type.NUMBER, "b": Type.NUMBER, "t": Type.TEXT, "f": Type.FLAG}
ATOMS = ["a > 1", "a / b >= 0.5", "b is missing", "f", 't in ("x", "y")', 't != "x"', "a = b", "a - b < 0 or f"]
conditions = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or", "="]), inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=4,
)
users = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.none() | st.integers(0, 3),
            "b": st.none() | st.floats(0, 2),
            "t": st.sampled_from([None, "missing", "x", "y", "z"]),
            "f": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=25, deadline=None)
@given(wheres=st.lists(conditions, min_size=1, max_size=6), rows=users, data=st.data())
def test_random_segments_over_random_users(
    engine: Engine, wheres: list[str], rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    rules = [
        {"name": f"s{at}", "where": where, "parent": f"s{data.draw(st.integers(0, at - 1))}" if at % 2 else None}
        for at, where in enumerate(wheres)
    ]
    segments = make_segments(reversed(rules), SCHEMA)
    dtypes = {"a": "Int64", "b": "float64", "t": "str", "f": "boolean"}
    members = memberships(engine, pd.DataFrame(rows).astype(dtypes), segments)
    assert list(as_sets(members).values()) == [member_of(segments)(row) for row in rows]
    for name, parent in ((segment.name, segment.parent) for segment in segments):
        assert parent is None or not (members[name] & ~members[parent]).any()
