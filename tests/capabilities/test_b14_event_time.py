"""B14, the service: late, duplicated and reordered events give the same final state, and so the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.posted import CLOCK_SKEW_MS
from serving.service import Api, Backend
from serving.state import State
from training.bundle import Bundle

HOUR_MS = 3_600_000

#: A user whom the snapshot knows, another whom it does not, and a visitor who may turn out to be one of them.
USERS = ("known", "new", "visitor")

# Few instants, so that some events share one; some before the last two hours, some ahead of the server's clock.
BEFORE_MS = st.sampled_from([-CLOCK_SKEW_MS, -1, 0, 1, 60_000, 2 * HOUR_MS, 2 * HOUR_MS + 1, 9 * HOUR_MS])

Post = dict[str, Any]


def deed(event_type: str, user: str, item: int, before_ms: int) -> Post:
    return {"event_type": event_type, "user_id": user, "item_id": item, "ts": before_ms}


def word(event_type: str, user: str, before_ms: int) -> Post:
    return {"event_type": event_type, "user_id": user, "anonymous_id": "visitor", "ts": before_ms}


DEEDS = st.builds(
    deed,
    st.sampled_from(["view", "view", "add_to_cart", "remove_from_cart", "purchase"]),
    st.sampled_from(USERS),
    st.integers(0, 5),
    BEFORE_MS,
)
WORDS = st.builds(word, st.sampled_from(["identify", "identify", "unidentify"]), st.sampled_from(USERS[:2]), BEFORE_MS)


def final(bundle: Bundle, deliveries: list[list[Post]]) -> tuple[list[Post], pd.DataFrame]:
    """What everybody is answered once everything has been delivered, and what the state holds then."""
    now_ms = bundle.as_of_ms + 10 * HOUR_MS
    with tempfile.TemporaryDirectory() as folder:
        state = State.open(f"sqlite:///{Path(folder) / 'state.db'}")
        api = Api(Backend(state, bundle, clock=lambda: now_ms))

        async def talk() -> list[Post]:
            transport = httpx.ASGITransport(api)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                for delivery in deliveries:
                    posted = await client.post("/events", json={"events": delivery})
                    assert posted.status_code == 200, posted.text
                questions = [
                    {"user_id": bundle_user(bundle, user), "surface": place} for user in USERS for place in PLACES
                ]
                return [(await client.post("/recommend", json=question)).json() for question in questions]

        answers = asyncio.run(talk())
        kept = state.events_frame()
        state.close()
    return [{name: value for name, value in answer.items() if name != "request_id"} for answer in answers], kept


PLACES = ("home", "recently_viewed")


def bundle_user(bundle: Bundle, name: str) -> str:
    return str(bundle.users.ids[0]) if name == "known" else name


def as_posted(bundle: Bundle, number: int, event: Post) -> Post:
    """The event with an id, an instant and names that the shop knows."""
    now_ms = bundle.as_of_ms + 10 * HOUR_MS
    named = {"event_id": f"e{number}", "user_id": bundle_user(bundle, event["user_id"]), "ts": now_ms - event["ts"]}
    item = {"item_id": str(bundle.items.ids[event["item_id"]])} if "item_id" in event else {}
    return {**event, **named, **item}


@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.lists(DEEDS, min_size=1, max_size=7), st.lists(WORDS, max_size=3), st.data())
def test_whatever_the_order_and_however_often_the_answer_is_the_same(
    shop_bundle: Bundle, deeds: list[Post], words: list[Post], data: st.DataObject
) -> None:
    events = [as_posted(shop_bundle, number, event) for number, event in enumerate([*deeds, *words])]
    again = data.draw(st.lists(st.sampled_from(events), max_size=4))
    arrived = data.draw(st.permutations([*events, *again]))
    cut = data.draw(st.integers(0, len(arrived)))
    deliveries = [some for some in (arrived[:cut], arrived[cut:]) if some]

    answers, kept = final(shop_bundle, deliveries)
    in_order, expected = final(shop_bundle, [sorted(events, key=lambda event: (event["ts"], event["event_id"]))])
    assert answers == in_order
    pd.testing.assert_frame_equal(kept, expected)


def test_the_order_of_what_happened_does_matter(shop_bundle: Bundle) -> None:
    """So that the property above is not true of a service that reads no times."""
    first, last = deed("view", "new", 0, 60_000), deed("view", "new", 1, 1)
    swapped = [{**first, "ts": last["ts"]}, {**last, "ts": first["ts"]}]
    shown = []
    for events in ([first, last], swapped):
        answers, _ = final(shop_bundle, [[as_posted(shop_bundle, n, event) for n, event in enumerate(events)]])
        shown.append([item["item_id"] for item in answers[3]["items"]][:2])
    seen = [str(item) for item in shop_bundle.items.ids[:2]]
    assert shown == [seen[::-1], seen]


def test_a_late_event_mends_the_answers_after_it(shop_bundle: Bundle) -> None:
    view, purchase = deed("view", "new", 0, 3_000), deed("purchase", "new", 0, 2_000)
    events = [as_posted(shop_bundle, number, event) for number, event in enumerate([view, purchase])]
    without, _ = final(shop_bundle, [[events[0]]])
    late, _ = final(shop_bundle, [[events[1]], [events[0]]])
    on_time, _ = final(shop_bundle, [events])
    bought = events[0]["item_id"]
    assert late == on_time
    assert without[3]["items"][0]["item_id"] == bought
    assert on_time[3]["items"][0]["item_id"] != bought  # what was bought is not shown as recently viewed
