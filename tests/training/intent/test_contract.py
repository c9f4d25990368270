"""The contract against heads that are right, and heads spoiled on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from features.errors import InputError
from training.intent.contract import contract
from training.intent.predictor import Vector


def outcomes(n: int, seed: int = 0) -> tuple[Vector, Vector]:
    random = np.random.default_rng(seed)
    z = random.normal(-1.5, 1.0, n)
    return z, (random.random(n) < expit(z)).astype(np.float64)


def test_a_right_head_is_allowed_as_often_as_the_level_says() -> None:
    """Intervals of 95 % together over four parts: a wrong refusal also needs a figure outside of what is tolerated."""
    refused = 0
    for seed in range(60):
        z, y = outcomes(2_400, seed)
        thirds = {str(i): np.arange(2_400) % 3 == i for i in range(3)}
        refused += not all(each.probability for each in contract(expit(z), y, thirds))
    # Mean and slope may each be missed in 5 %: 6 of 60, and 2.3 deviations of a binomial above.
    assert refused <= 11


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(lambda z: expit(z + 0.5), "mean_off"), (lambda z: expit(z - 0.5), "mean_off"), (None, "slope_off")],
)
def test_a_spoiled_head_is_refused_with_the_reason(spoil: object, reason: str) -> None:
    z, y = outcomes(6_000)
    if callable(spoil):
        p = spoil(z)
    else:
        flat = 0.5 * (z + 1.5)
        # Too flat around its own middle, and right on average.
        shift = np.linspace(-4, 2, 6_001)
        p = expit(flat + shift[np.argmin([abs(expit(flat + s).mean() - y.mean()) for s in shift])])
    found = contract(p, y)[0]
    assert not found.probability and found.reason == reason


def test_one_spoiled_segment_does_not_spoil_the_others() -> None:
    z, y = outcomes(6_000)
    wrong = np.arange(6_000) < 1_000
    _, bad, good = contract(expit(np.where(wrong, z + 1, z)), y, {"bad": wrong, "good": ~wrong})
    assert (bad.probability, bad.reason) == (False, "mean_off")
    assert (good.probability, good.reason) == (True, "held")
    assert good.n == 5_000 and good.slope[1] < 1 < good.slope[2]


def test_a_sure_but_small_error_is_tolerated() -> None:
    z, y = outcomes(400_000)
    found = contract(np.minimum(expit(z) * 1.05, 1.0), y)[0]
    assert found.mean[2] < 0 and found.probability


def test_mean_interval_by_hand() -> None:
    p, y = np.full(1_000, 0.25), np.repeat([1.0, 0.0], [300, 700])
    found = contract(p, y)[0]
    half = 1.959964 * np.sqrt(0.3 * 0.7 * 1_000 / 999 / 1_000) / 0.25
    np.testing.assert_allclose(found.mean, [0.2, 0.2 - half, 0.2 + half], atol=1e-6)
    # One prediction for all has no slope.
    assert (found.probability, found.reason) == (False, "slope_off")


def test_few_rows_follow_the_whole_and_few_outcomes_are_refused() -> None:
    z, y = outcomes(3_000)
    few = np.arange(3_000) < 499
    assert [(each.probability, each.reason) for each in contract(expit(z), y, {"few": few})] == [
        (True, "held"),
        (True, "too_few_rows"),
    ]
    rare = contract(np.full(5_000, 0.002), (np.arange(5_000) < 10).astype(np.float64))[0]
    assert (rare.probability, rare.reason) == (False, "too_few_outcomes")


def test_unusable_input_is_refused() -> None:
    with pytest.raises(InputError):
        contract(np.array([1.5]), np.array([1.0]))
    with pytest.raises(InputError, match="segments"):
        contract(np.array([0.5]), np.array([1.0]), {"s": np.array([True, False])})
