"""The items of a simulated shop: what customers see of them, and the hidden traits that make them wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.schema import DAY_MS, Columns
from features.shop.config import ShopConfig
from features.shop.tree import CONSUMABLE, LEAVES, WORDS, complements

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Axes of taste; the last one is the price.
TASTE_AXES = 16

#: Items that are there on the first day were listed at any time in the days before.
OLDEST_DAYS = 400

_MAKERS = ("Alder", "Birch", "Cedar", "Dune", "Ember", "Fjord", "Grove", "Heath", "Isle", "Juniper", "Karst", "Lark")
_LINES = ("Works", "Home", "Lab", "Trade", "Goods", "Market", "Studio", "Supply")

_BRANDS_PER_LEAF = 6


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items by dense index; a row says nothing about popularity, age or category, for rows are in random order.

    Attributes:
        table: One row per item with the contract's columns.
        leaf: (n_items,) position in ``LEAVES``.
        quality: (n_items,) float32 logits, popularity that all users share.
        traits: (n_items, TASTE_AXES) float32, met by the users' tastes in a dot product.
        launch_day: (n_items,) int64, the first day of the log on which the item can be seen; 0 for those already there.
        shelf: (n_items,) item indices ordered by leaf.
        leaf_traits: (n_leaves, TASTE_AXES) float32.
        leaf_appeal: (n_leaves,) float32 logits, popularity of whole categories.
        season: (n_leaves, 2) float32, cosine and sine amplitude of the yearly swing.
        links: (n_leaves, n_leaves) float32, the chance of each complement of a leaf; a leaf without any has itself.
    """

    table: pd.DataFrame
    leaf: Ints
    quality: Floats
    traits: Floats
    launch_day: Ints
    shelf: Ints
    leaf_traits: Floats
    leaf_appeal: Floats
    season: Floats
    links: Floats

    @property
    def prices_cents(self) -> Ints:
        """(n_items,) int64."""
        return self.table[Columns.PRICE_CENTS].to_numpy()


def stock(config: ShopConfig, rng: np.random.Generator) -> Catalogue:
    """Fill the shelves of a shop; those of the null shop hold items that are alike in all but popularity."""
    n, n_leaves = config.n_items, len(LEAVES)
    leaf = rng.permutation(np.arange(n) % n_leaves)
    brands = np.array([f"{maker} {line}" for maker in _MAKERS for line in _LINES])
    brand_traits = rng.standard_normal((len(brands), TASTE_AXES)) * 0.5
    leaf_traits = _leaf_traits(rng)
    # Few brands per category, so that a liked brand is a hint that carries over to its other items.
    sold_in_leaf = rng.integers(0, len(brands), (n_leaves, _BRANDS_PER_LEAF))
    brand = sold_in_leaf[leaf, rng.integers(0, _BRANDS_PER_LEAF, n)]

    traits = leaf_traits[leaf] + brand_traits[brand] + 0.3 * rng.standard_normal((n, TASTE_AXES))
    dearness = 0.6 * brand_traits[brand, -1] + 0.35 * rng.standard_normal(n)
    traits[:, -1] = dearness / max(float(dearness.std()), 1e-9)
    base_price = np.exp(rng.uniform(np.log(300), np.log(12_000), n_leaves))
    prices = np.maximum(np.rint(base_price[leaf] * np.exp(dearness)), 50).astype(np.int64)

    new = rng.random(n) < config.new_items
    launch_day = np.where(new, rng.integers(0, config.days, n), 0)
    listed_day = np.where(new, launch_day, -rng.integers(1, OLDEST_DAYS, n))
    quality = rng.standard_normal(n) * config.popularity_skew
    season_peak = rng.uniform(0, 2 * np.pi, n_leaves)
    season_swing = rng.uniform(0, config.season, n_leaves)
    season = np.stack([season_swing * np.cos(season_peak), season_swing * np.sin(season_peak)], axis=1)
    leaf_appeal = rng.standard_normal(n_leaves) * 0.3
    blank = 0.0 if config.null else 1.0
    table = _table(leaf, brands[brand], prices, config.start_ms + listed_day * DAY_MS)
    return Catalogue(
        table=table,
        leaf=leaf,
        quality=quality.astype(np.float32),
        traits=(blank * traits).astype(np.float32),
        launch_day=launch_day,
        shelf=np.argsort(leaf, kind="stable"),
        leaf_traits=(blank * leaf_traits).astype(np.float32),
        leaf_appeal=(blank * leaf_appeal).astype(np.float32),
        season=(blank * season).astype(np.float32),
        links=_links(),
    )


def _leaf_traits(rng: np.random.Generator) -> NDArray[np.float64]:
    """Traits of unit length in expectation, alike for leaves that share a parent; no leaf leans on the price axis."""
    paths = [path.split("/") for path in LEAVES]
    traits = np.zeros((len(LEAVES), TASTE_AXES))
    for depth, share in ((1, 0.25), (2, 0.25), (3, 0.5)):
        branches = ["/".join(path[:depth]) for path in paths]
        branch_traits = {name: rng.standard_normal(TASTE_AXES) for name in dict.fromkeys(branches)}
        traits += np.sqrt(share) * np.stack([branch_traits[name] for name in branches])
    traits[:, -1] = 0.0
    return traits


def _links() -> Floats:
    links = np.zeros((len(LEAVES), len(LEAVES)), dtype=np.float32)
    for leaf, others in enumerate(complements()):
        links[leaf, list(others) or [leaf]] = 1.0
    chances: Floats = links / links.sum(axis=1, keepdims=True)
    return chances


def _table(leaf: Ints, brand: NDArray[np.str_], prices: Ints, valid_from: Ints) -> pd.DataFrame:
    n = len(leaf)
    word = np.array(WORDS)[leaf]
    return pd.DataFrame(
        {
            Columns.ITEM_ID: [f"i{row:06d}" for row in range(n)],
            Columns.VALID_FROM: valid_from,
            Columns.CATEGORY: np.array(LEAVES)[leaf],
            Columns.BRAND: brand,
            Columns.PRICE_CENTS: prices,
            Columns.AVAILABLE: np.ones(n, dtype=bool),
            Columns.TITLE: [f"{brand[row]} {word[row]} {row}" for row in range(n)],
        }
    )


def consumable_leaves() -> Ints:
    """Positions in ``LEAVES`` of the categories that are used up and bought again."""
    return np.flatnonzero(np.array(CONSUMABLE))
