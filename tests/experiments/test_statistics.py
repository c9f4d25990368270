"""Intervals against exhaustive enumeration, scipy, planted truth and hand-made cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from experiments.statistics import mean_interval, paired_bootstrap
from features.errors import ConfigError, InputError

rng = np.random.default_rng


def zero_inflated(generator: np.random.Generator, shape: tuple[int, ...] | int) -> np.ndarray:
    """Like a user's NDCG: zero for four of five, skewed above."""
    return generator.binomial(1, 0.2, shape) * generator.beta(1, 2, shape)


ZERO_INFLATED_MEAN = 0.2 / 3


def named(arms: np.ndarray) -> dict[str, np.ndarray]:
    return {f"arm {i}": values for i, values in enumerate(arms)}


def enumerated_t(differences: np.ndarray) -> np.ndarray:
    """The bootstrap-t of all n^n resamples, straight from its definition."""
    n, mean = len(differences), differences.mean()
    answers = []
    for drawn in itertools.product(range(n), repeat=n):
        sample = differences[list(drawn)]
        spread = sample.std() or differences.std()
        answers.append((sample.mean() - mean) / (spread / math.sqrt(n)))
    return np.array(answers)


def test_one_arm_is_the_bootstrap_t_of_all_resamples() -> None:
    control, arm = np.array([0.0, 1.0, 0.5, 2.0, 0.1]), np.array([0.3, 1.9, 0.5, 2.2, 1.3])
    difference = arm - control
    t = enumerated_t(difference)
    error = difference.std() / math.sqrt(5)
    lift = paired_bootstrap(control, {"a": arm}, resamples=50_000, confidence=0.8, seed=0)["a"]
    # 3,125 equally likely outcomes: the drawn quantile lies between outcomes close in rank to the exact one.
    for share, end in ((0.9, lift.low), (0.1, lift.high)):
        near = np.quantile(t, [share - 0.005, share + 0.005])
        assert difference.mean() - near[1] * error <= end <= difference.mean() - near[0] * error
    assert lift.difference == pytest.approx(difference.mean())
    assert (lift.n_users, lift.n_changed) == (5, 4)


def test_one_arm_agrees_with_scipy() -> None:
    generator = rng(1)
    control = generator.normal(1, 0.3, 500)
    arm = control + generator.normal(0.05, 0.4, 500)
    lift = paired_bootstrap(control, {"a": arm}, resamples=20_000, seed=2)["a"]
    known = stats.bootstrap((arm - control,), np.mean, n_resamples=20_000, method="BCa", rng=3).confidence_interval
    width = known.high - known.low
    assert [lift.low, lift.high] == pytest.approx([known.low, known.high], abs=0.03 * width)
    # The standard error of a two-sided p-value of 0.27 from 20,000 resamples is 0.005.
    assert lift.p_value == pytest.approx(stats.ttest_rel(arm, control).pvalue, abs=0.015)


def test_many_users_are_resampled_in_groups_to_the_same_interval() -> None:
    generator = rng(4)
    difference = zero_inflated(generator, 50_001) - ZERO_INFLATED_MEAN
    lift = paired_bootstrap(np.zeros(50_001), {"a": difference}, resamples=2_000, seed=5)["a"]
    error = difference.std() / math.sqrt(50_001)
    expected = difference.mean() + stats.norm.ppf([0.025, 0.975]) * error
    # The 97.5 % quantile of 2,000 draws has a standard error of 0.06 standard errors of the mean.
    assert [lift.low, lift.high] == pytest.approx(expected, abs=3 * 0.06 * error)


