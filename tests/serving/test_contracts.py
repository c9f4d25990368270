"""What the endpoint accepts: each bad input is refused by name, with a rule and a way to mend it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from features.errors import ConflictError, InputError, NotFoundError, StellarError
from features.schema import IDENTITY, NEEDS_ITEM, EventType
from serving.contracts import RequestError, Surface, error_answer, parse_body, status_of
from serving.posted import CLOCK_SKEW_MS, MAX_EVENTS, parse_events
from serving.recommend_answer import RecommendRequest
from serving.state import LiveEvent, StateError

NOW_MS = 1_700_000_000_000
VIEW = {"event_type": "view", "user_id": "ann", "item_id": "lamp"}


def events(body: Any) -> list[LiveEvent]:
    return parse_events(json.dumps(body).encode(), NOW_MS)


def refusal(body: Any, parse: Any = events) -> tuple[int, str, str, Any]:
    """Status, field, rule and received of the refusal; every refusal must also say how to mend it."""
    with pytest.raises(StellarError) as caught:
        parse(body)
    complaint = json.loads(error_answer(caught.value).model_dump_json())["error"]
    assert complaint["mend"]
    return status_of(caught.value), complaint["field"], complaint["rule"], complaint["received"]


def recommend_refusal(body: Any) -> tuple[int, str, str, Any]:
    return refusal(body, lambda content: parse_body(RecommendRequest, json.dumps(content).encode()))


def test_one_event_and_many_are_read_alike() -> None:
    [one] = events(VIEW | {"event_id": "e1", "ts": NOW_MS - 1})
    assert one == LiveEvent("e1", "ann", EventType.VIEW, NOW_MS - 1, NOW_MS, item_id="lamp")
    assert events({"events": [VIEW | {"event_id": "e1", "ts": NOW_MS - 1}]}) == [one]


def test_the_server_fills_in_time_and_ids_that_keep_the_order_of_the_batch() -> None:
    posted = events({"events": [VIEW] * MAX_EVENTS})
    ids = [event.event_id for event in posted]
    assert ids == sorted(set(ids))
    assert {(event.ts, event.received_ts) for event in posted} == {(NOW_MS, NOW_MS)}


def test_properties_are_kept_as_canonical_json() -> None:
    [event] = events(VIEW | {"properties": {"b": [1, None, "ü"], "a": {"x": 0.5}}})
    assert event.properties == '{"a":{"x":0.5},"b":[1,null,"ü"]}'


@pytest.mark.parametrize("event_type", list(EventType))
def test_an_item_is_required_where_the_event_means_nothing_without(event_type: EventType) -> None:
    body = {"event_type": event_type, "user_id": "ann", "anonymous_id": "visitor"}
    if event_type in NEEDS_ITEM:
        assert refusal(body) == (422, "item_id", f"is required for {event_type}", None)
    else:
        assert events(body)[0].item_id is None


@pytest.mark.parametrize("event_type", list(EventType))
def test_whom_an_identity_event_is_about_must_be_said(event_type: EventType) -> None:
    body = VIEW | {"event_type": event_type}
    if event_type in IDENTITY:
        assert refusal(body) == (422, "anonymous_id", f"is required for {event_type}", None)
        assert refusal({"events": [VIEW, body]})[1] == "events.1.anonymous_id"
        assert events(body | {"anonymous_id": "visitor"})[0].anonymous_id == "visitor"
    else:
        assert events(body)[0].anonymous_id is None


@pytest.mark.parametrize(
    ("change", "field", "rule", "received"),
    [
        ({"unit_price_cents": "1999"}, "unit_price_cents", "must be an integer", "1999"),
        ({"unit_price_cents": 19.99}, "unit_price_cents", "must be an integer", 19.99),
        ({"unit_price_cents": -1}, "unit_price_cents", "must be at least 0", -1),
        ({"unit_price_cents": 10**30}, "unit_price_cents", "must be at most 1000000000000", str(10**30)),
        ({"quantity": 0}, "quantity", "must be at least 1", 0),
        ({"quantity": True}, "quantity", "must be an integer", True),
        ({"ts": NOW_MS + CLOCK_SKEW_MS + 1}, "ts", "must not be in the future", NOW_MS + CLOCK_SKEW_MS + 1),
        ({"ts": NOW_MS // 1000}, "ts", "must not be before 2000", NOW_MS // 1000),
        ({"ts": "2023-11-14"}, "ts", "must be an integer", "2023-11-14"),
        ({"user_id": ""}, "user_id", "must have at least 1 character", ""),
        ({"user_id": "x" * 257}, "user_id", "must have at most 256 characters", "x" * 119 + "…"),
        ({"user_id": "a\x00b"}, "user_id", "must hold no control characters", "a\x00b"),
        ({"user_id": 7}, "user_id", "must be a string", 7),
        ({"user_id": None}, "user_id", "must be a string", None),
        ({"price": 3}, "price", "is not a known key", 3),
        ({"properties": [1, 2]}, "properties", "must be an object", "array of 2"),
        ({"properties": {"x": "y" * 9000}}, "properties", "must have at most 8192 characters as JSON", "object of 1"),
        ({"properties": {"x": float("nan")}}, "properties", "must hold no NaN or Infinity", "object of 1"),
    ],
)
def test_each_bad_field_of_an_event_is_named_alone_and_in_a_batch(
    change: dict[str, Any], field: str, rule: str, received: Any
) -> None:
    assert refusal(VIEW | change) == (422, field, rule, received)
    assert refusal({"events": [VIEW, VIEW | change]}) == (422, f"events.1.{field}", rule, received)


def test_an_unknown_event_type_and_a_missing_user_are_named() -> None:
    status, field, rule, received = refusal(VIEW | {"event_type": "wiew"})
    assert (status, field, received) == (422, "event_type", "wiew")
    assert "'view', 'search'" in rule
    assert refusal({"event_type": "search"}) == (422, "user_id", "is required", None)


def test_a_clock_that_runs_ahead_a_little_is_tolerated() -> None:
    assert events(VIEW | {"ts": NOW_MS + CLOCK_SKEW_MS})[0].ts == NOW_MS + CLOCK_SKEW_MS


@pytest.mark.parametrize(
    ("body", "field", "rule", "received"),
    [
        ({"events": []}, "events", "must have at least 1 entry", "array of 0"),
        ({"events": [VIEW] * (MAX_EVENTS + 1)}, "events", "must have at most 1000 entries", "array of 1001"),
        ({"events": VIEW}, "events", "must be an array", "object of 3"),
        ({"events": [VIEW], "user_id": "ann"}, "user_id", "is not a known key", "ann"),
        ({"events": [3]}, "events.0", "must be an object", 3),
        ([VIEW], "body", "must be an object", "array of 1"),
        (3, "body", "must be an object", 3),
    ],
)
def test_a_batch_of_the_wrong_shape_is_refused(body: Any, field: str, rule: str, received: Any) -> None:
    assert refusal(body) == (422, field, rule, received)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"user_id=ann", b'{"user_id": "\xff"}', b'{"user_id": "\\ud800"}', b"[" * 100_000, b"9" * 5_000],
)
def test_what_is_not_json_is_refused_with_400(body: bytes) -> None:
    for read in (lambda content: parse_events(content, NOW_MS), lambda content: parse_body(RecommendRequest, content)):
        status, field, rule, _ = refusal(body, read)
        assert (status, field) == (400, "body")
        assert rule.startswith("must be JSON (")


def test_a_question_needs_only_a_user() -> None:
    asked = parse_body(RecommendRequest, b'{"user_id": "ann"}')
    assert (asked.wanted, asked.surface, asked.attributes, asked.item_id, asked.exclude) == (
        10,
        Surface.HOME,
        {},
        None,
        [],
    )


@pytest.mark.parametrize(
    ("change", "field", "rule", "received"),
    [
        ({"k": 0}, "k", "must be at least 1", 0),
        ({"k": 10**9}, "k", "must be at most 500", 10**9),
        ({"k": "10"}, "k", "must be an integer", "10"),
        ({"user_id": "x" * 300}, "user_id", "must have at most 256 characters", "x" * 119 + "…"),
        ({"attributes": {"age": 30}}, "attributes.age", "must be a string", 30),
        ({"attributes": {"one": 30}}, "attributes.one", "must be a string", 30),
        ({"exclude": ["i"] * 1001}, "exclude", "must have at most 1000 entries", "array of 1001"),
        ({"exclude": ["a", 5]}, "exclude.1", "must be a string", 5),
        ({"limit": 5}, "limit", "is not a known key", 5),
    ],
)
def test_each_bad_field_of_a_question_is_named(change: dict[str, Any], field: str, rule: str, received: Any) -> None:
    assert recommend_refusal({"user_id": "ann"} | change) == (422, field, rule, received)


def test_an_unknown_surface_is_answered_with_the_known() -> None:
    status, field, rule, _ = recommend_refusal({"user_id": "ann", "surface": "checkout"})
    assert (status, field) == (422, "surface")
    assert all(f"'{surface}'" in rule for surface in Surface)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("k", "must be at least 1"), 422),
        (ConflictError("event_id", "must not be used twice"), 409),
        (NotFoundError("model", "has no champion"), 503),
        (StateError("state", "must be usable"), 503),
        (RequestError(413, "body", "is too large"), 413),
    ],
)
def test_each_kind_of_error_has_its_status(error: StellarError, status: int) -> None:
    assert status_of(error) == status
