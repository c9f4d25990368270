"""The endpoint: what it answers, records and refuses."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from features.errors import NotFoundError
from features.schema import Level
from serving import policy
from serving.contracts import MAX_BODY
from serving.freshness import Age, Ages, Freshness
from serving.posted import CLOCK_SKEW_MS
from serving.service import Api, Backend, Readiness
from serving.state import LiveEvent, State


@dataclass(frozen=True)
class TinyBundle:
    """A bundle as small as the service can see it."""

    digest: str = "digest"
    as_of_ms: int = 1_600_000_000_000
    known: None = None


ONE_DAY = Age(freshness=Freshness.FRESH, age_ms=86_400_000)
AGES = Ages(snapshot=ONE_DAY, history=ONE_DAY, live=Age(freshness=Freshness.MISSING, age_ms=None), attributes={})


def live_first(
    request: policy.Request, events: list[LiveEvent], bundle: TinyBundle, unavailable: frozenset[str] = frozenset()
) -> policy.Slate:
    """A policy that can be foretold: what the user touched, latest first, then items by name."""
    assert all(bundle.as_of_ms <= event.ts < request.now_ms for event in events)
    touched = [event.item_id for event in reversed(events) if event.item_id]
    ids = [item for item in dict.fromkeys([*touched, "a", "b", "c"]) if item not in request.exclude][: request.k]
    items = [
        policy.SlateItem(item, rank, 1 / rank, (Level.LIVE if item in touched else Level.POPULAR).label, "why", 0.5)
        for rank, item in enumerate(ids, 1)
    ]
    return policy.Slate(items, bundle.digest, "champion", ["a note"], AGES)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield state
    state.close()


@pytest.fixture
def api(state: State, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(policy, "decide", live_first)
    return Api(Backend(state, TinyBundle()))  # type: ignore[arg-type]


def send(app: Any, method: str, path: str, **content: Any) -> httpx.Response:
    async def sent() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            return await client.request(method, path, **content)

    return asyncio.run(sent())


def post(app: Any, path: str, body: Any) -> httpx.Response:
    return send(app, "POST", path, json=body)


def items(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def complaint(answer: httpx.Response) -> dict[str, Any]:
    """The error of a refusal, which all have in one form."""
    assert answer.headers["content-type"] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"field", "rule", "received", "mend"}
    assert "Traceback" not in answer.text
    return error


def test_an_event_changes_the_next_answer_of_that_user_alone(api: Api) -> None:
    assert items(post(api, "/recommend", {"user_id": "ann", "k": 2})) == ["a", "b"]
    posted = post(api, "/events", {"user_id": "ann", "event_type": "view", "item_id": "lamp"})
    assert (posted.json()["accepted"], posted.json()["duplicates"], len(posted.json()["event_ids"])) == (1, 0, 1)
    answer = post(api, "/recommend", {"user_id": "ann", "k": 2})
    assert items(answer) == ["lamp", "a"]
    assert [(item["rank"], item["level"], item["reason"]) for item in answer.json()["items"]] == [
        (1, "L4", "why"),
        (2, "popular", "why"),
    ]
    assert items(post(api, "/recommend", {"user_id": "bob", "k": 2})) == ["a", "b"]


def test_an_event_from_a_clock_that_runs_ahead_counts_at_once(api: Api) -> None:
    ahead = time.time_ns() // 1_000_000 + CLOCK_SKEW_MS // 2
    post(api, "/events", {"user_id": "ann", "event_type": "view", "item_id": "lamp", "ts": ahead})
    answer = post(api, "/recommend", {"user_id": "ann"})
    assert items(answer)[0] == "lamp"
    assert answer.json()["served_ms"] == ahead + 1


def test_what_the_snapshot_knew_is_not_read_again(api: Api) -> None:
    before = TinyBundle().as_of_ms - 1
    post(api, "/events", {"user_id": "ann", "event_type": "view", "item_id": "lamp", "ts": before})
    assert items(post(api, "/recommend", {"user_id": "ann"})) == ["a", "b", "c"]


def test_one_impression_is_recorded_for_each_item_shown(api: Api, state: State) -> None:
    question = {"user_id": "ann", "k": 3, "surface": "cart", "exclude": ["b"]}
    answers = [post(api, "/recommend", question).json() for _ in range(2)]
    frame = state.impressions_frame()
    for answer in answers:
        rows = frame[frame["request_id"] == answer["request_id"]]
        assert list(rows["item_id"]) == [item["item_id"] for item in answer["items"]] == ["a", "c"]
        assert list(rows["rank"]) == [1, 2]
        assert list(rows["score"]) == [1.0, 0.5]
        constant = {name: rows[name].unique().tolist() for name in frame.columns.drop(["item_id", "rank", "score"])}
        assert constant == {
            "request_id": [answer["request_id"]],
            "user_id": ["ann"],
            "surface": ["cart"],
            "level": [int(Level.POPULAR)],
            "propensity": [0.5],
            "arm": ["champion"],
            "bundle_digest": ["digest"],
            "ts": [answer["served_ms"]],
        }
    assert len(frame) == 4


def test_an_answer_states_where_it_comes_from(api: Api) -> None:
    answer = post(api, "/recommend", {"user_id": "ann", "surface": "email"}).json()
    assert (answer["bundle_digest"], answer["arm"], answer["notes"]) == ("digest", "champion", ["a note"])
    assert (answer["user_id"], answer["surface"], answer["as_of_ms"]) == ("ann", "email", TinyBundle().as_of_ms)
    one_day = {"freshness": "fresh", "age_ms": 86_400_000}
    missing = {"freshness": "missing", "age_ms": None}
    assert answer["ages"] == {"snapshot": one_day, "history": one_day, "live": missing, "attributes": {}}


def test_the_policy_is_asked_about_the_person_and_the_answer_is_for_who_asked(
    api: Api, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[policy.Request] = []

    def remember(request: policy.Request, *others: Any) -> policy.Slate:
        asked.append(request)
        return live_first(request, *others)

    monkeypatch.setattr(policy, "decide", remember)
    post(api, "/events", {"user_id": "tab", "event_type": "view", "item_id": "lamp"})
    post(api, "/events", {"user_id": "ann", "event_type": "identify", "anonymous_id": "tab"})
    for user_id in ("ann", "tab"):
        answer = post(api, "/recommend", {"user_id": user_id, "k": 1})
        assert (items(answer), answer.json()["user_id"]) == (["lamp"], user_id)
    assert [(request.user_id, request.visitors) for request in asked] == [("ann", ("tab",))] * 2
    assert state.impressions_frame()["user_id"].tolist() == ["ann", "tab"]


def test_a_repeated_event_is_accepted_once_and_a_changed_one_refused(api: Api, state: State) -> None:
    event = {"event_id": "e1", "user_id": "ann", "event_type": "purchase", "item_id": "lamp", "unit_price_cents": 5}
    assert [post(api, "/events", event).json()["accepted"] for _ in range(2)] == [1, 0]
    refused = post(api, "/events", {"events": [{**event, "event_id": "e2"}, event | {"unit_price_cents": 6}]})
    assert refused.status_code == 409
    assert (complaint(refused)["field"], complaint(refused)["received"]) == ("event_id", "e1")
    assert list(state.events_frame()["event_id"]) == ["e1"]


def test_a_bad_field_is_answered_with_its_path(api: Api, state: State) -> None:
    good = {"user_id": "ann", "event_type": "view", "item_id": "lamp"}
    refused = post(api, "/events", {"events": [good, good | {"unit_price_cents": "12"}]})
    assert refused.status_code == 422
    assert complaint(refused)["field"] == "events.1.unit_price_cents"
    assert state.events_frame().empty
    assert post(api, "/recommend", {"user_id": "ann", "k": 10**9}).status_code == 422


def test_a_bundle_that_knows_no_single_users_has_no_profiles(api: Api) -> None:
    answer = send(api, "GET", "/profile?user_id=ann")
    assert answer.status_code == 503
    assert complaint(answer)["mend"] == "train it again"


@pytest.mark.parametrize("path", ["/recommend", "/events"])
def test_the_wrong_form_is_refused_before_the_content(api: Api, path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield b"x" * 65_536

    json_type = {"content-type": "application/json; charset=utf-8"}
    refused = [
        send(api, "POST", path, content=b"{}", headers={"content-type": "text/plain"}),
        send(api, "POST", path, content=b"{}"),
        send(api, "POST", path, content=b"x" * (MAX_BODY + 1), headers=json_type),
        send(api, "POST", path, content=chunks(), headers=json_type),
        send(api, "POST", path, content=b"{'user_id': 1}", headers=json_type),
        send(api, "GET", path),
        send(api, "POST", path + "/x", json={}),
    ]
    assert [answer.status_code for answer in refused] == [415, 415, 413, 413, 400, 405, 404]
    fields = [complaint(answer)["field"] for answer in refused]
    assert fields == ["content-type", "content-type", "body", "body", "body", "method", "path"]


def test_a_body_of_exactly_the_limit_is_read(api: Api) -> None:
    body = json.dumps({"user_id": "ann"}).encode().ljust(MAX_BODY)
    answer = send(api, "POST", "/recommend", content=body, headers={"content-type": "application/json"})
    assert items(answer) == ["a", "b", "c"]


def test_without_a_champion_events_are_accepted_and_nothing_is_recommended(state: State) -> None:
    missing = NotFoundError("model", "has no champion", mend="run `stellar promote`")
    api = Api(Backend(state, missing))
    assert post(api, "/events", {"user_id": "ann", "event_type": "exit_intent"}).status_code == 200
    for refused in (post(api, "/recommend", {"user_id": "ann"}), send(Readiness(api, api), "GET", "/readyz")):
        assert refused.status_code == 503
        assert complaint(refused) == {
            "field": "model",
            "rule": "has no champion",
            "received": None,
            "mend": "run `stellar promote`",
        }


def test_ready_with_a_champion(api: Api) -> None:
    assert send(api, "GET", "/readyz").json() == {"ready": True, "bundle_digest": "digest"}


def test_a_state_that_fails_is_answered_with_503(api: Api, state: State) -> None:
    state.close()
    refused = post(api, "/events", {"user_id": "ann", "event_type": "exit_intent"})
    assert (refused.status_code, complaint(refused)["field"]) == (503, "state")


def test_a_defect_is_answered_without_a_traceback(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(policy, "decide", defective)
    refused = post(api, "/recommend", {"user_id": "ann"})
    assert refused.status_code == 500
    assert complaint(refused)["field"] == "service"
    assert "secret" not in refused.text


def test_meters_count_requests_items_and_events(api: Api) -> None:
    def read() -> list[float]:
        names = [
            ("stellar_requests_total", {"route": "/recommend", "status": "200"}),
            ("stellar_requests_total", {"route": "other", "status": "404"}),
            ("stellar_request_seconds_count", {"route": "/recommend"}),
            ("stellar_impressions_total", {"level": "popular"}),
            ("stellar_events_total", {"outcome": "accepted"}),
            ("stellar_events_total", {"outcome": "duplicate"}),
        ]
        return [REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in names]

    before = read()
    post(api, "/recommend", {"user_id": "ann", "k": 2})
    event = {"event_id": "e", "user_id": "bob", "event_type": "search", "query": "lamp"}
    post(api, "/events", {"events": [event, event, event | {"event_id": "f"}]})
    send(api, "GET", "/a/scanner/was/here")
    assert [after - earlier for after, earlier in zip(read(), before, strict=True)] == [1, 1, 1, 2, 2, 1]


def test_openapi_documents_all_routes_with_their_errors(api: Api) -> None:
    document = send(api, "GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.")
    common = {"200", "400", "413", "415", "422", "503"}
    assert set(document["paths"]["/recommend"]["post"]["responses"]) == common
    assert set(document["paths"]["/events"]["post"]["responses"]) == common | {"409"}
    profile = document["paths"]["/profile"]["get"]
    assert set(profile["responses"]) == {"200", "404", "422", "503"}
    assert [(one["name"], one["in"], one["required"]) for one in profile["parameters"]] == [("user_id", "query", True)]
    schemas = document["components"]["schemas"]
    assert schemas["Profile"]["properties"]["personalised"]["const"] is True
    assert schemas["RefusedProfile"]["properties"]["personalised"]["const"] is False
    assert schemas["RecommendRequest"]["properties"]["k"]["anyOf"][0]["maximum"] == 500
    assert schemas["Unranked"]["enum"] == ["unknown", "unavailable", "excluded"]
    assert schemas["PostedEvent"]["required"] == ["event_type", "user_id"]
    assert schemas["RecommendAnswer"]["properties"]["ages"] == {"$ref": "#/components/schemas/Ages"}
    assert set(schemas["Ages"]["required"]) == {"snapshot", "history", "live", "attributes"}
    assert all(told["description"] for told in schemas["Ages"]["properties"].values())
    assert schemas["Freshness"]["enum"] == ["fresh", "stale", "missing"]
    answer, value = schemas["IntentAnswer"], schemas["PredictedValue"]
    assert answer["properties"]["values"]["items"] == {"$ref": "#/components/schemas/PredictedValue"}
    assert {"values", "model_version"} <= set(answer["required"])
    for name in ("expected_orders", "expected_cents", "rank_only_because"):
        assert {"type": "null"} in value["properties"][name]["anyOf"] and value["properties"][name]["description"]
    assert set(schemas["ValueReason"]["required"]) == {"feature", "value", "log_value"}
    references = {text.split('"')[0] for text in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
