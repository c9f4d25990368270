"""One contract for every registered predictor of a probability."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from features.errors import ConfigError, InputError, NotFoundError
from training.intent.average import Average
from training.intent.boosting import Boosting
from training.intent.logistic import Logistic
from training.intent.network import Network
from training.intent.predictor import Predictor, checked_examples, predictor_class, predictors

SMALL = {
    "logistic": {"pieces": 6},
    "boosting": {"trees": 60, "members": 2, "rate": 0.1, "min_rows": 20},
    "network": {"width": 16, "members": 2, "epochs": 20, "rate": 5e-3, "pieces": 6},
}
SMALL["average"] = {"members": ("logistic", "network"), "settings": dict(SMALL)}
ROWS = 1_500

Examples = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]


def planted(seed: int = 0, rows: int = ROWS) -> Examples:
    """A bend, a line, a gap that tells, and noise: x, outcomes, and their true log-odds."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4)).astype(np.float32)
    gap = random.random(rows) < 0.3
    truth = 2.5 * np.abs(x[:, 0]) - 2.5 + x[:, 1] + 1.5 * gap
    x[gap, 2] = np.nan
    y = (random.random(rows) < expit(truth)).astype(np.float64)
    return x, y, truth.astype(np.float64)


@pytest.fixture(scope="module")
def examples() -> Examples:
    return planted()


@pytest.fixture(scope="module", params=["logistic", "boosting", "network", "average"])
def fitted(request: pytest.FixtureRequest, examples: Examples) -> Predictor:
    x, y, _ = examples
    return predictor_class(request.param)(**SMALL[request.param]).fit(x, y)


def test_finds_what_was_planted(fitted: Predictor) -> None:
    x, y, truth = planted(seed=1)
    assert roc_auc_score(y, fitted.predict(x)) > roc_auc_score(y, truth) - 0.025
    assert abs(fitted.predict(x).mean() - expit(truth).mean()) < 0.03


def test_predicts_probabilities_of_its_log_odds(fitted: Predictor, examples: Examples) -> None:
    x = examples[0]
    p = fitted.predict(x)
    assert p.shape == (ROWS,) and p.dtype == np.float64
    np.testing.assert_allclose(logit(p), fitted.log_odds(x), atol=1e-9)


def test_contributions_add_up(fitted: Predictor, examples: Examples) -> None:
    x = examples[0]
    contributions = fitted.explain(x)
    assert contributions.shape == x.shape
    error = np.abs(fitted.base + contributions.sum(axis=1) - fitted.log_odds(x))
    exact = fitted.name in ("logistic", "boosting")
    assert error.max() < (1e-9 if exact else 0.1), error.max()
    assert error.mean() < (1e-9 if exact else 0.01), error.mean()
    # Noise moves least.
    assert np.abs(contributions).mean(axis=0).argmin() == 3


def test_saved_and_loaded_answers_are_equal(fitted: Predictor, examples: Examples, tmp_path: Path) -> None:
    x = examples[0][:100]
    fitted.save(tmp_path / "model")
    again = type(fitted).load(tmp_path / "model")
    assert again.config == fitted.config
    np.testing.assert_array_equal(again.log_odds(x), fitted.log_odds(x))
    np.testing.assert_array_equal(again.explain(x), fitted.explain(x))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".json", ".npz", ".txt", ".safetensors"}


def test_equal_inputs_give_equal_models_and_leave_the_random_state_alone(fitted: Predictor, examples: Examples) -> None:
    import torch

    x, y, _ = examples
    before = torch.random.get_rng_state()
    again = type(fitted)(**fitted.config.model_dump()).fit(x, y)
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(again.log_odds(x), fitted.log_odds(x))


