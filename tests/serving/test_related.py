"""POST /related: what is bought together, from orders that are known one by one; every number by hand or by loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from math import prod
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.added import UNKNOWN
from features.engine import Engine
from features.remember import remember
from features.schema import DAY_MS
from features.snapshot import build_snapshot
from serving.state import State
from tests.capabilities.served import NOW, Service
from tests.features.by_hand import Rows, write
from training.blend import Blend
from training.bundle import Bundle, save_bundle
from training.recommender import TrainingSet
from training.train import build_models

CATEGORIES = {
    "jacket": "fashion/outerwear/jackets",
    "parka": "fashion/outerwear/jackets",
    "hat": "fashion/outerwear/hats",
    "gloves": "fashion/outerwear/gloves",
    "scarf": "fashion/outerwear/scarves",
    "gone": "fashion/outerwear/hats",
    "odd": UNKNOWN,
    "lamp": "home/living/lamps",
    "unsold": "home/living/lamps",
}
#: How often each order was made, by as many users.
ORDERS = {
    ("jacket", "parka"): 8,
    ("jacket", "hat", "gloves"): 5,
    ("jacket", "hat", "gone"): 4,
    ("jacket", "odd"): 6,
    ("scarf", "gloves"): 4,
    ("lamp",): 60,
}
N = sum(ORDERS.values())


def orders() -> list[tuple[str, ...]]:
    return [order for order, times in ORDERS.items() for _ in range(times)]


def events() -> Rows:
    return [
        {
            "event_id": f"{number} {item}",
            "event_type": "purchase",
            "user_id": f"u{number % 30}",
            "item_id": item,
            "ts": NOW - 1 - number * 3_600_000,
            "order_id": f"o{number}",
        }
        for number, order in enumerate(orders())
        for item in order
    ]


def bundle_of(folder: Path, events: Rows, policy: dict[str, Any] | None = None, *, plain: bool = False) -> Bundle:
    folder.mkdir(exist_ok=True)
    items = [
        {"item_id": item, "valid_from": 1, "category": category, "available": item != "gone"}
        for item, category in CATEGORIES.items()
    ]
    with Engine.duckdb(threads=1) as engine:
        data = write(folder / "data", [{"events": events, "items": items}])
        snapshot = build_snapshot(engine, data, NOW)
        served = snapshot if plain else remember(engine, data, snapshot)
    model = build_models({"popular": {"model": "bestsellers", "by": []}})["popular"].fit(TrainingSet(served))
    blend = Blend.of_one("popular", model, served)
    return save_bundle(folder / "bundle", blend, served, arm="told", policy=policy or {})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(tmp_path_factory.mktemp("shop"), events())


@pytest.fixture
def service(bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(bundle, state)
    state.close()


def asked(service: Service, *anchors: str, **more: Any) -> dict[str, Any]:
    answer = service.send("POST", "/related", json={"anchors": list(anchors), **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def strength(anchor: str, item: str) -> float:
    a, b = (sum(one in order for order in orders()) for one in (anchor, item))
    both = sum(anchor in order and item in order for order in orders())
    return (both - a * b / N) / (a + 5)


def ranked(anchors: Sequence[str], items: Sequence[str]) -> list[str]:
    """By the chance that one of the anchors brings it about; ids are dense in alphabetical order."""
    scores = {item: 1 - prod(1 - strength(anchor, item) for anchor in anchors) for item in items}
    return sorted(items, key=lambda item: (-scores[item], item))


def test_partners_come_with_their_numbers_and_never_the_anchor(service: Service) -> None:
    answer = asked(service, "jacket")
    assert ids(answer) == ranked(["jacket"], ["hat", "parka", "odd", "gloves"])[: len(ids(answer))]
    assert (answer["orders"], answer["anchors"], answer["unknown_anchors"]) == (N, ["jacket"], [])
    hat = next(item for item in answer["items"] if item["item_id"] == "hat")
    [told] = hat["evidence"]
    assert (told["anchor"], told["support"]) == ("jacket", 9)
    assert told["confidence"] == pytest.approx(9 / 23) and told["lift"] == pytest.approx(N * 9 / (23 * 9))
    assert 1 < told["lift_low"] < told["lift"]
    assert hat["score"] == pytest.approx(strength("jacket", "hat"))
    assert hat["reason"] == f"bought with jacket in 9 orders, {N / 23:.1f} times as often as by chance"
    assert (hat["level"], hat["category"]) == ("L2", "fashion/outerwear/hats")
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4]
    assert answer["notes"] == ["left out 1 not available or excluded"]


def test_complements_are_no_substitutes(service: Service) -> None:
    answer = asked(service, "jacket", kind="complements")
    assert ids(answer) == ["hat", "gloves"]
    assert answer["notes"] == [
        "left out 1 not available or excluded",
        "left out 1 without a category, or bought with an item without one",
        "left out 1 of an anchor's own category",
    ]
    with_odd = asked(service, "jacket", kind="complements", uncategorised=True)
    assert set(ids(with_odd)) == {"hat", "gloves", "odd"}
    assert next(item["category"] for item in with_odd["items"] if item["item_id"] == "odd") is None
    assert ids(asked(service, "odd", kind="complements")) == []
    assert ids(asked(service, "odd", kind="complements", uncategorised=True)) == ["jacket"]


def test_a_cart_adds_up_and_nothing_that_is_in_it_comes_back(service: Service) -> None:
    for cart in permutations(["jacket", "scarf", "hat"]):
        answer = asked(service, *cart, surface="cart")
        assert ids(answer)[0] == "gloves" and not set(ids(answer)) & set(cart)
        first = answer["items"][0]
        assert {told["anchor"] for told in first["evidence"]} == {"jacket", "scarf", "hat"}
        by_strength = sorted(cart, key=lambda anchor: -strength(anchor, "gloves"))
        assert [told["anchor"] for told in first["evidence"]] == by_strength
        assert first["score"] == pytest.approx(1 - prod(1 - strength(anchor, "gloves") for anchor in cart))
        assert first["reason"].startswith(f"bought with {by_strength[0]} in ")
    assert ids(asked(service, "jacket", "scarf", "hat")) == ids(asked(service, "hat", "hat", "scarf", "jacket"))


def test_what_may_not_be_shown_is_not(service: Service) -> None:
    assert "gone" not in ids(asked(service, "hat", k=500))
    assert ids(asked(service, "jacket", exclude=["hat", "nonsense"], k=1)) == ids(asked(service, "jacket"))[1:2]
    assert len(ids(asked(service, "jacket", k=2))) == 2


def test_unknown_anchors_are_reported(service: Service) -> None:
    answer = asked(service, "new", "hat", "newer")
    assert answer["unknown_anchors"] == ["new", "newer"] and answer["anchors"] == ["hat"]
    assert ids(answer) == ids(asked(service, "hat"))
    refused = service.send("POST", "/related", json={"anchors": ["new", "newer"]})
    assert refused.status_code == 404
    assert refused.json()["error"]["field"] == "anchors.0" and refused.json()["error"]["received"] == "new"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "anchors"),
        ({"anchors": []}, "anchors"),
        ({"anchors": "hat"}, "anchors"),
        ({"anchors": ["hat", 7]}, "anchors.1"),
        ({"anchors": ["hat"], "kind": "similar"}, "kind"),
        ({"anchors": ["hat"], "k": 0}, "k"),
        ({"anchors": ["hat"], "n": 3}, "n"),
        ({"anchors": ["hat"], "user_id": ""}, "user_id"),
    ],
)
def test_a_bad_field_is_named(service: Service, body: dict[str, Any], field: str) -> None:
    refused = service.send("POST", "/related", json=body)
    assert refused.status_code == 422 and refused.json()["error"]["field"] == field


def test_an_empty_list_says_why(service: Service, tmp_path: Path) -> None:
    assert (asked(service, "lamp")["items"], asked(service, "lamp")["notes"]) == (
        [],
        ["bought with nothing more often than by chance: lamp (60 orders)"],
    )
    assert asked(service, "unsold")["notes"] == ["in no order: unsold"]
    views = [{**event, "event_type": "view", "order_id": None} for event in events()]
    empty = Service(bundle_of(tmp_path / "views", views), service.state)
    for kind in ("bought_together", "complements"):
        answer = asked(empty, "jacket", kind=kind)
        assert (answer["items"], answer["orders"]) == ([], 0)
        assert answer["notes"] == ["the snapshot knows of no order"]


def test_a_policy_without_l2_shows_nothing(service: Service, bundle: Bundle) -> None:
    off = Service(replace(bundle, policy={"off": ["L2"]}), service.state)
    answer = asked(off, "jacket", user_id="ann")
    assert (answer["items"], answer["notes"]) == ([], ["the policy has turned L2 off"])
    assert off.state.impressions_frame().empty


def test_what_is_shown_to_somebody_is_recorded(service: Service) -> None:
    asked(service, "jacket")
    assert service.state.impressions_frame().empty
    answer = asked(service, "jacket", user_id="ann", surface="cart")
    shown = service.state.impressions_frame()
    assert shown["item_id"].tolist() == ids(answer) and set(shown["request_id"]) == {answer["request_id"]}
    assert set(shown["user_id"]) == {"ann"} and set(shown["surface"]) == {"cart"} and set(shown["level"]) == {2}
    assert shown["score"].tolist() == [item["score"] for item in answer["items"]]


def test_an_old_snapshot_is_called_stale(bundle: Bundle, service: Service) -> None:
    assert asked(service, "jacket")["snapshot"] == {"freshness": "fresh", "age_ms": 3_600_000}
    late = Service(bundle, service.state, after_ms=3 * DAY_MS)
    assert asked(late, "jacket")["snapshot"] == {"freshness": "stale", "age_ms": 3 * DAY_MS}


def test_a_bundle_without_the_table_says_how_to_get_one(service: Service, tmp_path: Path) -> None:
    plain = bundle_of(tmp_path / "plain", events(), plain=True)
    assert plain.together is None
    refused: httpx.Response = Service(plain, service.state).send("POST", "/related", json={"anchors": ["jacket"]})
    assert refused.status_code == 503 and refused.json()["error"]["field"] == "bundle"


def test_a_bundle_keeps_the_table(bundle: Bundle, tmp_path: Path) -> None:
    again = bundle_of(tmp_path / "again", events())
    fewer = bundle_of(tmp_path / "fewer", events()[1:])
    assert again.digest == bundle.digest != fewer.digest
    assert bundle.together is not None and bundle.together.n_orders == N
