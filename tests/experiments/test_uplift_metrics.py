"""Uplift figures against loops, Radcliffe's own counts, and planted truth."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.benchmarks.uplift.judged import comparison, figure_rows, terms_of
from experiments.benchmarks.uplift.render import qini_plot
from experiments.uplift_metrics import (
    auuc_terms,
    calibration_bins,
    qini_curve,
    qini_terms,
    slope_terms,
    uplift_at_terms,
)
from features.errors import InputError
from training.uplift.effects import pseudo_outcomes


def trial(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true uplift, treated, y) of users who gain 0 to .4."""
    rng = np.random.default_rng(seed)
    uplift = 0.4 * rng.random(n)
    treated = rng.random(n) < 0.4
    return uplift, treated, (rng.random(n) < 0.2 + treated * uplift).astype(np.float64)


def test_figures_are_areas_and_means_of_a_loop_over_prefixes() -> None:
    uplift, treated, y = trial(200, 0)
    effects, n = pseudo_outcomes(treated, y, 0.4), 200
    order = np.argsort(-uplift)
    gain = [0.0]
    for user in order:
        gain.append(gain[-1] + effects[user] / n)
    area = sum((gain[i] + gain[i + 1]) / 2 / n for i in range(n))
    assert auuc_terms(uplift, effects).mean() == pytest.approx(area)
    assert qini_terms(uplift, effects).mean() == pytest.approx(area - gain[-1] / 2)
    share, curve = qini_curve(uplift, effects)
    np.testing.assert_allclose(curve, gain)
    np.testing.assert_allclose(share, np.arange(n + 1) / n)
    assert uplift_at_terms(uplift, effects, 0.1).mean() == pytest.approx(effects[order[:20]].mean())
    assert uplift_at_terms(uplift, effects, 1.0).mean() == pytest.approx(effects.mean())
    terms = slope_terms(uplift, effects)
    assert terms is not None and terms.mean() == pytest.approx(np.polyfit(uplift, effects, 1)[0])


def test_the_curve_is_radcliffes_where_arms_are_alike_in_every_prefix() -> None:
    rng = np.random.default_rng(1)
    score = np.repeat(np.arange(50.0), 4)
    treated = np.tile([True, True, False, False], 50)
    y = (rng.random(200) < 0.4).astype(np.float64)
    # The same means in both arms everywhere but for what chance does: centre each arm as the pseudo-outcomes do.
    share, gain = qini_curve(score, pseudo_outcomes(treated, y))
    for at, g in zip(share[1:], gain[1:], strict=True):
        top = score >= np.sort(score)[::-1][round(at * 200) - 1]
        n_t, n_c = (treated & top).sum(), (~treated & top).sum()
        radcliffe = y[treated & top].sum() - y[~treated & top].sum() * n_t / n_c
        assert g * treated.sum() == pytest.approx(radcliffe)


def test_ties_are_what_random_orders_are_on_average() -> None:
    _, treated, y = trial(60, 2)
    effects = pseudo_outcomes(treated, y)
    score, rng = np.repeat([2.0, 1.0, 0.0], 20), np.random.default_rng(0)
    for figure in (qini_terms, lambda s, z: uplift_at_terms(s, z, 0.25)):
        shuffled = [figure(score + 1e-6 * rng.random(60), effects).mean() for _ in range(4_000)]
        error = np.std(shuffled) / np.sqrt(len(shuffled))
        assert abs(figure(score, effects).mean() - np.mean(shuffled)) < 4 * error
    assert qini_terms(np.ones(60), effects).mean() == pytest.approx(0.0, abs=1e-12)
    assert slope_terms(np.ones(60), effects) is None


def test_constants_between_folds_change_nothing() -> None:
    uplift, treated, y = trial(300, 3)
    effects, fold = pseudo_outcomes(treated, y), np.arange(300) % 3
    moved = uplift + 100.0 * fold
    for figure in (qini_terms, auuc_terms, lambda s, z, f: uplift_at_terms(s, z, 0.2, f), slope_terms):
        np.testing.assert_allclose(figure(moved, effects, fold), figure(uplift, effects, fold), atol=1e-8)
    by_fold = [qini_terms(uplift[fold == which], effects[fold == which]).mean() for which in range(3)]
    assert qini_terms(uplift, effects, fold).mean() == pytest.approx(np.mean(by_fold))


def test_planted_uplift_has_its_own_qini_slope_and_bins() -> None:
    uplift, treated, y = trial(40_000, 4)
    effects = pseudo_outcomes(treated, y, 0.4)
    row = figure_rows({"truth": terms_of(uplift, uplift, effects)})[0]
    # Uniform from 0 to .4: the area between .4 p - .2 p^2 and .2 p is 1/30; the best tenth gains .38 on average.
    for figure, expected in (("qini", 0.4 / 12), ("uplift@10", 0.38), ("uplift@30", 0.34), ("slope", 1.0)):
        assert row["low"][figure] < expected < row["high"][figure]
    assert row["orders_by_uplift"] == "yes"
    bins = calibration_bins(uplift, effects, bins=5, seed=0)
    assert [one.n for one in bins] == [8_000] * 5
    np.testing.assert_allclose([one.predicted for one in bins], [0.36, 0.28, 0.2, 0.12, 0.04], atol=0.01)
    assert sum(one.observed.low < one.predicted < one.observed.high for one in bins) >= 4


def test_noise_is_not_claimed_and_alike_models_cannot_be_told_apart() -> None:
    uplift, treated, y = trial(5_000, 5)
    effects, rng = pseudo_outcomes(treated, y, 0.4), np.random.default_rng(6)
    noise = rng.random(5_000)
    models = {"truth": uplift, "nearly": uplift + 0.02 * rng.random(5_000), "noise": noise, "flat": np.ones(5_000)}
    terms = {name: terms_of(score, score, effects) for name, score in models.items()}
    orders = {row["model"]: row["orders_by_uplift"] for row in figure_rows(terms)}
    assert orders == {"truth": "yes", "nearly": "yes", "noise": "cannot_tell", "flat": "cannot_tell"}
    assert comparison(terms)["verdict"] == "cannot_tell"
    clear = comparison({name: terms[name] for name in ("truth", "noise", "flat")})
    assert clear["best"] == clear["verdict"] == "truth" and clear["over"]["noise"]["low"] > 0


def test_what_has_no_ranking_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="one number each per user"):
        qini_terms(np.ones(3), np.ones(2))
    with pytest.raises(InputError, match="finite"):
        qini_curve(np.array([np.nan, 1.0]), np.ones(2))
    with pytest.raises(InputError, match="share"):
        uplift_at_terms(np.ones(2), np.ones(2), 0.0)


def test_the_picture_has_a_line_per_model_and_one_of_chance() -> None:
    curve = {"share": [0.0, 0.5, 1.0], "gain": [0.0, 0.04, 0.05]}
    (axes,) = qini_plot({"a": curve, "b": curve}, title="t").axes
    assert [line.get_label() for line in axes.lines] == ["a", "b", "at random"]
    assert axes.lines[-1].get_ydata()[-1] == pytest.approx(5.0)
