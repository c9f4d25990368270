"""Talking to the running service as a shop's backend does: a question, an event, the question again."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.compare import Comparison
from serving import server
from training.registry import champion_folder


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was asked of the running service and what it answered."""

    title: str
    request: dict[str, Any]
    answer: dict[str, Any]


def talk(comparison: Comparison, port: int = 0) -> Iterator[Conversation]:
    """Start the service on the champion, ask for a cold, a hot and a live user, and stop it.

    The live user is the hot one after two events that are posted in between: the answer changes with no retraining.
    """
    snapshot = comparison.trained.snapshot
    hot = str(comparison.asked.histories.user_ids[comparison.asked.groups == "hot"][0])
    attributes = {
        name: str(snapshot.user_matrix[name].mode().iloc[0])
        for name in snapshot.attributes
        if len(snapshot.user_matrix)
    }
    with server.start("127.0.0.1", port, bundle=champion_folder(), state_url=server.default_state_url()) as running:
        cold = {"user_id": "somebody-new", "k": 5, "attributes": attributes}
        yield Conversation("A cold user, known by attributes only", cold, _post(running.url, "recommend", cold))
        known = {"user_id": hot, "k": 5}
        before = _post(running.url, "recommend", known)
        yield Conversation("A hot user, known by past behaviour", known, before)
        item = _unseen_item(comparison, before)
        event = {"user_id": hot, "event_type": "view", "item_id": item}
        posted = _post(running.url, "events", event)
        yield Conversation("The same user looks at an item now", event, posted)
        yield Conversation("And asks again: live in a session", known, _post(running.url, "recommend", known))


def _unseen_item(comparison: Comparison, answer: dict[str, Any]) -> str:
    """A popular item that is not in the answer, so that interest in it is news."""
    shown = {item["item_id"] for item in answer["items"]}
    by_popularity = comparison.trained.snapshot.item_matrix["popularity"].sort_values(ascending=False, kind="stable")
    return str(next(item for item in by_popularity.index if item not in shown))


def _post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


__all__ = ["Conversation", "talk"]
