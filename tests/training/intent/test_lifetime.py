"""BG/NBD and Gamma-Gamma against hand-computed points, numerical integrals, simulation and planted parameters."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, gamma

from features.errors import InputError
from training.intent.lifetime import Lifetime, Money, orders_log_likelihood, worth_log_likelihood
from training.intent.order_summaries import Floats, Summaries

#: Of the 1/10 sample of CDNOW (Fader, Hardie & Lee 2005, table 2; Fader & Hardie 2013), cents for dollars.
_PUBLISHED = Lifetime(0.243, 4.414, 0.793, 2.426, 6.25, 3.74, 1544.0, Money.REPEATS)


def _summaries(repeats: Floats, recency: Floats, tenure: Floats, mean: Floats | None = None) -> Summaries:
    n, mean = len(repeats), np.full(len(repeats), 3000.0) if mean is None else mean
    return Summaries(
        np.arange(n), repeats, recency, tenure, mean * (repeats + 1), mean, np.zeros((n, 0), dtype=np.float64)
    )


@pytest.mark.parametrize(("x", "t_x", "tenure"), [(0, 0.0, 38.9), (2, 30.4, 38.9), (5, 12.0, 30.0)])
def test_likelihood_of_orders_is_the_integral_over_rates_and_chances(x: int, t_x: float, tenure: float) -> None:
    r, alpha, a, b = 0.6, 4.4, 1.4, 2.4

    def rates(power: float, weeks: float) -> float:
        # Substituting rate = u^(1/r) takes away the pole at zero.
        return quad(
            lambda u: u ** (power / r) * np.exp(-(u ** (1 / r)) * (weeks + alpha)) * alpha**r / math.gamma(r) / r, 0, 9
        )[0]

    def chances(leaves: int, stays: int) -> float:
        return quad(lambda p: p**leaves * (1 - p) ** stays * beta.pdf(p, a, b), 0, 1)[0]

    integral = chances(0, x) * rates(x, tenure) + (chances(1, x - 1) * rates(x, t_x) if x else 0.0)
    found = orders_log_likelihood(np.array([r, alpha, a, b]), *(np.array([float(v)]) for v in (x, t_x, tenure)))
    assert np.exp(found[0]) == pytest.approx(integral, rel=1e-6)


def test_likelihood_of_an_orders_worth_is_the_integral_over_scales() -> None:
    p, q, v, n, mean = 6.25, 3.74, 15.44, 3, 40.0
    integral, _ = quad(
        lambda rate: gamma.pdf(mean, p * n, scale=1 / (rate * n)) * gamma.pdf(rate, q, scale=1 / v), 0, 5
    )
    found = worth_log_likelihood(np.array([p, q, v]), np.array([float(n)]), np.array([mean]))
    assert np.exp(found[0]) == pytest.approx(integral, rel=1e-7)


def test_the_published_customer_is_expected_to_order_as_published() -> None:
    # x = 2, t_x = 30.43, T = 38.86: 1.226 orders in the next 39 weeks (Hardie's note on the spreadsheet).
    one = _summaries(np.array([2.0]), np.array([30.43 * 7]), np.array([38.86 * 7]))
    assert _PUBLISHED.orders(one, 39 * 7)[0] == pytest.approx(1.226, abs=5e-4)


def test_an_orders_worth_lies_between_what_was_paid_and_the_population() -> None:
    p, q, v = _PUBLISHED.p, _PUBLISHED.q, _PUBLISHED.v
    two = _summaries(np.array([0.0, 4.0]), np.array([0.0, 50.0]), np.array([90.0, 90.0]), np.array([9000.0, 9000.0]))
    population = p * v / (q - 1)
    weight = 4 * p / (4 * p + q - 1)
    np.testing.assert_allclose(
        _PUBLISHED.order_cents(two), [population, weight * 9000 + (1 - weight) * population], rtol=1e-12
    )


def _simulated(n: int, seed: int) -> tuple[Summaries, Floats, tuple[float, ...]]:
    """Customers of known parameters as of their 300th day, and their orders in the 100 days after."""
    truth = (0.8, 10.0, 0.9, 3.0)
    generator = np.random.default_rng(seed)
    rate = generator.gamma(truth[0], 1 / truth[1], n) / 7
    leaves = generator.beta(truth[2], truth[3], n)
    repeats, recency, later = np.zeros(n), np.zeros(n), np.zeros(n)
    now, alive = np.zeros(n), np.ones(n, dtype=bool)
    while alive.any():
        now = np.where(alive, now + generator.exponential(1 / rate), now)
        alive &= now < 400
        known = alive & (now < 300)
        repeats += known
        recency = np.where(known, now, recency)
        later += alive & (now >= 300)
        alive &= generator.random(n) >= leaves
    scale = generator.gamma(4.0, 1 / 3000.0, n)
    mean = generator.gamma(6.0 * (repeats + 1), 1 / (scale * (repeats + 1)))
    return _summaries(repeats, recency, np.full(n, 300.0), mean), later, truth


def test_planted_parameters_are_found_and_expectations_hold() -> None:
    summaries, later, truth = _simulated(15_000, seed=4)
    model = Lifetime.fit(summaries, Money.ALL)
    np.testing.assert_allclose((model.r, model.alpha, model.a / (model.a + model.b)), (0.8, 10.0, 0.9 / 3.9), rtol=0.12)
    np.testing.assert_allclose((model.p, model.q, model.v), (6.0, 4.0, 3000.0), rtol=0.05)
    planted = Lifetime(*truth, 6.0, 4.0, 3000.0, Money.ALL)
    expected = planted.orders(summaries, 100)
    for chosen in (summaries.repeats == 0, summaries.repeats == 1, summaries.repeats > 4):
        error = later[chosen] - expected[chosen]
        assert abs(error.mean()) < 3 * error.std() / np.sqrt(chosen.sum())


def test_only_repeat_buyers_can_have_left_and_silence_makes_it_likelier() -> None:
    three = _summaries(np.array([0.0, 5.0, 5.0]), np.array([0.0, 90.0, 20.0]), np.full(3, 100.0))
    alive = _PUBLISHED.alive(three)
    assert alive[0] == 1
    assert 1 > alive[1] > alive[2] > 0
    np.testing.assert_array_less(_PUBLISHED.orders(three, 30), _PUBLISHED.orders(three, 31))


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    _PUBLISHED.save(tmp_path / "lifetime.json")
    assert Lifetime.load(tmp_path / "lifetime.json") == _PUBLISHED
    (tmp_path / "lifetime.json").write_text('{"r": 1}')
    with pytest.raises(InputError, match="lifetime model"):
        Lifetime.load(tmp_path / "lifetime.json")


def test_nothing_is_fitted_where_nobody_came_back() -> None:
    with pytest.raises(InputError, match="ordered again"):
        Lifetime.fit(_summaries(np.zeros(3), np.zeros(3), np.full(3, 9.0)))