def test_several_arms_share_the_error_as_the_studentised_maximum_does() -> None:
    generator = rng(6)
    n, k = 4000, 5
    arms = {f"a{i}": generator.normal(size=n) for i in range(k)}
    lifts = paired_bootstrap(np.zeros(n), arms, resamples=10_000, seed=7)
    # Independent arms: the largest of k normal values is below z with probability Phi(z)^k.
    critical = stats.norm.ppf(0.975 ** (1 / k))
    for name, lift in lifts.items():
        error = arms[name].std() / math.sqrt(n)
        assert (lift.difference - lift.low) / error == pytest.approx(critical, abs=0.1)
        assert (lift.high - lift.difference) / error == pytest.approx(critical, abs=0.1)


def test_equal_arms_cost_nothing_and_order_does_not_matter() -> None:
    generator = rng(8)
    control, arm = zero_inflated(generator, 400), zero_inflated(generator, 400)
    alone = paired_bootstrap(control, {"a": arm}, seed=9)["a"]
    twice = paired_bootstrap(control, {"b": arm, "a": arm}, seed=9)
    assert twice["a"] == twice["b"]
    assert [twice["a"].low, twice["a"].high] == pytest.approx([alone.low, alone.high])
    other = zero_inflated(generator, 400)
    first = paired_bootstrap(control, {"a": arm, "b": other}, seed=9)
    swapped = paired_bootstrap(control, {"b": other, "a": arm}, seed=9)
    assert [first["a"].low, first["b"].high] == pytest.approx([swapped["a"].low, swapped["b"].high])
    assert first["a"].low < alone.low


def within(count: int, trials: int, rate: float) -> bool:
    """Whether a count is at most what the rate gives, up to three standard errors."""
    return count / trials <= rate + 3 * math.sqrt(rate * (1 - rate) / trials)


def test_no_effect_ships_at_most_one_time_in_forty_over_four_arms() -> None:
    generator, trials = rng(10), 1000
    shipped = held = 0
    for seed in range(trials):
        values = zero_inflated(generator, (5, 300))
        lifts = paired_bootstrap(values[0], named(values[1:]), resamples=299, seed=seed).values()
        shipped += any(lift.low > 0 for lift in lifts)
        held += any(lift.high < 0 for lift in lifts)
    assert within(shipped, trials, 0.025)
    assert within(held, trials, 0.025)
    assert shipped + held > 0.025 * trials  # and not by being wider than need be


def test_a_planted_effect_is_covered() -> None:
    generator, trials, n = rng(11), 600, 300
    missed = missed_relative = missed_mean = 0
    for seed in range(trials):
        control = zero_inflated(generator, n)
        arm = np.where(generator.random(n) < 0.5, zero_inflated(generator, n) + 0.02, control)
        lift = paired_bootstrap(control, {"a": arm}, resamples=299, seed=seed)["a"]
        missed += not lift.low <= 0.01 <= lift.high
        assert lift.relative_low is not None and lift.relative_high is not None
        missed_relative += not lift.relative_low <= 0.01 / ZERO_INFLATED_MEAN <= lift.relative_high
        interval = mean_interval(control, resamples=299, seed=seed)
        missed_mean += not interval.low <= ZERO_INFLATED_MEAN <= interval.high
    assert within(missed, trials, 0.05)
    assert within(missed_relative, trials, 0.05)
    assert within(missed_mean, trials, 0.05)
    assert missed > 0.025 * trials


@pytest.mark.parametrize("shift", [-0.03, -0.004, 0.0, 0.004, 0.03])
def test_relative_and_absolute_intervals_agree_on_the_sign(shift: float) -> None:
    generator = rng(12)
    control = zero_inflated(generator, 600)
    lift = paired_bootstrap(control, {"a": control + generator.normal(shift, 0.05, 600)}, seed=13)["a"]
    assert lift.relative_low is not None and lift.relative_high is not None and lift.relative is not None
    assert lift.relative_low < lift.relative < lift.relative_high
    assert (lift.relative_low > 0) == (lift.low > 0)
    assert (lift.relative_high < 0) == (lift.high < 0)


