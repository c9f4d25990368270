"""C15: complements of an item or a cart leave out substitutes, items of the same leaf category, by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from features.dataset import Dataset
from features.ingest import ingest
from features.shop import Shop, ShopConfig
from features.shop.tree import LEAVES, complements
from serving.state import State
from tests.capabilities.served import Service, bundle_as_of
from training.bundle import Bundle

#: Leaf category to those that the simulated shop plants as going with it: jackets go with hats and gloves.
PLANTED = {LEAVES[leaf]: {LEAVES[other] for other in others} for leaf, others in enumerate(complements())}

#: Few items, so that pairs are bought again and again, and second pages that complement the first.
CONFIG = ShopConfig(seed=7, events=100_000, items=300, days=90, complement=1.0, restock=0.0, exploration=0.0)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "files").mkdir()
    Shop(CONFIG).write(folder / "files")
    ingest(folder / "files", "tables", folder / "data")
    data = Dataset.open(folder / "data")
    bundle = bundle_as_of(data, data.last_ms + 1, folder / "bundle")
    state = State.open(f"sqlite:///{folder / 'state.db'}")
    yield Service(bundle, state)
    state.close()


@pytest.fixture
def retail(retail_bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(retail_bundle, state)
    state.close()


def test_planted_complements_are_found(planted: Service) -> None:
    """What stands first goes with the anchor by the shop's own plan, in nine of ten lists at least."""
    first, by_chance = [], []
    categories = planted.bundle.categories
    for anchor, category in zip(planted.bundle.items.ids, categories, strict=True):
        if found := planted.related(anchor, kind="complements")["items"]:
            first.append(found[0]["category"] in PLANTED[category])
            by_chance.append(np.mean([other in PLANTED[category] for other in categories if other != category]))
    assert len(first) > 30
    assert np.mean(first) > 0.9 and np.mean(by_chance) < 0.1


def test_substitutes_are_left_out_and_only_they(retail: Service) -> None:
    """Of a real shop, where lunch bags are bought with lunch bags."""
    names, categories = retail.bundle.items.ids, retail.bundle.categories
    substitutes = 0
    for anchor, category in zip(names[::50], categories[::50], strict=True):
        everything = retail.related(anchor, kind="bought_together", k=200)["items"]
        expected = [item["item_id"] for item in everything if item["category"] != category]
        assert [item["item_id"] for item in retail.related(anchor, kind="complements", k=200)["items"]] == expected
        substitutes += len(everything) - len(expected)
    assert substitutes > 100


def test_what_substitutes_any_item_of_a_cart_is_left_out(retail: Service) -> None:
    """The complement of one item may be the substitute of another."""
    names, categories = retail.bundle.items.ids, retail.bundle.categories
    conflicts = 0
    for anchor in names[::50]:
        for item in retail.related(anchor, kind="complements", k=3)["items"]:
            same = next(name for name in names[categories == item["category"]] if name != item["item_id"])
            cart = retail.related(anchor, same, kind="complements", surface="cart", k=200)["items"]
            assert item["category"] not in {each["category"] for each in cart}
            conflicts += 1
    assert conflicts > 50
