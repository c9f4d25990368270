"""The combination: blind to the future, at the level of the probability model, and better where that is wrong."""

from pathlib import Path

import numpy as np
import pytest

from features.errors import ConfigError, InputError
from training.intent.lifetime import Lifetime, Money
from training.intent.order_summaries import DAY_MS, OrderLog, outcomes, summarise
from training.intent.value import ValueConfig, ValueModel, training_rows
from training.intent.value_network import NetworkConfig

_HORIZONS = (30, 90, 180)
_CONFIG = ValueConfig(
    step_days=40,
    windows_days=(30, 90),
    members=1,
    network=NetworkConfig(epochs=10, batch=512, hidden=8, learning_rate=5e-3),
)


def planted_log(n: int = 3000, days: int = 400, seed: int = 0) -> OrderLog:
    """Half order every month to the day, the others at random and as often; the former pay twice as much."""
    generator = np.random.default_rng(seed)
    who, when, cents = [], [], []
    for customer in range(n):
        regular = customer % 2 == 0
        stops = 40 + generator.exponential(200.0)
        gaps = np.full(40, 30.0) if regular else generator.exponential(30.0, 40)
        times = generator.integers(0, 40) + np.r_[0.0, np.cumsum(gaps)]
        times = times[times < min(stops, days)]
        who.append(np.full(len(times), customer))
        when.append((times * DAY_MS).astype(np.int64))
        cents.append(generator.gamma(3.0, 2000.0 if regular else 1000.0, len(times)).astype(np.int64))
    return OrderLog.of(np.concatenate(who), np.concatenate(when), np.concatenate(cents))


@pytest.fixture(scope="module")
def log() -> OrderLog:
    return planted_log()


@pytest.fixture(scope="module")
def model(log: OrderLog) -> ValueModel:
    return ValueModel.fit(log, 300 * DAY_MS, _HORIZONS, _CONFIG, seed=1)


def test_silence_of_the_regular_is_understood(log: OrderLog, model: ValueModel) -> None:
    summaries = summarise(log, model.as_of_ms)
    orders, _ = outcomes(log, summaries.customer, model.as_of_ms, 90)
    plain = Lifetime.fit(summaries, Money.ALL).orders(summaries, 90)
    better = model.predict(summaries, 90).orders
    gain = (orders - plain) ** 2 - (orders - better) ** 2
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))


def test_totals_are_those_of_the_probability_model(log: OrderLog, model: ValueModel) -> None:
    summaries = summarise(log, model.as_of_ms)
    for days in _HORIZONS:
        expected, values = model.lifetime.orders(summaries, days), model.predict(summaries, days)
        assert values.orders.sum() == pytest.approx(expected.sum(), rel=1e-6)
        # The worth of orders is that of the probability model, in the mean over the network's orders.
        assert values.cents.sum() == pytest.approx(values.orders @ model.lifetime.order_cents(summaries), rel=1e-6)


def test_the_future_is_not_read(log: OrderLog, model: ValueModel) -> None:
    known = log.between(None, model.as_of_ms)
    planted = OrderLog.of(
        np.r_[known.customer, np.zeros(50, dtype=np.int64)],
        np.r_[known.ts_ms, model.as_of_ms + np.arange(50) * DAY_MS],
        np.r_[known.cents, np.full(50, 10**6)],
    )
    again = ValueModel.fit(planted, model.as_of_ms, _HORIZONS, _CONFIG, seed=1)
    for days in (30, 180):
        ours, theirs = (m.predict(summarise(log, model.as_of_ms), days) for m in (model, again))
        np.testing.assert_array_equal(ours.orders, theirs.orders)
        np.testing.assert_array_equal(ours.cents, theirs.cents)


def test_each_window_is_scaled_to_what_came(log: OrderLog) -> None:
    config = _CONFIG.model_copy(update={"most_instants": 1, "windows_days": (30,)})
    rows = training_rows(log, 300 * DAY_MS, config)
    assert np.exp(rows.log_orders).sum() == pytest.approx(rows.orders.sum(), rel=1e-9)
    assert rows.orders @ np.exp(rows.log_cents) == pytest.approx(rows.cents.sum(), rel=1e-9)


def test_saved_and_loaded_answers_the_same(log: OrderLog, model: ValueModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    summaries = summarise(log, model.as_of_ms)
    ours, theirs = model.predict(summaries, 90), ValueModel.load(tmp_path).predict(summaries, 90)
    np.testing.assert_array_equal(ours.orders, theirs.orders)
    np.testing.assert_array_equal(ours.cents, theirs.cents)


def test_what_cannot_be_answered_is_refused(log: OrderLog, model: ValueModel) -> None:
    with pytest.raises(ConfigError, match="30, 90, 180"):
        model.predict(summarise(log, model.as_of_ms), 45)
    with pytest.raises(InputError, match="longer history"):
        ValueModel.fit(log, 80 * DAY_MS, _HORIZONS, _CONFIG)
