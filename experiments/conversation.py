"""Talking to the running service as a shop's backend does: a question, an event, the question again."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.compare import Comparison
from serving import server
from training.registry import champion


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was asked of the running service and what it answered."""

    title: str
    request: dict[str, Any]
    answer: dict[str, Any]


def talk(comparison: Comparison, state: Path, port: int = 0) -> Iterator[Conversation]:
    """Start the service on the champion, ask for three users, and stop it: one cold, one hot, one live in a session.

    The live user asks, looks at an item, and asks again: the answer changes with no retraining.

    Args:
        state: SQLite file of this conversation; an earlier one is removed, so that everybody begins anew.
    """
    for leftover in state.parent.glob(f"{state.name}*"):
        leftover.unlink()
    asked, snapshot = comparison.asked, comparison.trained.snapshot
    hot, live = (str(user_id) for user_id in asked.histories.user_ids[asked.groups == "hot"][:2])
    told = {name: str(snapshot.user_matrix[name].mode().iloc[0]) for name in snapshot.attributes}
    folder, version = champion()
    url = f"sqlite:///{state}"
    with server.start("127.0.0.1", port, bundle=folder, state_url=url, version=version) as running:
        for title, question in (
            ("A cold user, known by attributes only", {"user_id": "somebody-new", "k": 5, "attributes": told}),
            ("A hot user, known by past behaviour", {"user_id": hot, "k": 5}),
        ):
            yield Conversation(title, question, _post(running.url, "recommend", question))
        question = {"user_id": live, "k": 5}
        before = _post(running.url, "recommend", question)
        yield Conversation("Another one, about to begin a session", question, before)
        event = {"user_id": live, "event_type": "view", "item_id": _unseen_item(comparison, before)}
        yield Conversation("who looks at an item now", event, _post(running.url, "events", event))
        after = _post(running.url, "recommend", question)
        yield Conversation(f"and asks again, live: {_change(before, after)}", question, after)


def _change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Which items are new in the answer and which have left it."""
    old, new = ([item["item_id"] for item in answer["items"]] for answer in (before, after))
    entered = [item for item in new if item not in old]
    left = [item for item in old if item not in new]
    return f"{', '.join(entered) or 'nothing'} came in, {', '.join(left) or 'nothing'} left"


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
