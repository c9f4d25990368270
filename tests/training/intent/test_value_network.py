"""The network finds planted factors, is the same for a seed, and comes back from disk."""

from pathlib import Path

import numpy as np
import pytest

from features.errors import InputError
from training.intent.value_network import NetworkConfig, Rows, ValueNetwork


def _rows(n: int = 20_000, seed: int = 0) -> Rows:
    """Orders depend on the first feature and the worth of an order on the second."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, 3)) * [1.0, 10.0, 1.0] + [0.0, 50.0, 0.0]
    expected, worth = np.full(n, 0.8), np.full(n, 2000.0)
    orders = generator.poisson(expected * np.exp(0.5 * features[:, 0]) * generator.gamma(2.0, 0.5, n)).astype(float)
    mean = worth * np.exp(0.02 * (features[:, 1] - 50))
    cents = generator.gamma(np.maximum(2 * orders, 1e-9), mean / 2) * (orders > 0)
    return Rows(features, np.log(expected), np.log(worth), orders, cents)


_CONFIG = NetworkConfig(epochs=8, batch=512, hidden=4, learning_rate=0.02, most_orders=20, most_worth=5)


def test_planted_factors_are_found() -> None:
    network = ValueNetwork.fit(_rows(), _CONFIG, seed=1)
    factors = network.factors(np.array([[-1.0, 50.0, 0.0], [1.0, 50.0, 0.0], [0.0, 40.0, 0.0], [0.0, 60.0, 0.0]]))
    logs = np.log(factors)
    assert logs[1, 0] - logs[0, 0] == pytest.approx(1.0, abs=0.12)
    assert logs[3, 1] - logs[2, 1] == pytest.approx(0.4, abs=0.06)
    assert abs(logs[3, 0] - logs[2, 0]) < 0.1
    assert abs(logs[1, 1] - logs[0, 1]) < 0.1
    assert float(network.log_size.detach().exp()) == pytest.approx(2.0, rel=0.15)
    assert float(network.log_shape.detach().exp()) == pytest.approx(2.0, rel=0.15)


def test_factors_are_bounded_and_the_far_away_is_cut() -> None:
    network = ValueNetwork.fit(_rows(2000), NetworkConfig(epochs=2, batch=200, most_orders=1.2), seed=1)
    far = network.factors(np.array([[1e9, 50.0, 0.0], [1e3, 50.0, 0.0], [-1e9, 50.0, 0.0]]))
    assert (far[:, 0] <= 1.2).all() and (far[:, 0] >= 1 / 1.2).all()
    np.testing.assert_array_equal(far[0], far[1])


def test_same_seed_same_network_and_disk_keeps_it(tmp_path: Path) -> None:
    rows = _rows(1000)
    first, again = (ValueNetwork.fit(rows, NetworkConfig(epochs=1, batch=200), seed=3) for _ in range(2))
    other = ValueNetwork.fit(rows, NetworkConfig(epochs=1, batch=200), seed=4)
    np.testing.assert_array_equal(first.factors(rows.features), again.factors(rows.features))
    assert not np.array_equal(first.factors(rows.features), other.factors(rows.features))
    first.save(tmp_path, "member")
    loaded = ValueNetwork.load(tmp_path, "member")
    np.testing.assert_array_equal(first.factors(rows.features), loaded.factors(rows.features))


def test_rows_without_orders_are_refused() -> None:
    empty = Rows(np.zeros((2, 1)), np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2))
    with pytest.raises(InputError, match="customers who ordered"):
        ValueNetwork.fit(empty, NetworkConfig(), seed=0)
