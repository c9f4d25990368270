"""C4: an event changes the next decision without retraining; the same events in order give the same decision."""

from __future__ import annotations

import numpy as np

from features.schema import EventType
from serving.policy import Request, Slate, decide
from serving.state import LiveEvent
from training.bundle import Bundle


def seen(bundle: Bundle, items: list[str]) -> list[LiveEvent]:
    start = bundle.as_of_ms + 1_000
    return [
        LiveEvent(f"e{n}", "ann", EventType.VIEW, start + n, start + n, item_id=item) for n, item in enumerate(items)
    ]


def answer(bundle: Bundle, events: list[LiveEvent], without: frozenset[str] = frozenset()) -> Slate:
    return decide(Request("ann", 10, now_ms=bundle.as_of_ms + 60_000), events, bundle, without)


def test_each_event_changes_the_next_decision(shop_bundle: Bundle) -> None:
    towards = shop_bundle.blend.parts["live"]._towards  # type: ignore[attr-defined]
    items = [str(item) for item in shop_bundle.items.ids[np.argsort(-np.diff(towards.indptr), kind="stable")[:3]]]
    digest = shop_bundle.digest
    slates = [answer(shop_bundle, seen(shop_bundle, items[:n])) for n in range(4)]
    lists = [tuple(item.item_id for item in slate.items) for slate in slates]
    assert len(set(lists)) == 4
    assert not any(item.level == "L4" for item in slates[0].items)
    assert all(any(item.level == "L4" for item in slate.items) for slate in slates[1:])
    assert [answer(shop_bundle, seen(shop_bundle, items[:n])) for n in range(4)] == slates
    backwards = answer(shop_bundle, seen(shop_bundle, items[::-1]))
    assert [i.score for i in backwards.items] != [i.score for i in slates[3].items]  # the latest counts most
    assert shop_bundle.digest == digest


def test_without_l4_a_new_users_events_change_nothing(shop_bundle: Bundle) -> None:
    items = [str(item) for item in shop_bundle.items.ids[:3]]
    gone = frozenset({"L4"})
    before, after = (answer(shop_bundle, seen(shop_bundle, items[:n]), gone) for n in (0, 3))
    assert [item.item_id for item in after.items] == [item.item_id for item in before.items]
