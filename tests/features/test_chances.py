"""The true chance to buy, against shops that are lived through many times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.errors import ConfigError, InputError
from features.schema import DAY_MS, EventType
from features.shop import Shop, ShopConfig
from features.shop.chances import expected_visits_by_day, visit_chance
from features.shop.traffic import attendance
from features.shop.visits import spend_day

FIRST, LAST, LIVES = 20, 26, 150


@pytest.fixture(scope="module")
def made() -> Shop:
    return Shop(ShopConfig.of(seed=11, users=300, events=8_000, days=40))


def test_visits_are_those_of_the_attendance(made: Shop) -> None:
    """A third of the members come, so that whoever is active is sure to be there more than in proportion."""
    population, visits, draws = made._behaviour.population, 70, 4_000
    rng = np.random.default_rng(0)
    came = np.zeros(300)
    for _ in range(draws):
        came[attendance(population, 15, visits, rng)] += 1
    chance = visit_chance(population, 15, visits)
    assert chance.sum() == pytest.approx(visits, abs=1e-6)
    assert (chance[population.joined_day > 15] == 0).all() and (population.joined_day > 15).any()
    off = (came / draws - chance)[chance > 0] / np.sqrt(chance * (1 - chance) / draws)[chance > 0]
    # The formula's own error falls with the number of members; here it is below the noise of 4,000 draws.
    assert np.mean(off**2) < 1 + 5 * np.sqrt(2 / len(off))
    assert (visit_chance(population, 15, 1e9) == (population.joined_day <= 15)).all()


def test_chances_are_the_shares_of_many_lives(made: Shop) -> None:
    """Every user's days are lived ``LIVES`` times, each with luck of its own."""
    behaviour, span = made._behaviour, np.arange(FIRST, LAST)
    start_ms = made.config.start_ms
    users = np.arange(300)
    chance = made.purchase_chance(users, start_ms + FIRST * DAY_MS, start_ms + LAST * DAY_MS, draws=200)
    visits = expected_visits_by_day(behaviour, span)
    bought = np.zeros(300)
    for life in range(LIVES):
        rng = np.random.default_rng([1, life])
        once = np.zeros(300, dtype=bool)
        for day, expected in zip(span.tolist(), visits, strict=True):
            # As many visits as are expected, on average.
            rows = spend_day(behaviour, day, int(expected + rng.random()), 0, rng)
            once[rows.user[rows.event_type == EventType.PURCHASE.code]] = True
        bought += once
    assert 0.1 < chance.mean() < 0.5 and np.ptp(chance) > 0.3
    error = np.sqrt(chance * (1 - chance) / LIVES)
    off = ((bought / LIVES - chance) / np.maximum(error, 1e-9))[error > 0]
    assert np.mean(off**2) < 1 + 4 * np.sqrt(2 / len(off))
    assert abs((bought / LIVES - chance).sum()) < 4 * np.sqrt((error**2).sum())
    assert (bought[chance == 0] == 0).all()
    line = np.polyfit(chance, bought / LIVES, 1)
    assert line[0] == pytest.approx(1, abs=4 * np.sqrt(np.mean(error**2) / 300) / chance.std())


def test_buyers_of_written_logs_are_as_many_as_the_truth_expects(tmp_path: Path) -> None:
    expected = variance = counted = 0.0
    for seed in range(8):
        shop = Shop(ShopConfig.of(seed=seed, users=600, events=15_000, days=40))
        shop.write(tmp_path / str(seed))
        events = pd.read_parquet(tmp_path / str(seed) / "events.parquet")
        from_ms = shop.config.start_ms + FIRST * DAY_MS
        late = events[(events["event_type"] == "purchase") & (events["ts"] >= from_ms)]
        chance = shop.purchase_chance(np.arange(600), from_ms, shop.config.end_ms, draws=4)
        expected, variance = expected + chance.sum(), variance + (chance * (1 - chance)).sum()
        counted += late["user_id"].nunique()
    # 8 shops: the error of all together is 1 % of the buyers, and the pilot's number of visits is off by as much.
    assert abs(counted - expected) < 3.5 * np.sqrt(variance + (0.01 * expected) ** 2 / 8)


def test_more_draws_are_less_noise_around_the_same(made: Shop) -> None:
    window = made.config.start_ms + FIRST * DAY_MS, made.config.start_ms + LAST * DAY_MS
    few, some, many = (made.purchase_chance(np.arange(300), *window, draws=draws) for draws in (1, 16, 256))
    assert np.std(some - many) < 0.4 * np.std(few - many)
    assert np.mean(few - many) == pytest.approx(0, abs=4 * np.std(few - many) / np.sqrt(300))


def test_a_window_of_other_than_days_of_the_log_is_refused(made: Shop) -> None:
    start_ms = made.config.start_ms
    for window in ((start_ms, start_ms), (start_ms + 1, start_ms + DAY_MS), (start_ms, made.config.end_ms + DAY_MS)):
        with pytest.raises(InputError, match="window must be whole days"):
            made.purchase_chance(np.arange(3), *window)
    with pytest.raises(ConfigError, match="draws"):
        made.purchase_chance(np.arange(3), start_ms, start_ms + DAY_MS, draws=0)
