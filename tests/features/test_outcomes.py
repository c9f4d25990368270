"""Who did something in a window, against a plain loop over random logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.outcomes import who_did
from features.schema import DAY_MS, EventType

START = 20_000 * DAY_MS
KINDS = [EventType.VIEW, EventType.PURCHASE, EventType.SEARCH]
MakeDataset = Callable[[dict[str, list[dict[str, Any]]]], Dataset]
ITEMS = [{"item_id": "i0", "valid_from": 0, "category": "c", "available": True}]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kinds", [[EventType.PURCHASE], KINDS])
def test_it_is_a_plain_loop(engine: Engine, make_dataset: MakeDataset, seed: int, kinds: list[EventType]) -> None:
    rng = np.random.default_rng(seed)
    events = []
    for number in range(300):
        kind = KINDS[rng.integers(3)]
        ts = START + int(rng.integers(-3, 6)) * DAY_MS // 2 + int(rng.choice([-1, 0, 0, 1]))
        item = None if kind is EventType.SEARCH else "i0"
        user = f"u{rng.integers(40)}"
        events.append({"event_id": f"e{number}", "user_id": user, "item_id": item, "event_type": kind.value, "ts": ts})
    end = START + DAY_MS
    # One visitor is merged before the window, another only within it; one user refuses to be read at all.
    for number, (visitor, user, ts) in enumerate([("u1", "u30", START - 5), ("u2", "u31", START + 5)]):
        told = {"user_id": user, "anonymous_id": visitor, "event_type": "identify", "ts": ts, "item_id": None}
        events.append({"event_id": f"m{number}", **told})
    users = [{"user_id": "u3", "valid_from": START - DAY_MS, "consents": "none"}]
    expected = set()
    for event in events:
        if event["event_type"] in {kind.value for kind in kinds} and START <= event["ts"] < end:
            expected.add({"u1": "u30"}.get(event["user_id"], event["user_id"]))
    expected -= {"u3"}
    if EventType.SEARCH in kinds:  # searches are read only with a word of consent, which nobody gave
        others = {kind.value for kind in kinds} - {"search"}
        acted = {event["user_id"] for event in events if event["event_type"] in others and START <= event["ts"] < end}
        expected &= {{"u1": "u30"}.get(user, user) for user in acted}
    dataset = make_dataset({"events": events, "items": ITEMS, "users": users})
    assert who_did(engine, dataset, kinds, START, end) == expected
    assert expected


@pytest.mark.parametrize(("category", "within"), [("home", {"i0", "i1"}), ("home/garden", {"i1"}), ("toys", {"i3"})])
def test_only_items_of_the_category_count(
    engine: Engine, make_dataset: MakeDataset, category: str, within: set[str]
) -> None:
    """By the path as it is when the window ends: i2 left for toys only later, ``homework`` is not below ``home``."""
    paths = {"i0": "home", "i1": "home/garden", "i2": "homework", "i3": "toys/cars", "i4": "shoes"}
    items = [{"item_id": name, "valid_from": 0, "category": path, "available": True} for name, path in paths.items()]
    items.append({"item_id": "i2", "valid_from": START + 2 * DAY_MS, "category": "toys", "available": True})
    rng = np.random.default_rng(0)
    events = [
        {"event_id": f"e{n}", "user_id": f"u{rng.integers(60)}", "item_id": f"i{rng.integers(5)}", "ts": START + n}
        for n in range(100)
    ]
    events = [{**event, "event_type": str(rng.choice(["view", "purchase"]))} for event in events]
    expected = {e["user_id"] for e in events if e["event_type"] == "purchase" and e["item_id"] in within}
    dataset = make_dataset({"events": events, "items": items})
    assert who_did(engine, dataset, [EventType.PURCHASE], START, START + DAY_MS, category) == expected
    assert expected


def test_a_category_of_no_item_is_refused(engine: Engine, make_dataset: MakeDataset) -> None:
    event = {"event_id": "e", "user_id": "u", "item_id": "i0", "event_type": "view", "ts": START}
    dataset = make_dataset({"events": [event], "items": ITEMS})
    with pytest.raises(ConfigError, match=r"category must be of some item, received 'd'; choose for example from c"):
        who_did(engine, dataset, [EventType.VIEW], START, START + 1, "d")


def test_a_window_that_is_not_over_says_nothing(engine: Engine, make_dataset: MakeDataset) -> None:
    event = {"event_id": "e", "user_id": "u", "item_id": "i0", "event_type": "view", "ts": START}
    dataset = make_dataset({"events": [event], "items": ITEMS})
    with pytest.raises(ConfigError, match="must end with the data"):
        who_did(engine, dataset, [EventType.VIEW], START, START + 2 * DAY_MS)
    with pytest.raises(ConfigError, match="must be above 0"):
        who_did(engine, dataset, [EventType.VIEW], START, START)
