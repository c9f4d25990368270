"""What users do with a slate: the one engine that writes the log and answers "what if it had been another slate?"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.schema import DAY_MS
from features.shop.catalogue import Catalogue, Floats, Ints
from features.shop.config import ShopConfig
from features.shop.population import STAPLES, Population, draw_rows, leaf_chances, seasonal

Bools = NDArray[np.bool_]

#: Share of visits whose aim is to buy rather than to look around.
AIMS_TO_BUY = 0.7

# Logits of each step of the funnel: base, effect of wanting the item, effect of aiming to buy.
VIEW = (-1.1, 0.4, 0.0)
CART = (-4.2, 0.43, 1.2)
PURCHASE = (-2.7, 0.25, 1.6)

# Logits by which an item is wanted more when it is what the visit is about, or goes with that.
ON_TOPIC, NEAR_TOPIC = 1.5, 0.9

#: Popularity works on wanting too, besides on what the shop displays.
QUALITY = 0.5

#: The null shop's users want everything about as much as others want what they are shown on average.
NULL_WANTED = 3.6


@dataclass(frozen=True, slots=True)
class Intents:
    """What visits are for.

    Attributes:
        leaf: (n,) int64, the category as a position in ``LEAVES``; -1 for none in particular.
        buys: (n,) bool, to buy or to look around.
        staple: (n,) int64, which of the user's staples the visit is made for; -1 for none.
    """

    leaf: Ints
    buys: Bools
    staple: Ints

    def on(self, visits: Ints) -> Intents:
        """The intents of these visits, in that order."""
        return Intents(self.leaf[visits], self.buys[visits], self.staple[visits])


@dataclass(frozen=True, slots=True)
class Responses:
    """(n, k) bool each: what was done with each place of each slate. Purchased implies carted implies viewed."""

    viewed: Bools
    carted: Bools
    purchased: Bools


def attention(k: int) -> Floats:
    """(k,) float32: the chance that a user looks at each rank at all, falling with the rank."""
    return (1.0 / np.arange(1, k + 1, dtype=np.float32)) ** np.float32(0.35)


def chance(step: tuple[float, float, float], wanted: Floats, buys: Bools | float) -> Floats:
    """The chance of one step of the funnel, given how much an item is ``wanted`` (logits) and what the visit is for."""
    base, slope, aim = step
    logits = np.float32(slope) * wanted + (np.float32(base) + np.float32(aim) * np.asarray(buys, dtype=np.float32))
    return np.float32(1) / (np.float32(1) + np.exp(-logits))


class Behaviour:
    """How users react, without memory: the same question at the same instant has the same chances of each answer."""

    def __init__(self, config: ShopConfig, catalogue: Catalogue, population: Population) -> None:
        self.config, self.catalogue, self.population = config, catalogue, population

    def day(self, now_ms: Ints) -> Ints:
        """(n,) int64 the day of the log that each instant belongs to."""
        return np.clip((np.asarray(now_ms, dtype=np.int64) - self.config.start_ms) // DAY_MS, 0, self.config.days - 1)

    def intents(self, users: Ints, day: Ints, rng: np.random.Generator) -> Intents:
        """Draw what a visit of each user (n,) on a day (n,) is for: a staple, the present project, or a fresh wish."""
        n, config = len(users), self.config
        kind, pick, buys = rng.random(n), rng.random(n), rng.random(n) < AIMS_TO_BUY
        none = np.full(n, -1, dtype=np.int64)
        if config.null:
            return Intents(none, buys, none)
        fresh = draw_rows(leaf_chances(self.catalogue, self.population.taste[users], day), pick)
        restocks = kind < config.restock
        pursues = ~restocks & (kind < config.restock + (1 - config.restock) * config.project)
        staple = draw_rows(self.staple_weights(users, day), pick)
        leaf = np.where(pursues, self.population.project(users, day), fresh)
        leaf = np.where(restocks, self.catalogue.leaf[self.population.staples[users, staple]], leaf)
        return Intents(leaf, buys, np.where(restocks, staple, -1))

    def staple_weights(self, users: Ints, day: Ints) -> Floats:
        """(n, STAPLES) float32: how likely each staple is to be the reason of a restocking visit."""
        return np.where(self.population.run_out(users, day), np.float32(1.0), np.float32(0.2))

    def wanted(self, users: Ints, slates: Ints, day: Ints, leaf: Ints) -> Floats:
        """(n, k) float32 logits: how much each user wants each item of the slate on a visit about ``leaf`` (n,)."""
        items = np.maximum(slates, 0)
        wanted = np.float32(QUALITY) * self.catalogue.quality[items]
        if self.config.null:
            return wanted + np.float32(NULL_WANTED)
        item_leaf = self.catalogue.leaf[items]
        wanted += np.matmul(self.catalogue.traits[items], self.population.taste[users][:, :, None])[:, :, 0]
        wanted += np.take_along_axis(seasonal(self.catalogue, day), item_leaf, axis=1)
        wanted += self.relevance(item_leaf, leaf)
        short = np.float32(self.config.need) * self.population.run_out(users, day)
        for place in range(STAPLES):
            wanted += (slates == self.population.staples[users, place][:, None]) * short[:, place, None]
        return wanted

    def relevance(self, item_leaf: Ints, leaf: Ints) -> Floats:
        """(n, k) float32 logits: what an item's category gains from the intent."""
        topic = leaf[:, None]
        near = self.catalogue.links[np.maximum(topic, 0), item_leaf] > 0
        gain = np.where(item_leaf == topic, np.float32(ON_TOPIC), np.float32(NEAR_TOPIC) * near)
        return np.where(topic < 0, np.float32(0), gain)

    def respond(
        self, users: Ints, slates: Ints, now_ms: Ints, rng: np.random.Generator, intent: Intents | None = None
    ) -> Responses:
        """What each user does with a slate shown at an instant.

        Nothing is remembered, so the same visit may be asked again with another slate; with generators of equal state
        the same luck is used for each rank, which makes paired comparisons sharp.

        Args:
            users: (n,) dense indices.
            slates: (n, k) dense item indices in order of rank, -1 for an empty place.
            now_ms: (n,) int64 instants within the log's time.
            rng: The source of luck.
            intent: What each visit is for; drawn for each user if absent.
        """
        day = self.day(now_ms)
        if intent is None:
            intent = self.intents(users, day, rng)
        luck = rng.random((3, *slates.shape), dtype=np.float32)
        wanted = self.wanted(users, slates, day, intent.leaf)
        buys = intent.buys[:, None]
        seen = attention(slates.shape[1]) * chance(VIEW, wanted, buys)
        viewed = (slates >= 0) & (luck[0] < seen)
        carted = viewed & (luck[1] < chance(CART, wanted, buys))
        margin = np.where(carted, chance(PURCHASE, wanted, buys) - luck[2], np.float32(-1))
        return Responses(viewed, carted, self._one_of_substitutes(slates, margin))

    def _one_of_substitutes(self, slates: Ints, margin: Floats) -> Bools:
        """Items of one leaf replace each other: of those that would be bought, only the most wanted is."""
        purchased = margin > 0
        for row in np.flatnonzero(purchased.sum(axis=1) > 1):
            places = np.flatnonzero(purchased[row])
            best: dict[int, int] = {}
            for place in sorted(places, key=lambda place: -margin[row, place]):
                best.setdefault(int(self.catalogue.leaf[slates[row, place]]), int(place))
            purchased[row] = False
            purchased[row, list(best.values())] = True
        return purchased
