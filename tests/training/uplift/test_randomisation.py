"""A coin passes, anything else is refused by the names of what tells the arms apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from features.errors import InputError
from training.uplift.randomisation import balance, check_randomised

NAMES = ["recency", "spend", "club"]


def covariates(n: int, rng: np.random.Generator) -> np.ndarray:
    x = np.column_stack([rng.normal(size=n), rng.lognormal(sigma=2.0, size=n), rng.random(n) < 0.03])
    x[rng.random(n) < 0.1, 0] = np.nan
    return x.astype(np.float32)


def test_coins_give_uniform_p_values() -> None:
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = covariates(1_500, rng)
        propensity = np.where(x[:, 2] > 0, 0.8, 0.3) if seed % 2 else None
        treated = rng.random(len(x)) < (0.3 if propensity is None else propensity)
        found.append(balance(x, treated, propensity, names=NAMES).p_value)
    assert kstest(found, "uniform").pvalue > 0.01


def test_the_statistic_is_the_score_test_of_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((400, 2)) < 0.4).astype(np.float32)
    treated = rng.random(400) < 0.5
    # n R^2 of the least squares of the arm on the covariates.
    design = np.column_stack([np.ones(400), x])
    fitted = design @ np.linalg.lstsq(design, treated.astype(float), rcond=None)[0]
    r_squared = 1 - ((treated - fitted) ** 2).sum() / ((treated - treated.mean()) ** 2).sum()
    found = balance(x, treated, names=["a", "b"])
    assert found.statistic == pytest.approx(400 * r_squared, rel=1e-6)
    assert found.columns == 2


@pytest.mark.parametrize(
    ("chance", "name"),
    [
        (lambda x: np.where(np.nan_to_num(x[:, 0]) > 0, 0.6, 0.4), "recency"),
        (lambda x: np.where(np.abs(np.nan_to_num(x[:, 0])) > 1, 0.65, 0.45), "recency"),
        (lambda x: np.where(np.isnan(x[:, 0]), 0.8, 0.5), "recency"),
        (lambda x: np.where(x[:, 1] > 5, 0.65, 0.45), "spend"),
        (lambda x: np.where(x[:, 2] > 0, 0.9, 0.5), "club"),
    ],
)
def test_a_log_in_which_no_coin_decided_is_refused_unless_propensities_explain_it(chance: object, name: str) -> None:
    rng = np.random.default_rng(1)
    x = covariates(6_000, rng)
    propensity = chance(x)  # type: ignore[operator]
    treated = rng.random(len(x)) < propensity
    with pytest.raises(InputError, match=rf"must be randomised.*differences in {name} .*give each user's propensity"):
        check_randomised(x, treated, names=NAMES)
    assert check_randomised(x, treated, propensity, names=NAMES).p_value > 0.001
    with pytest.raises(InputError, match="by the propensities given"):
        check_randomised(x, treated, 1 - propensity, names=NAMES)


def test_arms_that_do_not_overlap_are_refused() -> None:
    rng = np.random.default_rng(2)
    x = covariates(500, rng)
    propensity = np.full(500, 0.5)
    propensity[0] = 0.004
    with pytest.raises(InputError, match=r"both arms must overlap.*0.004 to 0.5"):
        check_randomised(x, rng.random(500) < 0.5, propensity, names=NAMES)
    with pytest.raises(InputError, match="users of both arms"):
        check_randomised(x, np.ones(500, dtype=bool), names=NAMES)
    with pytest.raises(InputError, match="names"):
        balance(x, rng.random(500) < 0.5, names=NAMES[:2])
