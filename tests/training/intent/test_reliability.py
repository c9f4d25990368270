"""Calibration error against plain loops, and its noise against the normal distribution."""

from __future__ import annotations

import numpy as np
import pytest

from features.errors import InputError
from training.intent.reliability import brier, chance_calibration_error, expected_calibration_error, reliability


def test_error_is_the_mean_distance_over_bins() -> None:
    random = np.random.default_rng(0)
    p, y = random.random(103), (random.random(103) < 0.4).astype(np.float64)
    order = sorted(range(103), key=lambda i: p[i])
    sizes = [11] * 3 + [10] * 7
    want, start = 0.0, 0
    for size in sizes:
        rows = order[start : start + size]
        want += size / 103 * abs(sum(p[i] for i in rows) / size - sum(y[i] for i in rows) / size)
        start += size
    assert expected_calibration_error(p, y) == pytest.approx(want)
    assert [each.n for each in reliability(p, y)] == sizes


def test_bins_by_hand() -> None:
    first, second = reliability(np.array([0.4, 0.1, 0.9, 0.6]), np.array([0.0, 1.0, 1.0, 1.0]), bins=2)
    assert (first.predicted, first.observed) == (pytest.approx(0.25), 0.5)
    assert (second.predicted, second.observed) == (pytest.approx(0.75), 1.0)
    assert expected_calibration_error(np.array([0.4, 0.1, 0.9, 0.6]), np.array([0.0, 1.0, 1.0, 1.0]), 2) == 0.25


def test_noise_of_equal_predictions_has_a_closed_form() -> None:
    """Ten bins of 1,000 rows at .3: the mean of |N(0, sqrt(.3 * .7 / 1,000))| is sqrt(2 / pi) of that deviation."""
    mean, high = chance_calibration_error(np.full(10_000, 0.3), draws=400)
    deviation = np.sqrt(0.3 * 0.7 / 1_000)
    one_bin = deviation * np.sqrt(1 - 2 / np.pi)
    assert abs(mean - np.sqrt(2 / np.pi) * deviation) < 4 * one_bin / np.sqrt(10 * 400)
    assert mean + 1.2 * one_bin / np.sqrt(10) < high < mean + 2.1 * one_bin / np.sqrt(10)


def test_brier_by_hand() -> None:
    assert brier(np.array([0.5, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.625)


def test_more_bins_than_rows_are_refused() -> None:
    with pytest.raises(InputError):
        reliability(np.ones(3), np.ones(3), bins=4)
