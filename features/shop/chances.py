"""The true chance that a user of a simulated shop buys anything in a window: for tests, never for models.

Visits, projects, staples and answers are functions of user and day: the future of a shop does not depend on its log.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.errors import ConfigError, InputError
from features.schema import DAY_MS
from features.shop.behaviour import CART, PURCHASE, VIEW, Behaviour, attention, chance
from features.shop.catalogue import Ints
from features.shop.merchandising import PLACES, lay_out
from features.shop.population import Population
from features.shop.traffic import shares
from features.shop.visits import spend_day

Doubles = NDArray[np.float64]

# Of the seed's independent streams, the truth takes these, and the day.
_TRUTH_STREAM, _PILOT_STREAM = 3, 4

# Of the pilot, over all days of the window.
_PILOT_VISITS = 20_000

_VISITS_AT_ONCE = 50_000


def purchase_chance(behaviour: Behaviour, users: Ints, from_ms: int, to_ms: int, draws: int = 8) -> Doubles:
    """(n,) float64: the chance that each user buys at least once on the days of ``[from_ms, to_ms)``.

    ``1 - prod_d (1 - v_d b_d)`` with the chance ``v_d`` of a visit on day d (``visit_chance``) and the chance ``b_d``
    that such a visit buys, a mean over ``draws`` visits. Of a drawn visit the purpose and the pages are random, and the
    chance that something on them is bought is exact: ``1 - prod (1 - seen cart purchase)`` over all places shown; that
    of several substitutes only one is bought changes nothing. The product is linear in each ``b_d`` and these are drawn
    independently, so the estimate has no bias; with 8 draws its standard error is about .016 per user over 30 days of
    an ordinary shop, and independent between users. What is common to all is an error of about 1 % in the number of
    visits, which ``expected_visits_by_day`` takes from a pilot.

    Args:
        users: (n,) dense indices.
        from_ms, to_ms: Midnights within the log.
        draws: Visits per user and day, at least 1.

    Raises:
        InputError: The window is not made of days of the log.
        ConfigError: No draws.
    """
    config = behaviour.config
    days, rest = divmod(np.array([from_ms, to_ms]) - config.start_ms, DAY_MS)
    if rest.any() or not 0 <= days[0] < days[1] <= config.days:
        raise InputError(
            "window", "must be whole days of the log", f"[{from_ms}, {to_ms})", "begin and end at midnight"
        )
    if draws < 1:
        raise ConfigError("draws", "must be at least 1", draws)
    span = np.arange(*days)
    nothing = np.ones(len(users))
    for day, visits in zip(span.tolist(), expected_visits_by_day(behaviour, span), strict=True):
        comes = visit_chance(behaviour.population, day, visits)[users]
        nothing *= 1 - comes * _visit_buys(behaviour, users, day, draws)
    return 1 - nothing


def expected_visits_by_day(behaviour: Behaviour, span: Ints) -> list[float]:
    """How many visits the log has on each day of ``span``: the day's rows over the rows of a visit in these days.

    The log counts its rows and catches up with what was planned, so its visits follow from how long visits really are
    (a pilot of these days), not from how long they were expected to be. Refunds, 1 row in 1,000, are left out.
    """
    config, population = behaviour.config, behaviour.population
    made, visits = 0, 0
    for day in span.tolist():
        rng = np.random.default_rng([config.seed, _PILOT_STREAM, day])
        asked = min(-(-_PILOT_VISITS // len(span)), int((population.joined_day <= day).sum()))
        # Visits without any row are visits as well.
        made, visits = made + len(spend_day(behaviour, day, asked, 0, rng)), visits + asked
    planned = config.events * shares(config, population)[span]
    return [float(rows) for rows in planned * visits / made]


def visit_chance(population: Population, day: int, visits: float) -> Doubles:
    """(n_users,) float64: the chance that each user is among the ``visits`` visitors of a day; 0 before they join.

    Visitors are drawn one by one in proportion to activity ``a`` without replacement (``attendance``): the first of
    independent exponential times with rates ``a``. By the time ``t`` at which as many have come as are expected,
    ``1 - exp(-a t)`` of them have come (Rosén 1972, Asymptotic theory for successive sampling); t is found by Newton.
    """
    members = population.joined_day <= day
    activity = np.where(members, population.activity.astype(np.float64), 0.0)
    n = int(members.sum())
    if n == 0 or visits >= n:
        return members.astype(np.float64)
    time = visits / activity.sum()
    for _ in range(100):
        stays = np.exp(-activity * time)
        # The number of visitors is concave in time: from below, Newton never goes too far.
        step = (visits - (n - stays[members].sum())) / (activity * stays).sum()
        time += step
        if abs(step) < 1e-12 * time:
            break
    return 1 - np.exp(-activity * time)


def _visit_buys(behaviour: Behaviour, users: Ints, day: int, draws: int) -> Doubles:
    """(n,) float64: the mean over ``draws`` visits of each user on that day of the chance that something is bought."""
    rng = np.random.default_rng([behaviour.config.seed, _TRUTH_STREAM, day])
    bought = np.empty(len(users))
    size = max(_VISITS_AT_ONCE // draws, 1)
    for start in range(0, len(users), size):
        rows = slice(start, min(start + size, len(users)))
        visitors = np.repeat(users[rows], draws)
        bought[rows] = _buys_something(behaviour, visitors, day, rng).reshape(-1, draws).mean(axis=1)
    return bought


def _buys_something(behaviour: Behaviour, visitors: Ints, day: int, rng: np.random.Generator) -> Doubles:
    """(n,) float64: the chance that something is bought on a drawn visit of each visitor."""
    intents = behaviour.intents(visitors, np.full(len(visitors), day), rng)
    pages = lay_out(behaviour, visitors, day, intents, rng)
    shown, about = visitors[pages.visit], intents.on(pages.visit)
    wanted = behaviour.wanted(shown, pages.slates, np.full(len(shown), day), about.leaf)
    buys = about.buys[:, None]
    bought = (
        attention(PLACES) * chance(VIEW, wanted, buys) * chance(CART, wanted, buys) * chance(PURCHASE, wanted, buys)
    )
    missed = np.where(pages.slates >= 0, np.log1p(-bought.astype(np.float64)), 0.0).sum(axis=1)
    return -np.expm1(np.bincount(pages.visit, missed, len(visitors)))


__all__ = ["expected_visits_by_day", "purchase_chance", "visit_chance"]
