"""B11, the service: a visitor becomes a user, whose answers follow both; taken back, all is as it was before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.service import Api, Backend
from serving.state import State
from training.bundle import Bundle

SURFACES = ("home", "recently_viewed", "cart")


class Service:
    """A service whose clock stands still; everything was done some seconds before now."""

    def __init__(self, bundle: Bundle, state: State) -> None:
        self.now_ms = bundle.as_of_ms + 3_600_000
        self._api = Api(Backend(state, bundle, clock=lambda: self.now_ms))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        async def posted() -> httpx.Response:
            transport = httpx.ASGITransport(self._api)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.post(path, json=body)

        response = asyncio.run(posted())
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def viewed(self, user: str, item: str, before_s: int) -> None:
        self.post("/events", event_type="view", user_id=user, item_id=item, ts=self.now_ms - 1_000 * before_s)

    def said(self, event_type: str, visitor: str, user: str, before_s: int) -> None:
        ts = self.now_ms - 1_000 * before_s
        self.post("/events", event_type=event_type, user_id=user, anonymous_id=visitor, ts=ts)

    def answers(self, user: str) -> list[dict[str, Any]]:
        """One answer per surface, without the name of who asked and the request's own id."""
        asked = [self.post("/recommend", user_id=user, surface=surface) for surface in SURFACES]
        assert {answer.pop("user_id") for answer in asked} == {user}
        return [{name: value for name, value in answer.items() if name != "request_id"} for answer in asked]


@pytest.fixture
def service(shop_bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(shop_bundle, state)
    state.close()


@pytest.fixture
def ann(shop_bundle: Bundle) -> str:
    """The user with the longest history."""
    return str(shop_bundle.users.ids[int(np.argmax(shop_bundle.sequences.lengths))])


@pytest.fixture
def leading(shop_bundle: Bundle) -> list[str]:
    """Two items that lead to many others within a visit."""
    towards = shop_bundle.blend.parts["live"]._towards  # type: ignore[attr-defined]
    return [str(item) for item in shop_bundle.items.ids[np.argsort(-np.diff(towards.indptr), kind="stable")[:2]]]


def levels(answer: dict[str, Any]) -> set[str]:
    return {item["level"] for item in answer["items"]}


def first_item(answers: list[dict[str, Any]]) -> str:
    """What leads the list of what was recently viewed."""
    return str(answers[1]["items"][0]["item_id"])


def test_merge_then_undo_gives_both_their_answers_back(service: Service, ann: str, leading: list[str]) -> None:
    service.viewed("tablet", leading[0], before_s=60)
    before = {user: service.answers(user) for user in (ann, "tablet")}
    assert "L4" not in levels(before[ann][0]) and "L4" in levels(before["tablet"][0])

    service.said("identify", "tablet", ann, before_s=50)
    merged = service.answers(ann)
    assert service.answers("tablet") == merged  # one person, whatever the id
    assert merged[0]["items"] != before[ann][0]["items"] and "L4" in levels(merged[0])
    assert merged[0]["ages"]["live"] == {"freshness": "fresh", "age_ms": 60_000}
    assert first_item(merged) == leading[0]

    service.said("unidentify", "tablet", ann, before_s=40)
    assert {user: service.answers(user) for user in (ann, "tablet")} == before


def test_what_either_does_counts_for_both_until_it_is_taken_back(
    service: Service, ann: str, leading: list[str]
) -> None:
    service.said("identify", "tablet", ann, before_s=50)
    service.viewed(ann, leading[0], before_s=40)
    assert first_item(service.answers("tablet")) == first_item(service.answers(ann)) == leading[0]
    service.viewed("tablet", leading[1], before_s=30)
    assert first_item(service.answers("tablet")) == first_item(service.answers(ann)) == leading[1]
    service.said("unidentify", "tablet", ann, before_s=20)
    assert (first_item(service.answers("tablet")), first_item(service.answers(ann))) == (leading[1], leading[0])


def test_of_two_users_of_one_device_the_last_counts(service: Service, ann: str, leading: list[str]) -> None:
    service.viewed("tablet", leading[0], before_s=60)
    alone = service.answers(ann)
    service.said("identify", "tablet", ann, before_s=50)
    merged = service.answers(ann)
    service.said("identify", "tablet", "bob", before_s=40)
    assert service.answers(ann) == alone != merged
    assert first_item(service.answers("bob")) == leading[0]
    service.said("unidentify", "tablet", "bob", before_s=30)
    assert service.answers(ann) == merged


def test_a_visitor_whom_the_snapshot_knows_keeps_their_past_as_a_new_user(service: Service, ann: str) -> None:
    before, new = service.answers(ann), service.answers("registered")
    assert new[0]["ages"]["history"]["freshness"] == "missing"
    service.said("identify", ann, "registered", before_s=1)
    registered = service.answers("registered")
    assert registered[0]["ages"]["history"] == before[0]["ages"]["history"]
    assert [item["item_id"] for item in registered[1]["items"]] == [item["item_id"] for item in before[1]["items"]]
    assert "L2" in levels(registered[0]) and "L2" not in levels(new[0])
