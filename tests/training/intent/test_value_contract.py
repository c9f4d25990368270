"""Totals: noise is not refused, an error that matters is, and where there is too little the whole stands in."""

from __future__ import annotations

import numpy as np
import pytest

from features.errors import InputError
from training.intent.value_contract import Totals, value_contract

RNG = np.random.default_rng(3)
MEAN = RNG.gamma(0.5, 2.0, 6_000)
ORDERS = RNG.poisson(MEAN).astype(np.float64)
CENTS = ORDERS * RNG.gamma(2.0, 500.0, 6_000)
OBSERVED = Totals(ORDERS, CENTS)


def expected(orders: float = 1.0, cents: float = 1.0) -> Totals:
    return Totals(MEAN * orders, MEAN * 1_000 * cents)


def test_the_truth_is_held() -> None:
    [judged] = value_contract(expected(), OBSERVED)
    assert judged.numbers and judged.reason == "held" and judged.n == 6_000
    for (ratio, low, high), totals in ((judged.orders, (MEAN, ORDERS)), (judged.cents, (MEAN * 1_000, CENTS))):
        assert ratio == pytest.approx(totals[0].sum() / totals[1].sum())
        assert low < 1 < high


def test_the_interval_is_that_of_a_ratio_of_sums() -> None:
    [judged] = value_contract(expected(), OBSERVED, level=0.9)
    # Delta method; two intervals share the level, so each has a tail of 2.5 %.
    ratio = judged.cents[0]
    spread = (MEAN * 1_000 - ratio * CENTS).std() / np.sqrt(len(CENTS)) / CENTS.mean()
    assert judged.cents[1:] == pytest.approx((ratio - 1.96 * spread, ratio + 1.96 * spread), abs=0.15 * spread)


@pytest.mark.parametrize(
    ("spoiled", "reason"), [(expected(orders=1.3), "orders_off"), (expected(cents=0.7), "cents_off")]
)
def test_what_is_surely_off_is_refused(spoiled: Totals, reason: str) -> None:
    [judged] = value_contract(spoiled, OBSERVED)
    assert not judged.numbers and judged.reason == reason


def test_an_error_that_is_sure_but_small_is_tolerated() -> None:
    many = Totals(np.tile(ORDERS, 5), np.tile(CENTS, 5))
    ratio = ORDERS.sum() / MEAN.sum(), CENTS.sum() / MEAN.sum() / 1_000
    right = expected(1.08 * ratio[0], 0.93 * ratio[1])
    [judged] = value_contract(Totals(np.tile(right.orders, 5), np.tile(right.cents, 5)), many)
    assert judged.orders[1] > 1 and judged.numbers


def test_segments_are_judged_by_themselves() -> None:
    spoiled, first, few = expected(), np.arange(6_000) < 1_000, np.arange(6_000) >= 5_900
    spoiled.orders[first] *= 2
    everybody, off, rest, small = value_contract(
        spoiled, OBSERVED, {"tier=gold": first, "tier=none": ~first, "tier=new": few}
    )
    assert (off.segment, off.numbers, off.reason) == ("tier=gold", False, "orders_off")
    assert rest.numbers and rest.reason == "held"
    assert small.reason == "too_few_rows" and small.numbers == everybody.numbers and small.n == 100


def test_almost_no_orders_say_nothing() -> None:
    nothing = Totals(np.where(np.arange(6_000) < 19, ORDERS + 1, 0.0), CENTS)
    [judged] = value_contract(expected(), nothing)
    assert not judged.numbers and judged.reason == "too_few_orders"
    with pytest.raises(InputError, match="flags"):
        value_contract(expected(), OBSERVED, {"all": ORDERS > 0})
