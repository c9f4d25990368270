"""What a simulated shop displays by itself: its logging policy knows popularity and categories, but no user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.shop.behaviour import Behaviour, Intents
from features.shop.catalogue import Catalogue, Ints
from features.shop.population import draw_rows, leaf_chances
from features.shop.tree import LEAVES

#: Places on a page.
PLACES = 8

#: The chance that a visit has at least two pages, and three.
SECOND_PAGE, THIRD_PAGE = 0.5, 0.15

#: Popularity's weight in what is displayed.
DISPLAY = 1.0


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages in order of visit and time.

    Attributes:
        visit: (n,) int64, the position of each page's visit.
        number: (n,) int64, 0 for the first page of the visit.
        leaf: (n,) int64, the category that the page is about.
        slates: (n, PLACES) int64 item indices; -1 where the item was already shown on this visit.
    """

    visit: Ints
    number: Ints
    leaf: Ints
    slates: Ints


def weights(catalogue: Catalogue, day: int) -> NDArray[np.float64]:
    """(n_items,) float64: how often each item is displayed within its category; zero before its launch."""
    return np.exp(DISPLAY * catalogue.quality.astype(np.float64)) * (catalogue.launch_day <= day)


class Shelf:
    """Draws items of one day by popularity, from one leaf or from all, in constant time per draw."""

    def __init__(self, catalogue: Catalogue, day: int) -> None:
        self._items = catalogue.shelf
        self._popular = np.concatenate([[0.0], np.cumsum(weights(catalogue, day)[self._items])])
        self._launched = np.flatnonzero(catalogue.launch_day <= day)
        self._edges = np.searchsorted(catalogue.leaf[self._items], np.arange(len(LEAVES) + 1))

    def popular(self, leaf: Ints, uniforms: NDArray[np.float64]) -> Ints:
        """(n, k) items by popularity within ``leaf`` (n,); in the whole shop where that is -1 or still empty."""
        low, high = self._popular[self._edges[leaf]], self._popular[self._edges[leaf + 1]]
        whole = (leaf < 0) | (low >= high)
        low, high = np.where(whole, 0.0, low), np.where(whole, self._popular[-1], high)
        spot = low[:, None] + uniforms * (high - low)[:, None]
        place = np.searchsorted(self._popular, spot, side="right") - 1
        items: Ints = self._items[np.clip(place, 0, len(self._items) - 1)]
        return items

    def any(self, uniforms: NDArray[np.float64]) -> Ints:
        """Items uniformly at random, of the shape of ``uniforms``."""
        items: Ints = self._launched[(uniforms * len(self._launched)).astype(np.int64)]
        return items


def lay_out(behaviour: Behaviour, users: Ints, day: int, intents: Intents, rng: np.random.Generator) -> Pages:
    """The pages of one day's visits: first the intent's category, then it or a complement, then what comes to mind."""
    config, catalogue, n = behaviour.config, behaviour.catalogue, len(users)
    length = rng.random(n)
    count = 1 + (length < SECOND_PAGE) + (length < THIRD_PAGE)
    leaves = np.stack([intents.leaf] * 3, axis=1)
    luck = rng.random((3, n))
    if not config.null:
        linked = draw_rows(catalogue.links[intents.leaf], luck[0])
        leaves[:, 1] = np.where(luck[1] < config.complement, linked, leaves[:, 1])
        taste = behaviour.population.taste[users]
        leaves[:, 2] = draw_rows(leaf_chances(catalogue, taste, np.full(n, day)), luck[2])
    visit = np.repeat(np.arange(n), count)
    number = np.arange(len(visit)) - np.repeat(np.cumsum(count) - count, count)
    leaf = leaves[visit, number]

    shelf = Shelf(catalogue, day)
    shape = (len(visit), PLACES)
    slates = shelf.popular(leaf, rng.random(shape))
    explores = rng.random(shape) < config.exploration
    slates[explores] = shelf.any(rng.random(int(explores.sum())))
    restocks = (number == 0) & (intents.staple[visit] >= 0)
    slates[restocks, 0] = behaviour.population.staples[users[visit[restocks]], intents.staple[visit[restocks]]]
    return Pages(visit, number, leaf, _without_repeats(slates, visit, number))


def _without_repeats(slates: Ints, visit: Ints, number: Ints) -> Ints:
    """Each item at most once per visit, where it comes first."""
    flat = slates.ravel()
    key = np.repeat(visit, PLACES) * (int(flat.max(initial=0)) + 1) + flat
    order = np.argsort(key, kind="stable")
    repeated = np.zeros(len(flat), dtype=bool)
    repeated[order[1:]] = key[order[1:]] == key[order[:-1]]
    return np.where(repeated.reshape(slates.shape), -1, slates)
