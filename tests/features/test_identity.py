"""Merges of visitors and users: planted stories, and against plain loops over random ones in any order."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.engine import Engine
from features.identity import Identities, Link, follow, identities, merges, resolved, resolved_users
from features.schema import EventType

LATE = 1_000


def said(anonymous_id: str | None, user_id: str, ts: int, event_type: str = "identify") -> dict[str, Any]:
    return {"anonymous_id": anonymous_id, "user_id": user_id, "ts": ts, "event_type": event_type}


def unsaid(anonymous_id: str, user_id: str, ts: int) -> dict[str, Any]:
    return said(anonymous_id, user_id, ts, "unidentify")


def table(events: list[dict[str, Any]]) -> pa.Table:
    """Events with ids of their own that tell their order of arrival."""
    types = [(name, pa.string()) for name in ("event_id", "user_id", "anonymous_id", "event_type")]
    rows = [{**event, "event_id": f"e{number:04d}"} for number, event in enumerate(events)]
    return pa.Table.from_pylist(rows, pa.schema([*types, ("ts", pa.int64())]))


def found(engine: Engine, events: list[dict[str, Any]], as_of_ms: int = LATE) -> dict[str, str]:
    frame = identities(engine, engine.memtable(table(events)), as_of_ms)
    assert list(frame.columns) == ["anonymous_id", "user_id"]
    assert frame["anonymous_id"].is_monotonic_increasing
    return dict(zip(frame["anonymous_id"], frame["user_id"], strict=True))


@pytest.mark.parametrize(
    ("events", "merged"),
    [
        ([], {}),
        ([said("a", "u", 5)], {"a": "u"}),
        ([said("a", "u", 5), said("a", "u", 5)], {"a": "u"}),
        ([said("a", "u", LATE)], {}),
        ([said("a", "u", 5, "view"), said(None, "u", 6, "view")], {}),
        ([said("a", "u", 5), unsaid("a", "u", 6)], {}),
        ([unsaid("a", "u", 6), said("a", "u", 5)], {}),
        ([said("a", "u", 5), unsaid("a", "u", 5)], {}),
        ([said("a", "u", 5), unsaid("a", "u", LATE)], {"a": "u"}),
        ([said("a", "u", 5), unsaid("a", "u", 6), said("a", "u", 7)], {"a": "u"}),
        ([said("a", "u", 5), said("a", "v", 6)], {"a": "v"}),
        ([said("a", "u", 5), said("a", "v", 6), unsaid("a", "v", 7)], {"a": "u"}),
        ([said("a", "u", 5), said("a", "v", 6), unsaid("a", "u", 7)], {"a": "v"}),
        ([said("a", "u", 5), said("a", "v", 5)], {"a": "v"}),
        ([said("a", "b", 5), said("b", "c", 6)], {"a": "c", "b": "c"}),
        ([said("a", "b", 5), said("b", "c", 6), unsaid("b", "c", 7)], {"a": "b"}),
        ([said("a", "u", 5), said("b", "u", 6)], {"a": "u", "b": "u"}),
        ([said("a", "a", 5)], {}),
        ([said("a", "b", 5), said("b", "a", 6)], {"a": "b"}),
        ([said("a", "b", 6), said("b", "a", 5)], {"b": "a"}),
        ([said("a", "b", 5), said("b", "a", 5)], {"a": "b"}),
        ([said("x", "a", 9), said("a", "b", 5), said("b", "c", 7), said("c", "a", 6)],
         {"x": "b", "a": "b", "c": "b"}),
    ],
)  # fmt: skip
def test_who_is_who(engine: Engine, events: list[dict[str, Any]], merged: dict[str, str]) -> None:
    assert found(engine, events) == merged


def plainly(events: list[dict[str, Any]], as_of_ms: int) -> dict[str, str]:
    """The rules word by word, one event, pair and id at a time."""
    links: dict[str, tuple[int, str]] = {}
    pairs = {(event["anonymous_id"], event["user_id"]) for event in events}
    for visitor, user in sorted(pairs, key=str):
        about = [e for e in events if (e["anonymous_id"], e["user_id"]) == (visitor, user) and e["ts"] < as_of_ms]
        words = sorted((e["ts"], e["event_type"] == "unidentify") for e in about if "identify" in e["event_type"])
        if words and not words[-1][1]:
            links[visitor] = max(links.get(visitor, (-1, "")), (words[-1][0], user))
    while True:
        for start in links:
            seen = [start]
            while seen[-1] in links and links[seen[-1]][1] not in seen:
                seen.append(links[seen[-1]][1])
            if seen[-1] in links:
                circle = seen[seen.index(links[seen[-1]][1]) :]
                del links[max(circle, key=lambda visitor: (links[visitor][0], visitor))]
                break
        else:
            break
    ends = {}
    for start in links:
        at = start
        while at in links:
            at = links[at][1]
        ends[start] = at
    return ends


IDS = st.sampled_from("abcdef")
EVENTS = st.lists(
    st.builds(
        said,
        IDS,
        IDS,
        st.integers(1, 12),
        st.sampled_from(["identify", "identify", "identify", "unidentify", "view"]),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=60)
@given(EVENTS, st.randoms(use_true_random=False), st.integers(1, 14))
def test_batch_online_and_plain_loops_agree_in_any_order(
    engine: Engine, events: list[dict[str, Any]], random: Any, as_of_ms: int
) -> None:
    expected = plainly(events, as_of_ms)
    arrived = events + random.sample(events, len(events) // 2)
    random.shuffle(arrived)
    assert found(engine, arrived, as_of_ms) == expected
    online = Identities()
    for event in arrived:
        if event["ts"] < as_of_ms and event["event_type"] != "view":
            online.note(EventType(event["event_type"]), event["anonymous_id"], event["user_id"], event["ts"])
    assert online.merges() == expected
    assert {user: online.user_of(user) for user in "abcdef"} == {user: expected.get(user, user) for user in "abcdef"}


def as_seen(engine: Engine, events: list[dict[str, Any]]) -> pa.Table:
    rows = engine.memtable(table(events))
    seen = resolved(engine, rows, identities(engine, rows, LATE))
    return engine.to_arrow(seen.order_by("event_id"))


@settings(deadline=None, max_examples=30)
@given(EVENTS, IDS, IDS)
def test_merge_then_undo_leaves_the_tables_as_they_were(
    engine: Engine, events: list[dict[str, Any]], visitor: str, user: str
) -> None:
    events = [event for event in events if (event["anonymous_id"], event["user_id"]) != (visitor, user)]
    before = as_seen(engine, events)
    assert as_seen(engine, [*events, said(visitor, user, 50), unsaid(visitor, user, 60)]).equals(before)


def test_past_and_future_events_count_for_the_user_and_identity_events_for_nobody(engine: Engine) -> None:
    events = [
        said(None, "visitor", 1, "view"),
        said("visitor", "known", 5),
        said("visitor", "known", 6, "view"),
        said(None, "visitor", 7, "view"),
        said(None, "other", 8, "view"),
    ]
    seen = as_seen(engine, events)
    assert seen.column_names == table(events).column_names
    assert seen["user_id"].to_pylist() == ["known", "known", "known", "other"]
    assert seen["anonymous_id"].to_pylist() == [None, "visitor", None, None]


def test_impressions_and_users_follow(engine: Engine) -> None:
    merged = pd.DataFrame({"anonymous_id": ["visitor"], "user_id": ["known"]})
    shown = engine.memtable(pa.table({"request_id": ["r1", "r2"], "user_id": ["visitor", "other"]}))
    assert engine.to_arrow(resolved(engine, shown, merged).order_by("request_id")).to_pylist() == [
        {"request_id": "r1", "user_id": "known"},
        {"request_id": "r2", "user_id": "other"},
    ]
    users = engine.memtable(pa.table({"user_id": ["visitor", "known"], "country": ["fr", "de"]}))
    assert engine.to_arrow(resolved_users(engine, users, merged)).to_pylist() == [{"user_id": "known", "country": "de"}]
    nobody = merged.iloc[:0]
    assert resolved_users(engine, users, nobody) is users
    assert resolved(engine, shown, nobody) is shown


def test_long_chains_and_circles_take_linear_time() -> None:
    n = 50_000
    chain = {str(i): Link(str(i + 1), i) for i in range(n)}
    assert set(merges(chain).values()) == {str(n)}
    assert set(merges({**chain, str(n): Link("0", n)}).values()) == {str(n)}
    assert follow(chain, str(n - 2), {}) == str(n)


def test_other_events_say_nothing() -> None:
    with pytest.raises(ValueError, match="says nothing"):
        Identities().note(EventType.VIEW, "a", "u", 1)
