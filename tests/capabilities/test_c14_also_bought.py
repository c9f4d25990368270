"""C14: "customers also bought" on the product page and in the cart, with lift and support, never the anchor itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.engine import Engine
from serving.state import State
from tests.capabilities.served import Service
from training.bundle import Bundle

Baskets = list[set[str]]


def baskets(events: pd.DataFrame) -> Baskets:
    bought = events[events["event_type"] == "purchase"]
    return [set(items) for _, items in bought.groupby(["user_id", "order_id"])["item_id"]]


@pytest.fixture
def service(shop_bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(shop_bundle, state)
    state.close()


def test_the_numbers_shown_are_those_of_the_shops_orders(service: Service, shop_files: Path) -> None:
    """Counted in the simulated shop's own files: orders before the instant, of users who do not refuse."""
    events, users = (pd.read_parquet(shop_files / f"{name}.parquet") for name in ("events", "users"))
    grants = users[[("personalisation" in consents.split(",")) for consents in users["consents"]]]["user_id"]
    before = events[events["ts"] < service.bundle.as_of_ms]
    orders = baskets(before[before["user_id"].isin(grants)])
    assert len(orders) < len(baskets(before))
    alone = Counter(item for order in orders for item in order)
    shown = 0
    for anchor in sorted(alone):
        answer = service.related(anchor)
        assert answer["orders"] == len(orders)
        for item in answer["items"]:
            assert item["item_id"] != anchor
            [told] = item["evidence"]
            both = sum({anchor, item["item_id"]} <= order for order in orders)
            assert told["support"] == both >= 2
            assert told["confidence"] == pytest.approx(both / alone[anchor])
            lift = len(orders) * both / (alone[anchor] * alone[item["item_id"]])
            assert told["lift"] == pytest.approx(lift) and 1 < told["lift_low"] <= lift
            assert f"in {both} orders, {lift:.1f} times" in item["reason"]
            shown += 1
        scores = [item["score"] for item in answer["items"]]
        assert all(first >= second > 0 for first, second in pairwise(scores))
    assert shown >= 10


def test_a_cart_never_gets_back_what_is_in_it(service: Service) -> None:
    together = service.bundle.together
    assert together is not None
    with_partners = np.flatnonzero(np.diff(together.offsets))
    names = service.bundle.items.ids
    for anchor in with_partners:
        partner = int(together.partners_of(int(anchor)).items[0])
        answer = service.related(names[anchor], names[partner], surface="cart")
        assert not {item["item_id"] for item in answer["items"]} & {names[anchor], names[partner]}


def test_on_a_real_shop_it_finds_what_else_is_in_the_next_orders(
    retail_data: Dataset, retail_bundle: Bundle, tmp_path: Path
) -> None:
    """Of an order of the month after, ten partners of one item hit another item more often than ten bestsellers do."""
    from_ms = retail_bundle.as_of_ms
    with Engine.duckdb(threads=1) as engine:
        events = engine.to_pandas(retail_data.events(engine))
    known = events[events["item_id"].isin(set(retail_bundle.items.ids)) & (events["ts"] >= from_ms)]
    service = Service(retail_bundle, State.open(f"sqlite:///{tmp_path / 'state.db'}"))
    rng = np.random.default_rng(0)
    differences = []
    for order in [sorted(order) for order in baskets(known) if len(order) > 1][::4]:
        anchor = str(rng.choice(order))
        others = set(order) - {anchor}
        partners = {item["item_id"] for item in service.related(anchor)["items"]}
        popular = {item["item_id"] for item in service.recommend("nobody", exclude=[anchor])["items"]}
        differences.append(bool(partners & others) - bool(popular & others))
    service.state.close()
    mean, error = np.mean(differences), np.std(differences) / np.sqrt(len(differences))
    assert len(differences) > 400 and mean - 1.96 * error > 0