def test_rows_are_answered_one_by_one_as_together(fitted: Predictor, examples: Examples) -> None:
    x = examples[0][:5]
    together = fitted.log_odds(x)
    single = np.concatenate([fitted.log_odds(x[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(single, together, atol=1e-5)
    assert fitted.log_odds(x[:0]).shape == (0,) and fitted.explain(x[:0]).shape == (0, 4)


def test_the_fast_way_of_a_single_row_gives_the_same(fitted: Predictor, examples: Examples) -> None:
    x = np.concatenate([examples[0][:40], np.full((1, 4), np.nan), np.zeros((1, 4))]).astype(np.float32)
    for row in (x[i : i + 1] for i in range(len(x))):
        log_odds, contributions = fitted.answer_one(row)
        assert log_odds == pytest.approx(fitted.log_odds(row)[0], abs=1e-12)
        np.testing.assert_allclose(contributions, fitted.explain(row)[0], rtol=0, atol=1e-12)


def test_missing_where_training_had_none_is_answered(fitted: Predictor) -> None:
    assert np.isfinite(fitted.log_odds(np.full((1, 4), np.nan, dtype=np.float32))).all()


def test_wrong_columns_and_infinite_values_are_refused(fitted: Predictor) -> None:
    with pytest.raises(InputError, match="4 columns"):
        fitted.log_odds(np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(InputError, match="finite"):
        fitted.explain(np.full((1, 4), np.inf, dtype=np.float32))


@pytest.mark.parametrize("name", ["logistic", "boosting", "network"])
def test_weights_of_zero_take_rows_away(name: str) -> None:
    x, y, _ = planted(rows=600)
    flipped = np.concatenate([y, 1 - y])
    weight = np.concatenate([np.ones(600), np.zeros(600)])
    settings = SMALL[name] | ({"min_rows": 1} if name == "boosting" else {})
    model = predictor_class(name)(**settings).fit(np.concatenate([x, x]), flipped, weight)
    assert roc_auc_score(y, model.predict(x)) > 0.75


def test_logistic_without_pieces_is_logistic_regression() -> None:
    """Against iteratively reweighted least squares, written down here."""
    random = np.random.default_rng(3)
    x = random.integers(0, 2, size=(400, 2)).astype(np.float32)
    y = (random.random(400) < expit(x[:, 0] - 0.5)).astype(np.float64)
    model = Logistic(pieces=0, ridge=2.0).fit(x, y)
    s = (x - x.mean(axis=0)) / x.std(axis=0)
    line = s / np.sqrt(1 + (s / 3) ** 2)
    line = np.column_stack([np.ones(400), line - line.mean(axis=0)]).astype(np.float64)
    beta, penalty = np.zeros(3), np.diag([0.0, 2.0, 2.0])
    for _ in range(30):
        p = expit(line @ beta)
        beta += np.linalg.solve(line.T * (p * (1 - p)) @ line + penalty, line.T @ (y - p) - penalty @ beta)
    np.testing.assert_allclose(model.log_odds(x), line @ beta, atol=1e-4)


def test_more_steps_leave_a_smaller_completeness_error(examples: Examples) -> None:
    x, y, _ = examples
    errors = []
    for steps in (1, 32):
        model = Network(**SMALL["network"], explain_steps=steps).fit(x, y)
        errors.append(np.abs(model.completeness_error(x)).mean())
    assert errors[1] < errors[0] / 5


def test_average_is_the_mean_of_its_members(examples: Examples) -> None:
    x, y, _ = examples
    members = [Logistic(**SMALL["logistic"]).fit(x, y), Network(**SMALL["network"]).fit(x, y)]
    average = Average(members=("logistic", "network")).of(members)
    np.testing.assert_allclose(average.log_odds(x), (members[0].log_odds(x) + members[1].log_odds(x)) / 2)


@pytest.mark.parametrize(
    ("x", "y", "weight"),
    [
        (np.zeros((3, 2)), np.zeros(3), None),
        (np.zeros((3, 2)), np.array([0.0, 1.0]), None),
        (np.zeros((2, 2)), np.array([0.0, 0.5]), None),
        (np.full((2, 2), np.inf), np.array([0.0, 1.0]), None),
        (np.zeros((2, 2)), np.array([0.0, 1.0]), np.array([1.0, -1.0])),
        (np.zeros((2, 2)), np.array([0.0, 1.0]), np.array([1.0, 0.0])),
    ],
)
def test_unusable_examples_are_refused(x: NDArray, y: NDArray, weight: NDArray | None) -> None:
    with pytest.raises(InputError):
        checked_examples(x.astype(np.float32), y, weight)


def test_registry_and_configurations() -> None:
    assert {Logistic, Boosting, Network, Average} <= set(predictors().values())
    with pytest.raises(NotFoundError, match="logistic"):
        predictor_class("oracle")
    with pytest.raises(ConfigError, match="not a known key"):
        Boosting(trees_at_most=3)
    with pytest.raises(NotFoundError):
        Average(members=("oracle",))
    for name, settings in SMALL.items():
        config = predictor_class(name)(**settings).config
        assert type(config)(**json.loads(config.model_dump_json())) == config
