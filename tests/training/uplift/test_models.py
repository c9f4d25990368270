"""Uplift models: planted effects are found, calibrated, saved and loaded; where is nothing they say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.errors import ConfigError, InputError, NotFoundError
from training.folds import folds_of
from training.uplift.calibration import Calibrated, fit_line
from training.uplift.effects import Doubles, propensities, pseudo_outcomes
from training.uplift.zoo import UPLIFT_MODELS, uplift_model_class

Made = tuple[np.ndarray, np.ndarray, Doubles, Doubles, Doubles]


def make(n: int, seed: int, *, effect: float, by_user: bool = False) -> Made:
    """(x, treated, y, propensity, true uplift); one column has gaps, one is noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    uplift = effect * (x[:, 0] > 0)
    propensity = np.where(x[:, 1] > 0, 0.7, 0.3) if by_user else np.full(n, 0.5)
    treated = rng.random(n) < propensity
    y = (rng.random(n) < 0.2 + 0.1 * (x[:, 1] > 0) + treated * uplift).astype(np.float64)
    x[rng.random(n) < 0.1, 1] = np.nan
    return x, treated, y, propensity, uplift


@pytest.fixture(scope="module")
def planted() -> Made:
    return make(6_000, 0, effect=0.3)


@pytest.mark.parametrize("name", UPLIFT_MODELS)
def test_a_planted_effect_is_found_and_survives_saving(name: str, planted: Made, tmp_path: Path) -> None:
    x, treated, y, propensity, uplift = planted
    model = UPLIFT_MODELS[name]().fit(x, treated, y, propensity)
    found = model.predict(x)
    assert found.shape == (len(x),) and found.dtype == np.float64
    assert np.corrcoef(found, uplift)[0, 1] > 0.85
    # Half gain .3: the mean's standard error is .012.
    assert abs(found.mean() - uplift.mean()) < 0.05
    model.save(tmp_path)
    np.testing.assert_allclose(UPLIFT_MODELS[name].load(tmp_path).predict(x), found, rtol=0, atol=1e-12)
    assert not {path.suffix for path in tmp_path.iterdir()} - {".json", ".txt", ".npz", ".safetensors"}


@pytest.mark.parametrize("name", ["doubly_robust", "transformed_outcome"])
def test_equal_seeds_give_equal_models(name: str, planted: Made) -> None:
    x, treated, y, propensity, _ = planted
    one, two = (UPLIFT_MODELS[name]().fit(x, treated, y, propensity).predict(x) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_propensities_of_each_user_take_out_selection() -> None:
    _, treated, y, propensity, uplift = make(20_000, 1, effect=0.2, by_user=True)
    wrong, right = (float(pseudo_outcomes(treated, y, chance).mean()) for chance in (None, propensity))
    # Users with column 1 above zero are treated more often and come more often: 10 points times .4.
    assert abs(right - uplift.mean()) < 0.02 and abs(wrong - uplift.mean() - 0.04) < 0.02


def test_pseudo_outcomes_are_the_formula(planted: Made) -> None:
    _, treated, y, _, _ = planted
    e = 0.4
    mean_1, mean_0 = y[treated].mean(), y[~treated].mean()
    expected = [
        mean_1 - mean_0 + ((yi - mean_1) / e if ti else -(yi - mean_0) / (1 - e))
        for ti, yi in zip(treated, y, strict=True)
    ]
    np.testing.assert_allclose(pseudo_outcomes(treated, y, e), expected)
    assert pseudo_outcomes(treated, y, e).mean() == pytest.approx(mean_1 - mean_0)
    by_hand = [(yi - 0.1) / e if ti else -(yi - 0.1) / (1 - e) for ti, yi in zip(treated, y, strict=True)]
    np.testing.assert_allclose(pseudo_outcomes(treated, y, e, np.full(len(y), 0.1)), by_hand)


def test_the_line_is_least_squares_within_folds() -> None:
    rng = np.random.default_rng(2)
    fold = folds_of(300, 3, 0)
    raw = rng.normal(size=300) + 10.0 * fold
    effects = 0.5 * (raw - 10.0 * fold) - fold + rng.normal(size=300)
    design = np.column_stack([raw, *(fold == which for which in range(3))])
    solution = np.linalg.lstsq(design, effects, rcond=None)[0]
    line = fit_line(raw, effects, fold)
    assert line.slope == pytest.approx(solution[0])
    rest = effects - design @ solution
    inverse = np.linalg.inv(design.T @ design)
    sandwich = inverse @ (design.T * rest**2) @ design @ inverse
    assert line.slope_error == pytest.approx(np.sqrt(sandwich[0, 0]))
    assert line.used == line.slope > 0
    assert replace(line, slope_error=line.slope / 1.6).used == 0.0 == replace(line, slope=-line.slope).used


def test_a_slope_that_overstates_is_mended_and_noise_becomes_the_mean() -> None:
    x, treated, y, propensity, _ = make(6_000, 3, effect=0.3)
    fresh = make(6_000, 4, effect=0.3)
    model = Calibrated(UPLIFT_MODELS["two_model"]()).fit(x, treated, y, propensity)
    predicted = model.predict(fresh[0])
    slope = np.polyfit(predicted, fresh[4], 1)[0]
    assert abs(slope - 1) < abs(np.polyfit(model.raw(fresh[0]), fresh[4], 1)[0] - 1) + 0.02
    assert 0.85 < slope < 1.15
    spreads = []
    for seed in range(5, 9):
        x, treated, y, propensity, _ = make(3_000, seed, effect=0.0)
        nothing = Calibrated(UPLIFT_MODELS["transformed_outcome"]()).fit(x, treated, y, propensity)
        assert abs(nothing.line.effect) < 4 * nothing.line.error
        spreads.append(np.ptp(nothing.predict(x)))
    assert spreads.count(0.0) >= 2


def test_a_calibrated_model_is_saved_with_its_line(planted: Made, tmp_path: Path) -> None:
    x, treated, y, propensity, _ = planted
    model = Calibrated(UPLIFT_MODELS["transformed_outcome"](), folds=2).fit(x, treated, y, propensity)
    model.save(tmp_path)
    again = Calibrated.load(tmp_path, UPLIFT_MODELS["transformed_outcome"])
    assert again.line == model.line and again.folds == 2
    np.testing.assert_allclose(again.predict(x), model.predict(x), rtol=0, atol=1e-12)


def test_what_cannot_be_learned_from_is_refused(planted: Made) -> None:
    x, treated, y, propensity, _ = planted
    model = UPLIFT_MODELS["two_model"]()
    with pytest.raises(InputError, match="shapes"):
        model.fit(x, treated[:-1], y)
    with pytest.raises(InputError, match="y must be finite"):
        model.fit(x, treated, np.where(treated, np.nan, y))
    with pytest.raises(InputError, match="at least 100 users in each arm"):
        model.fit(x, np.arange(len(x)) < 99, y)
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        model.fit(x, treated, y, np.where(treated, 1.0, propensity))
    with pytest.raises(InputError, match="one for each of"):
        propensities(treated, propensity[:-1])
    with pytest.raises(ConfigError, match="uplift model two_model: trees"):
        UPLIFT_MODELS["two_model"](trees=3)
    with pytest.raises(ConfigError, match="folds"):
        Calibrated(model, folds=1)
    with pytest.raises(NotFoundError, match="x_learner"):
        uplift_model_class("y_learner")
