"""C1: with no behaviour at all, a user gets the ranking of the group that they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.schema import DAY_MS
from features.shop import Shop
from serving.policy import Request, Slate, decide
from training.blend import Blend
from training.bundle import Bundle, save_bundle
from training.train import build_models, train

K = 10
ONE, OTHER = {"country": "DE", "gender": "female"}, {"country": "GB", "gender": "male"}


@pytest.fixture(scope="module")
def bundle(shop_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    parts = ("bestsellers", "history", "cooccurrence", "live")
    specifications = {name: {"model": name} for name in parts} | {"all": {"model": "blend", "parts": parts}}
    as_of_ms = (shop_data.last_ms // DAY_MS - 20) * DAY_MS
    with Engine.duckdb(threads=1) as engine:
        trained = train(engine, shop_data, build_models(specifications), as_of_ms, 20 * DAY_MS)
    blend = trained.models["all"]
    assert isinstance(blend, Blend)
    folder: Path = tmp_path_factory.mktemp("c1") / "bundle"
    return save_bundle(folder, blend, trained.snapshot, arm="all", policy={})


def slate(bundle: Bundle, attributes: dict[str, str], user_id: str = "a stranger") -> Slate:
    return decide(Request(user_id, K, attributes=attributes, now_ms=bundle.as_of_ms + 1), [], bundle)


def items(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]


def group_rates(shop: Shop, bundle: Bundle, attributes: dict[str, str]) -> np.ndarray:
    """The planted purchase rate of each item of the catalogue, averaged over the group's users."""
    member = np.logical_and.reduce([shop.users[name] == value for name, value in attributes.items()])
    users = np.flatnonzero(member)
    assert len(users) > 20
    rates = shop.purchase_rate(users, bundle.as_of_ms, bundle.as_of_ms + 20 * DAY_MS).mean(axis=0)
    return rates[shop.items.set_index("item_id").index.get_indexer(bundle.items.ids)]


def test_groups_with_different_tastes_get_different_top_tens(bundle: Bundle) -> None:
    one, other = slate(bundle, ONE), slate(bundle, OTHER)
    assert len(set(items(one))) == len(set(items(other))) == K
    assert len(set(items(one)) - set(items(other))) >= 3
    assert {item.level for item in [*one.items, *other.items]} == {"L1"}
    assert one.items[0].reason == "bestseller in DE, female"


def test_each_group_would_buy_more_from_its_own_slate(bundle: Bundle, shop: Shop) -> None:
    for own, foreign in ((ONE, OTHER), (OTHER, ONE)):
        rates = group_rates(shop, bundle, own)
        value = {
            name: rates[bundle.items.encode(items(slate(bundle, attributes)))].sum()
            for name, attributes in (("own", own), ("foreign", foreign), ("nothing told", {}))
        }
        assert value["own"] > 1.2 * value["foreign"]
        assert value["own"] > value["nothing told"]


def test_who_tells_nothing_gets_what_everybody_buys(bundle: Bundle) -> None:
    nothing = slate(bundle, {})
    assert {item.level for item in nothing.items} == {"popular"}
    assert {item.reason for item in nothing.items} == {"popular now"}
    for told in ({"country": "missing"}, {"country": "XX"}, {"gender": "female"}):
        assert items(slate(bundle, told)) == items(nothing)
    partly = slate(bundle, {"country": "DE"})
    assert {item.reason for item in partly.items} == {"bestseller in DE"}


def test_it_is_level_one_that_does_it(bundle: Bundle) -> None:
    off = replace(bundle, policy={"off": ["L1"], "force": True})
    assert items(slate(off, ONE)) == items(slate(off, OTHER))
    assert {item.level for item in slate(off, ONE).items} == {"popular"}
