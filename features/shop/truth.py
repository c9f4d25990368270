"""What the users of a simulated shop will buy in expectation: for tests and for valuing policies, never for models."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from features.shop.behaviour import (
    AIMS_TO_BUY,
    CART,
    NEAR_TOPIC,
    NULL_WANTED,
    ON_TOPIC,
    PURCHASE,
    QUALITY,
    VIEW,
    Behaviour,
    attention,
    chance,
)
from features.shop.catalogue import Floats, Ints
from features.shop.merchandising import PLACES, SECOND_PAGE, THIRD_PAGE, weights
from features.shop.population import STAPLES, leaf_chances, seasonal
from features.shop.traffic import expected_visits

#: (buys, share): what visits aim at.
AIMS = ((True, AIMS_TO_BUY), (False, 1 - AIMS_TO_BUY))

_CELLS = 1 << 22  # of a (users, items) matrix that is worked on at once


def purchase_rate(behaviour: Behaviour, per_visit: float, users: Ints, from_ms: int, to_ms: int) -> Floats:
    """(n, n_items) float32: how often each user is expected to buy each item in ``[from_ms, to_ms)``.

    Expected visits times expected displays times the chances of the funnel, summed over what a visit may be for. The
    season is that of the window's middle; purchases given up for a substitute are counted as if wishes were Poisson.
    """
    config = behaviour.config
    if not config.start_ms <= from_ms < to_ms <= config.end_ms:
        window = f"[{from_ms}, {to_ms})"
        raise InputError("window", "must lie within the log and not be empty", window, "keep to start_ms and end_ms")
    first, last = behaviour.day(np.array([from_ms, to_ms - 1]))
    span = np.arange(first, last + 1)
    rates = np.empty((len(users), len(behaviour.catalogue.leaf)), dtype=np.float32)
    for rows in _chunks(len(users), rates.shape[1]):
        rates[rows] = _Window(behaviour, users[rows], span).rates()
    visits = expected_visits(config, behaviour.population, users, span, config.events / per_visit)
    return rates * visits[:, None]


def _chunks(n: int, n_items: int) -> Iterator[slice]:
    size = max(_CELLS // n_items, 1)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _looks(share: NDArray[np.floating], already: int) -> Floats:
    """(n_items,) float32: how often an item is looked at on the page of a visit that shows it first.

    ``share`` (n_items,) is the chance that a place holds it, ``already`` the number of such places on earlier pages.
    """
    first_at = share[:, None] * (1 - share[:, None]) ** (already + np.arange(PLACES))
    looks: Floats = (first_at @ attention(PLACES)).astype(np.float32)
    return looks


def _kept(crowd: Floats) -> Floats:
    """The share of wished purchases that are made if a page raises ``crowd`` of them (Poisson) and only one is made."""
    some: Floats = np.maximum(crowd, 1e-6).astype(np.float32)
    kept = (-np.expm1(-some) / some).astype(np.float32)
    return kept


class _Window:
    """Purchases per visit of some users, averaged over the days of ``span``."""

    def __init__(self, behaviour: Behaviour, users: Ints, span: Ints) -> None:
        self.config, self.behaviour, self.users, self.span = behaviour.config, behaviour, users, span
        self.catalogue, self.population = behaviour.catalogue, behaviour.population
        middle = np.full(len(users), span[len(span) // 2])
        taste = self.population.taste[users]
        self.fresh = leaf_chances(self.catalogue, taste, middle)
        self.wanted = taste @ self.catalogue.traits.T + np.float32(QUALITY) * self.catalogue.quality
        self.wanted += seasonal(self.catalogue, middle)[:, self.catalogue.leaf]
        self.displayed = np.mean([weights(self.catalogue, int(day)) for day in span], axis=0)

    def rates(self) -> Floats:
        """(n, n_items) float32."""
        config, leaf = self.config, self.catalogue.leaf
        uniform = config.exploration / len(leaf)
        by_popularity = 1 - config.exploration
        if config.null:
            share = by_popularity * self.displayed / self.displayed.sum() + uniform
            looks = _looks(share, 0) + SECOND_PAGE * _looks(share, PLACES) + THIRD_PAGE * _looks(share, 2 * PLACES)
            bought: Floats = looks * self._funnel(self.wanted + np.float32(NULL_WANTED))
            return bought
        share = by_popularity * self.displayed / np.maximum(np.bincount(leaf, self.displayed), 1e-12)[leaf]
        first, second = _looks(share, 0), _looks(share, PLACES)
        topic, staples = self._topics()
        linked = SECOND_PAGE * config.complement
        on_topic, crowd = self._page(first, ON_TOPIC)
        rate = topic[:, leaf] * (on_topic + (SECOND_PAGE - linked) * self._page(second, ON_TOPIC)[0])
        rate += (linked * (topic @ self.catalogue.links))[:, leaf] * self._page(first, NEAR_TOPIC)[0]
        rate += (THIRD_PAGE * self.fresh)[:, leaf] * self._page(first, 0.0)[0]
        everywhere = (1 + SECOND_PAGE + THIRD_PAGE) * uniform * attention(PLACES).sum()
        rate += np.float32(everywhere) * self._funnel(self.wanted)
        return self._with_staples(rate, staples, crowd)

    def _topics(self) -> tuple[Floats, Floats]:
        """(n, n_leaves) and (n, STAPLES): the share of visits about each leaf, and of visits for each staple."""
        config, population = self.config, self.population
        staples = np.zeros((len(self.users), STAPLES), dtype=np.float32)
        projects = np.zeros_like(self.fresh)
        rows = np.arange(len(self.users))
        for day in self.span:
            likely = self.behaviour.staple_weights(self.users, np.full(len(rows), day))
            staples += likely / likely.sum(axis=1, keepdims=True)
            projects[rows, population.project(self.users, np.full(len(rows), day))] += 1
        staples *= config.restock / len(self.span)
        others = 1 - config.restock
        topic = others * (config.project * projects / len(self.span) + (1 - config.project) * self.fresh)
        for place in range(STAPLES):
            topic[rows, self.catalogue.leaf[population.staples[self.users, place]]] += staples[:, place]
        return topic.astype(np.float32), staples

    def _with_staples(self, rate: Floats, visits: Floats, crowd: Floats) -> Floats:
        """Add what is bought of staples at rank 1 of the visits made for them."""
        rows = np.arange(len(self.users))
        short = np.mean([self.population.run_out(self.users, np.full(len(rows), day)) for day in self.span], axis=0)
        for place in range(STAPLES):
            item = self.population.staples[self.users, place]
            plain = self.wanted[rows, item] + np.float32(ON_TOPIC)
            bought = (1 - short[:, place]) * self._funnel(plain)
            bought += short[:, place] * self._funnel(plain + np.float32(self.config.need))
            rate[rows, item] += visits[:, place] * bought * _kept(crowd[rows, self.catalogue.leaf[item]])
        return rate

    def _page(self, looks: Floats, relevance: float) -> tuple[Floats, Floats]:
        """What a page about an item's leaf sells of it (n, n_items), and the wishes it raises there (n, n_leaves)."""
        shelf = self.catalogue.shelf
        edges = np.searchsorted(self.catalogue.leaf[shelf], np.arange(self.fresh.shape[1]))
        wanted = self.wanted + np.float32(relevance)
        sold: Floats = np.zeros_like(wanted)
        crowd: Floats = np.zeros_like(self.fresh)
        for buys, share in AIMS:
            wished = looks * self._bought(wanted, buys)
            by_leaf = np.add.reduceat(wished[:, shelf], edges, axis=1)
            sold += np.float32(share) * wished * _kept(by_leaf)[:, self.catalogue.leaf]
            crowd += np.float32(share) * by_leaf
        return sold, crowd

    def _funnel(self, wanted: Floats) -> Floats:
        """The chance that an item that is looked at is bought, averaged over what the visit aims at."""
        bought = np.zeros_like(wanted)
        for buys, share in AIMS:
            bought += np.float32(share) * self._bought(wanted, buys)
        return bought

    @staticmethod
    def _bought(wanted: Floats, buys: bool) -> Floats:
        return chance(VIEW, wanted, buys) * chance(CART, wanted, buys) * chance(PURCHASE, wanted, buys)


__all__ = ["purchase_rate"]
