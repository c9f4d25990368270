"""Reasons: Shapley's average over all orders of telling, on customers who are half one and half the other."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from features.schema import DAY_MS
from training.intent.order_summaries import FEATURES, OrderLog, Summaries, summarise
from training.intent.value_reasons import GROUPS, middle_customer, mixed, shapley, shown


def customer(days: list[int], cents: list[int], as_of_day: int = 100) -> Summaries:
    log = OrderLog.of(np.zeros(len(days), dtype=np.int64), [day * DAY_MS for day in days], cents)
    return summarise(log, as_of_day * DAY_MS)


ONE, MIDDLE = customer([0, 10, 40], [100, 200, 600]), customer([70], [1_000])


def test_every_feature_belongs_to_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(FEATURES)


def test_the_average_over_all_orders_of_telling() -> None:
    values = np.random.default_rng(0).normal(size=16)
    expected = np.zeros(4)
    for order in permutations(range(4)):
        told = 0
        for group in order:
            expected[group] += (values[told | 1 << group] - values[told]) / 24
            told |= 1 << group
    found = shapley(values)
    assert list(found) == list(GROUPS)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-12)
    assert sum(found.values()) == pytest.approx(values[15] - values[0])


def test_the_ends_are_the_two_customers() -> None:
    blends = mixed(ONE, MIDDLE)
    for row, whole in ((0, MIDDLE), (15, ONE)):
        for name in ("repeats", "recency_days", "tenure_days", "cents", "first_cents", "features"):
            np.testing.assert_allclose(getattr(blends, name)[row], getattr(whole, name)[0], atol=1e-9)


def test_a_mixed_customer_is_possible() -> None:
    blends = mixed(ONE, MIDDLE)
    # Frequency alone is one's own: three orders since day 0, the last 30 days ago as the middle customer's.
    assert (blends.repeats[2], blends.tenure_days[2], blends.recency_days[2]) == (2, 100, 70)
    assert blends.cents[2] == 3 * 1_000
    # Recency alone: the last order 60 days ago, where the first was 30 days ago.
    assert (blends.repeats[1], blends.tenure_days[1], blends.recency_days[1]) == (0, 30, 0)
    assert blends.cents[8] == 300 and (blends.recency_days <= blends.tenure_days).all()


def test_the_middle_customer_is_the_median() -> None:
    log = OrderLog.of([0, 1, 1, 2, 2], [0, 10 * DAY_MS, 30 * DAY_MS, 20 * DAY_MS, 60 * DAY_MS], [100, 300, 500, 50, 90])
    middle = middle_customer(summarise(log, 100 * DAY_MS))
    assert (middle.repeats[0], middle.tenure_days[0], middle.recency_days[0]) == (1, 90, 20)
    assert middle.cents[0] == 2 * 100


def test_what_is_shown_is_what_people_say() -> None:
    assert shown(ONE) == {"recency": 60, "frequency": 3, "spacing": 20, "amounts": 300}
    assert shown(MIDDLE) == {"recency": 30, "frequency": 1, "spacing": None, "amounts": 1_000}