def test_the_relative_interval_holds_the_ratios_that_fit() -> None:
    generator = rng(14)
    control, arm = generator.gamma(2, size=300), generator.gamma(2.2, size=300)
    lift = paired_bootstrap(control, {"a": arm}, seed=15)["a"]
    critical = (lift.difference - lift.low) / ((arm - control).std() / math.sqrt(300))
    assert lift.relative_low is not None
    left_over = arm - (1 + lift.relative_low) * control
    assert left_over.mean() / (left_over.std() / math.sqrt(300)) == pytest.approx(critical)


def test_the_unit_of_the_metric_does_not_matter() -> None:
    generator = rng(16)
    control, arm = zero_inflated(generator, 300), zero_inflated(generator, 300)
    small = paired_bootstrap(control, {"a": arm}, seed=17)["a"]
    large = paired_bootstrap(1000 * control, {"a": 1000 * arm}, seed=17)["a"]
    assert large.low == pytest.approx(1000 * small.low)
    assert large.relative_high == pytest.approx(small.relative_high)
    assert large.p_value == small.p_value


def test_p_value_and_interval_agree() -> None:
    generator = rng(18)
    for seed in range(50):
        values = generator.normal(size=(4, 60))
        values[1:] += 0.35
        for lift in paired_bootstrap(values[0], named(values[1:]), resamples=999, seed=seed).values():
            if abs(lift.p_value - 0.05) > 0.005:
                assert (lift.p_value < 0.05) == (lift.low > 0 or lift.high < 0)


def test_equal_values_give_a_point() -> None:
    lift = paired_bootstrap([1.0, 2.0, 3.0], {"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]}, seed=0)["a"]
    assert (lift.difference, lift.low, lift.high, lift.relative, lift.p_value) == (0, 0, 0, 0, 1)
    assert lift.n_changed == 0
    constant = paired_bootstrap([1.0, 2.0, 3.0], {"a": [1.5, 2.5, 3.5]}, seed=0)["a"]
    assert (constant.low, constant.high, constant.p_value) == (0.5, 0.5, 0)
    interval = mean_interval([2.0, 2.0], seed=0)
    assert (interval.mean, interval.low, interval.high) == (2, 2, 2)


def test_one_user_bounds_nothing() -> None:
    lift = paired_bootstrap([1.0], {"a": [2.0]}, seed=0)["a"]
    assert (lift.difference, lift.low, lift.high, lift.p_value) == (1, -math.inf, math.inf, 1)
    assert (lift.relative, lift.relative_low, lift.relative_high) == (1, None, None)


def test_a_control_of_zero_has_no_relative_lift() -> None:
    lift = paired_bootstrap(np.zeros(10), {"a": np.arange(10.0)}, seed=0)["a"]
    assert (lift.relative, lift.relative_low, lift.relative_high) == (None, None, None)
    assert lift.low > 0


def test_same_seed_same_interval() -> None:
    values = zero_inflated(rng(19), (2, 200))
    first, again, other = (paired_bootstrap(values[0], {"a": values[1]}, seed=seed)["a"] for seed in (1, 1, 2))
    assert first == again != other


def test_no_arms_no_lifts() -> None:
    assert paired_bootstrap([1.0, 2.0], {}, seed=0) == {}


@pytest.mark.parametrize(
    ("control", "arm", "message"),
    [
        ([1.0, math.nan], [1.0, 2.0], "control must be finite"),
        ([1.0, 2.0], [1.0, math.inf], "arm a must be finite"),
        ([1.0, 2.0], [1.0], "arm a must have the control's 2 users, received 1"),
        ([], [], "control must be one number per user"),
        ([[1.0]], [1.0], "control must be one number per user"),
    ],
)
def test_unusable_values_are_refused(control: list[float], arm: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        paired_bootstrap(control, {"a": arm}, seed=0)


@pytest.mark.parametrize(("name", "value"), [("resamples", 10), ("confidence", 95.0)])
def test_unusable_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        paired_bootstrap([1.0, 2.0], {"a": [2.0, 1.0]}, seed=0, **{name: value})  # type: ignore[arg-type]
