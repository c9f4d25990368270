"""One day of a simulated shop: who comes, what is shown, what is done, and the rows that this leaves in the log."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from features.schema import DAY_MS, EventType
from features.shop.behaviour import Behaviour, Responses
from features.shop.catalogue import Ints, consumable_leaves
from features.shop.merchandising import PLACES, Pages, lay_out
from features.shop.traffic import attendance

#: Visits start between these hours, and last at most two and a half: no visit reaches midnight or the hour of refunds.
OPENS_H, CLOSES_H, REFUNDS_H = 6.0, 20.5, 2.0

#: Seconds between two events of one visit: least and most.
QUICKEST_S, SLOWEST_S = 4.0, 120.0

# Shares: of pages that begin with a search, of items left in the cart that are taken out again, of visits leaving a
# full cart that show an exit intent, of consumables bought in twos.
_SEARCHES, _REMOVES, _EXITS, _TAKES_TWO = 0.2, 0.25, 0.06, 0.25

# Of the seed's independent streams, the pilot takes this one.
_PILOT_STREAM, _PILOT_VISITS = 2, 3_000

# Order of the rows of one visit: by page and rank, then what happens at the checkout.
_PER_PAGE = 1_000
_CHECKOUT = 10 * _PER_PAGE


@dataclass(frozen=True, slots=True)
class Rows:
    """Log rows as numbers, all arrays of equal length; -1 stands for "none" everywhere."""

    user: Ints
    item: Ints
    event_type: NDArray[np.int8]
    ts: Ints
    visit: Ints
    order: Ints
    quantity: Ints
    price_cents: Ints
    #: The leaf whose word was searched for.
    query: Ints

    def __len__(self) -> int:
        return len(self.user)

    def take(self, positions: Ints) -> Rows:
        """The rows at these positions, in that order."""
        return Rows(*(getattr(self, column.name)[positions] for column in fields(self)))

    @staticmethod
    def concatenate(parts: list[Rows]) -> Rows:
        """All rows of all parts, of which there is at least one."""
        return Rows(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(Rows)))


def spend_day(behaviour: Behaviour, day: int, visits: int, first_visit: int, rng: np.random.Generator) -> Rows:
    """The rows of ``visits`` visits on that day, numbered from ``first_visit``; by visit, inside each by time."""
    users = attendance(behaviour.population, day, visits, rng)
    intents = behaviour.intents(users, np.full(len(users), day), rng)
    pages = lay_out(behaviour, users, day, intents, rng)
    midnight_ms = behaviour.config.start_ms + day * DAY_MS
    visitors = users[pages.visit]
    did = behaviour.respond(visitors, pages.slates, np.full(len(visitors), midnight_ms), rng, intents.on(pages.visit))
    visit, step, event_type, place = _steps(pages, did, len(users), rng)
    order = np.argsort(visit * (2 * _CHECKOUT) + step, kind="stable")
    visit, event_type, place = visit[order], event_type[order], place[order]

    item = np.where(place >= 0, pages.slates.ravel()[place], -1)
    query = np.where(event_type == EventType.SEARCH.code, pages.leaf[np.maximum(-place - 2, 0)], -1)
    dealt = (item >= 0) & (event_type != EventType.VIEW.code)
    pieces = 1 + _in_twos(behaviour, pages.slates, rng).ravel().astype(np.int64)
    bought = event_type == EventType.PURCHASE.code
    return Rows(
        user=users[visit],
        item=item,
        event_type=event_type,
        ts=midnight_ms + _clock(visit, len(users), rng),
        visit=first_visit + visit,
        order=np.where(bought, first_visit + visit, -1),
        quantity=np.where(dealt, pieces[place], -1),
        price_cents=np.where(dealt, behaviour.catalogue.prices_cents[item], -1),
        query=query,
    )


def events_per_visit(behaviour: Behaviour) -> float:
    """The mean number of rows of one visit, from a pilot on the middle day; larger where there is more choice."""
    config, day = behaviour.config, behaviour.config.days // 2
    rng = np.random.default_rng([config.seed, _PILOT_STREAM])
    rows = spend_day(behaviour, day, _PILOT_VISITS, 0, rng)
    return len(rows) / min(_PILOT_VISITS, int((behaviour.population.joined_day <= day).sum()))


def _steps(
    pages: Pages, did: Responses, n_visits: int, rng: np.random.Generator
) -> tuple[Ints, Ints, NDArray[np.int8], Ints]:
    """Every step of every visit: (visit, order within the visit, event type, place).

    A place is a position in the flattened slates; a search on page p has place -2 - p, an exit intent -1.
    """
    shape = pages.slates.shape
    visit = np.repeat(pages.visit, PLACES)
    on_page = np.repeat(pages.number * _PER_PAGE, PLACES) + np.tile(10 * np.arange(PLACES) + 10, shape[0])
    left = did.carted & ~did.purchased
    removed = left & (rng.random(shape) < _REMOVES)
    searched = np.flatnonzero((pages.leaf >= 0) & (rng.random(shape[0]) < _SEARCHES))
    leaves_cart = np.bincount(pages.visit, (left & ~removed).any(axis=1), n_visits) > 0
    exits = np.flatnonzero(leaves_cart & (rng.random(n_visits) < _EXITS))

    parts = [
        (pages.visit[searched], pages.number[searched] * _PER_PAGE, EventType.SEARCH, -2 - searched),
        (exits, np.full(len(exits), _CHECKOUT + 200), EventType.EXIT_INTENT, np.full(len(exits), -1)),
    ]
    for done, event_type, offset in (
        (did.viewed, EventType.VIEW, 0),
        (did.carted, EventType.ADD_TO_CART, 1),
        (removed, EventType.REMOVE_FROM_CART, _CHECKOUT),
        (did.purchased, EventType.PURCHASE, _CHECKOUT + 100),
    ):
        place = np.flatnonzero(done)
        step = np.full(len(place), offset) if offset >= _CHECKOUT else on_page[place] + offset
        parts.append((visit[place], step, event_type, place))
    codes = [np.full(len(part[0]), part[2].code, dtype=np.int8) for part in parts]
    visits, steps, places = (np.concatenate([part[column] for part in parts]) for column in (0, 1, 3))
    return visits, steps, np.concatenate(codes), places


def _in_twos(behaviour: Behaviour, slates: Ints, rng: np.random.Generator) -> NDArray[np.bool_]:
    used_up = np.isin(np.arange(len(behaviour.catalogue.leaf_appeal)), consumable_leaves())
    return used_up[behaviour.catalogue.leaf[slates]] & (rng.random(slates.shape) < _TAKES_TWO)


def _clock(visit: Ints, n_visits: int, rng: np.random.Generator) -> Ints:
    """(m,) int64 milliseconds after midnight, strictly increasing within each visit; ``visit`` (m,) is sorted."""
    busy = rng.beta(2.2, 1.8, n_visits)
    start_s = 3600 * (OPENS_H + (CLOSES_H - OPENS_H) * busy)
    gaps_s = QUICKEST_S + (SLOWEST_S - QUICKEST_S) * (1 - np.cbrt(rng.random(len(visit))))
    elapsed = np.cumsum(gaps_s)
    first = np.searchsorted(visit, np.arange(n_visits))
    before = np.concatenate([[0.0], elapsed])[first]
    clock: Ints = np.rint(1_000 * ((start_s - before)[visit] + elapsed)).astype(np.int64)
    return clock
