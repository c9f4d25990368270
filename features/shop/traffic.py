"""How many visits a simulated shop has on each day, and who makes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.schema import DAY_MS
from features.shop.catalogue import Floats, Ints
from features.shop.config import ShopConfig
from features.shop.population import Population

#: Traffic by day of the week, from Monday.
_WEEK = np.array([1.0, 0.9, 0.9, 0.95, 1.05, 1.2, 1.15])

_MONDAY = 4  # days from the epoch, a Thursday, to the first Monday


def shares(config: ShopConfig, population: Population) -> NDArray[np.float64]:
    """(days,) float64, summing to 1: each day's share of all visits, as members and their habit grow, by weekday."""
    days = np.arange(config.days)
    weekday = (config.start_ms // DAY_MS - _MONDAY + days) % 7
    visits = _members(config, population) * (1 + config.growth * days / config.days) * _WEEK[weekday]
    day_shares: NDArray[np.float64] = visits / visits.sum()
    return day_shares


def attendance(population: Population, day: int, visits: int, rng: np.random.Generator) -> Ints:
    """(visits,) int64: users who come on that day, each once, in proportion to activity while few do (Gumbel top-k)."""
    members = np.flatnonzero(population.joined_day <= day)
    visits = min(visits, len(members))
    if visits == 0:
        return members[:0]
    keys = np.log(population.activity[members]) + rng.gumbel(size=len(members)).astype(np.float32)
    return np.sort(members[np.argpartition(-keys, visits - 1)[:visits]])


def expected_visits(config: ShopConfig, population: Population, users: Ints, span: Ints, visits: float) -> Floats:
    """(n,) float32: visits of each user on the days of ``span`` by activity, if the whole log has ``visits``."""
    per_activity = visits * shares(config, population)[span] / np.maximum(_members(config, population)[span], 1e-9)
    present = population.joined_day[users][:, None] <= span
    return (population.activity[users] * (present @ per_activity)).astype(np.float32)


def _members(config: ShopConfig, population: Population) -> NDArray[np.float64]:
    """(days,) float64: the activity of all users who have joined by each day."""
    return np.cumsum(np.bincount(population.joined_day, population.activity, config.days))
