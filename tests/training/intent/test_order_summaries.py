"""Summaries against plain loops, and blind to what comes after the instant."""

import math

import numpy as np
import pytest

from features.errors import InputError
from training.intent.order_summaries import DAY_MS, FEATURES, OrderLog, outcomes, summarise


def _log(seed: int = 0, n: int = 400) -> OrderLog:
    generator = np.random.default_rng(seed)
    return OrderLog.of(
        generator.integers(0, 40, n), generator.integers(0, 200 * DAY_MS, n), generator.integers(0, 9000, n)
    )


def _by_loop(log: OrderLog, as_of: int) -> dict[int, dict[int, int]]:
    days: dict[int, dict[int, int]] = {}
    for who, when, paid in zip(log.customer.tolist(), log.ts_ms.tolist(), log.cents.tolist(), strict=True):
        if when < as_of:
            of_day = days.setdefault(who, {})
            of_day[when // DAY_MS] = of_day.get(when // DAY_MS, 0) + paid
    return days


def test_summaries_are_those_of_a_plain_loop() -> None:
    log, as_of = _log(), 150 * DAY_MS + 7_000_000
    summaries, expected = summarise(log, as_of), _by_loop(log, as_of)
    assert summaries.customer.tolist() == sorted(expected)
    for i, who in enumerate(summaries.customer.tolist()):
        days = sorted(expected[who])
        assert summaries.repeats[i] == len(days) - 1
        assert summaries.recency_days[i] == days[-1] - days[0]
        assert summaries.tenure_days[i] == pytest.approx(as_of / DAY_MS - days[0], rel=1e-12)
        assert summaries.cents[i] == sum(expected[who].values())
        assert summaries.first_cents[i] == expected[who][days[0]]


def test_features_are_those_of_a_plain_loop() -> None:
    log, as_of = _log(1), 150 * DAY_MS
    summaries, expected = summarise(log, as_of), _by_loop(log, as_of)
    column = {name: summaries.features[:, i] for i, name in enumerate(FEATURES)}
    for i, who in enumerate(summaries.customer.tolist()):
        days = sorted(expected[who])
        ages, gaps = [150 - day for day in days], np.diff(days).tolist()
        logs = [math.log(max(expected[who][day], 1)) for day in days]
        wanted = {
            "log_repeats": math.log(len(days)),
            "recency_share": (days[-1] - days[0]) / ages[0],
            "log_days_since_last": math.log(ages[-1]),
            "log_tenure": math.log(ages[0]),
            "log_orders_30": math.log1p(sum(age <= 30 for age in ages)),
            "log_orders_90": math.log1p(sum(60 < age <= 90 for age in ages)),
            "log_orders_180": math.log1p(sum(90 < age <= 180 for age in ages)),
            "log_decayed_30": math.log(sum(0.5 ** (age / 30) for age in ages) + 0.01),
            "log_last_gap": math.log(gaps[-1]) if gaps else 0.0,
            "log_mean_gap": math.log(np.mean(gaps)) if gaps else 0.0,
            "gap_irregularity": math.log(np.mean(gaps)) - np.log(gaps).mean() if len(gaps) > 1 else 0.0,
            "log_overdue": math.log(ages[-1] / np.mean(gaps)) if gaps else 0.0,
            "mean_log_cents": np.mean(logs),
            "log_last_cents": logs[-1],
            "log_most_cents": max(logs),
            "log_first_cents": logs[0],
            "no_repeat": float(len(days) == 1),
            "one_repeat": float(len(days) == 2),
        }
        for name, value in wanted.items():
            assert column[name][i] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def test_later_orders_change_nothing_even_on_the_instants_own_day() -> None:
    log, as_of = _log(2), 150 * DAY_MS + 5_000_000
    known = log.ts_ms < as_of
    planted = OrderLog.of(
        np.r_[log.customer[known], np.arange(40)],
        np.r_[log.ts_ms[known], np.full(40, as_of)],
        np.r_[log.cents[known], np.full(40, 10**7)],
    )
    before, after = summarise(log, as_of), summarise(planted, as_of)
    np.testing.assert_array_equal(before.customer, after.customer)
    np.testing.assert_array_equal(before.features, after.features)
    np.testing.assert_array_equal(before.cents, after.cents)


def test_outcomes_are_those_of_a_plain_loop() -> None:
    log, as_of, horizon = _log(3), 100 * DAY_MS, 45
    customers = summarise(log, as_of).customer[::2]
    orders, cents = outcomes(log, customers, as_of, horizon)
    for i, who in enumerate(customers.tolist()):
        inside = (log.customer == who) & (log.ts_ms >= as_of) & (log.ts_ms < as_of + horizon * DAY_MS)
        assert orders[i] == len(set((log.ts_ms[inside] // DAY_MS).tolist()))
        assert cents[i] == log.cents[inside].sum()


def test_what_cannot_be_a_log_is_refused() -> None:
    with pytest.raises(InputError, match="equal length"):
        OrderLog.of([1, 2], [3], [4, 5])
    with pytest.raises(InputError, match="leave refunds out"):
        OrderLog.of([1], [3], [-4])
    with pytest.raises(InputError, match="first order"):
        summarise(_log(), 0)
