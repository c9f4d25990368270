"""Calibrators against planted distortions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from features.errors import InputError
from training.intent.calibration import KINDS, Calibrator, fit_calibrator, log_losses, logistic_line
from training.intent.predictor import Vector


def outcomes(n: int, seed: int = 0) -> tuple[Vector, Vector]:
    """True log-odds around -1.5, and what happened."""
    random = np.random.default_rng(seed)
    z = random.normal(-1.5, 1.2, n)
    return z, (random.random(n) < expit(z)).astype(np.float64)


def test_temperature_takes_a_distortion_back() -> None:
    z, y = outcomes(40_000)
    told = expit((z - 0.5) / 0.6)  # z = 0.6 logit + 0.5
    found = fit_calibrator(told, y)
    _, covariance = logistic_line(logit(told), y)
    assert found.kind == "temperature"
    assert abs(found.slope - 0.6) < 3 * np.sqrt(covariance[1, 1])
    assert abs(found.bias - 0.5) < 3 * np.sqrt(covariance[0, 0])


@pytest.mark.parametrize("seed", range(20))
def test_a_line_is_found_however_far_away(seed: int) -> None:
    """Predictions the wrong way round: from a slope of 1, Newton steps go to and fro (seed 4) and never arrive."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 1.6, 120) * 2
    random.random(120)
    y = (random.random(120) < expit(-0.3 * z)).astype(np.float64)

    def loss(line: Vector) -> float:
        odds = line[0] + line[1] * z
        return float(np.sum(np.log1p(np.exp(odds)) - y * odds) + 0.5 * (line[0] ** 2 + (line[1] - 1) ** 2))

    best = minimize(loss, [0.0, 0.0], tol=1e-12).x
    np.testing.assert_allclose(logistic_line(z, y, prior=1.0)[0], best, atol=1e-4)


def test_identity_is_kept_where_nothing_is_wrong() -> None:
    assert all(fit_calibrator(expit(z), y).kind == "identity" for z, y in (outcomes(3_000, seed) for seed in range(5)))


def test_a_bent_distortion_needs_isotonic() -> None:
    z, y = outcomes(20_000)
    p = expit(z)
    bent = np.where(p < 0.2, p / 4, 0.9 * p)
    found = fit_calibrator(bent, y)
    assert found.kind == "isotonic"
    fresh = expit(outcomes(20_000, 1)[0])
    distance = np.abs(found.apply(np.where(fresh < 0.2, fresh / 4, 0.9 * fresh)) - fresh)
    assert distance.mean() < 0.02


def test_isotonic_is_pooling_of_adjacent_violators() -> None:
    p, y = np.array([0.1, 0.2, 0.3, 0.4, 0.5]), np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    found = fit_calibrator(p, y, "isotonic")
    # The 1 before the 0 is pooled to one half; 0 and 1 stop at 1/7 and 6/7.
    np.testing.assert_allclose(found.apply(p), [1 / 7, 0.5, 0.5, 6 / 7, 6 / 7])
    np.testing.assert_allclose(found.apply(np.array([0.0, 0.15, 1.0])), [1 / 7, (1 / 7 + 0.5) / 2, 6 / 7])


def test_order_is_never_turned_around() -> None:
    z, y = outcomes(2_000)
    for kind in KINDS:
        for told in (expit(z), expit(-z)):
            mapped = fit_calibrator(told, y, kind).apply(np.linspace(0, 1, 101))
            assert (np.diff(mapped) >= 0).all() and mapped.min() >= 0 and mapped.max() <= 1


def test_line_is_the_maximum_likelihood() -> None:
    z, y = outcomes(500)
    line, covariance = logistic_line(z, y)
    loss = lambda b: log_losses(expit(b[0] + b[1] * z), y).sum()  # noqa: E731
    best = minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    np.testing.assert_allclose(line, best.x, atol=1e-5)
    # Covariance against the second differences of the loss.
    h = 1e-4
    at = lambda i, j: loss(line + h * (np.eye(2)[i] + np.eye(2)[j]))  # noqa: E731
    one = lambda i: loss(line + h * np.eye(2)[i])  # noqa: E731
    hessian = [[(at(i, j) - one(i) - one(j) + loss(line)) / h**2 for j in range(2)] for i in range(2)]
    np.testing.assert_allclose(np.linalg.inv(hessian), covariance, rtol=0.01)


def test_separable_outcomes_have_no_line_but_a_temperature() -> None:
    z = np.linspace(-3, 3, 40)
    y = (z > 0).astype(np.float64)
    with pytest.raises(InputError, match="separable"):
        logistic_line(z, y)
    found = fit_calibrator(expit(z), y, "temperature")
    assert np.isfinite([found.slope, found.bias]).all()


def test_json_gives_the_same_again() -> None:
    z, y = outcomes(300)
    for kind in KINDS:
        found = fit_calibrator(expit(z), y, kind)
        assert Calibrator.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(InputError, match="calibrator"):
        Calibrator.from_json({"kind": "magic"})


def test_unusable_input_is_refused() -> None:
    with pytest.raises(InputError, match="kind"):
        fit_calibrator(np.full(9, 0.5), np.ones(9), "magic")
    with pytest.raises(InputError, match="same length"):
        fit_calibrator(np.full(3, 0.5), np.ones(3))


def test_losses_of_known_probabilities() -> None:
    np.testing.assert_allclose(log_losses(np.array([0.25, 0.25]), np.array([1.0, 0.0])), [np.log(4), -np.log(0.75)])
