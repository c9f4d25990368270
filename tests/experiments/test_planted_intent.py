"""The benchmark of intent against planted chances: its figures by hand, what is told, and a small shop."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.special import expit

from experiments.benchmarks.intent.planted import (
    ASKED,
    Read,
    against_truth,
    benchmark_planted_intent,
    judge,
    render_planted_intent,
)
from training.intent.fit import fit_head
from training.intent.predictor import Matrix, Vector, predictor_class

N = 4_000


class Spoiled(predictor_class("logistic")):  # type: ignore[misc]
    """Takes shoppers from France for much keener than they are."""

    def log_odds(self, x: Matrix) -> Vector:
        return super().log_odds(x) + 2.0 * x[:, 1]


def people(seed: int) -> tuple[pd.DataFrame, Vector]:
    rng = np.random.default_rng(seed)
    index = pd.Index([f"u{row}" for row in range(N)], name="user_id")
    users = pd.DataFrame({"country": rng.choice(["DE", "FR"], N), "views_7d": rng.poisson(3, N)}, index=index)
    users["funnel_stage"] = "view"
    return users, expit(-2 + 0.4 * users["views_7d"].to_numpy())


def read(model: type) -> Read:
    users, truth = people(0)
    did = (np.random.default_rng(1).random(N) < truth).astype(np.float64)
    head = fit_head(ASKED[0], users, did, ["country", "funnel_stage"], model, 0)
    asked, chance = people(2)
    return Read(asked, ("country",), {"buy_7d": head}, {"buy_7d": chance}, 0.0)


def test_figures_by_hand() -> None:
    told = np.array([0.1, 0.2, 0.3, 0.6])
    found = against_truth(told, 0.1 + 0.5 * told)
    # All users lie on one line: their slope is known exactly.
    for name in ("slope", "slope_low", "slope_high"):
        assert found[name] == pytest.approx(0.5, abs=1e-9)
    assert found["mean_truth"] == pytest.approx(0.25) and found["mean_error"] == pytest.approx(0.2)
    assert found["absolute_error"] == pytest.approx((0.05 + 0.0 + 0.05 + 0.2) / 4)
    assert found["rank_correlation"] == pytest.approx(1)
    assert "slope" not in against_truth(np.full(4, 0.3), told)


def test_the_slope_is_that_of_least_squares_and_its_interval_covers_it() -> None:
    """Truth is linear in what is told, with a slope of 0.8, and scattered: 95 % intervals miss it in 5 of 100."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(100):
        told = rng.uniform(0.1, 0.6, 600)
        truth = 0.05 + 0.8 * told + rng.normal(0, 0.05 + 0.1 * told)
        found = against_truth(told, truth)
        assert found["slope"] == pytest.approx(np.polyfit(told, truth, 1)[0], abs=1e-9)
        missed += not found["slope_low"] < 0.8 < found["slope_high"]
    assert missed <= 12  # 5 and 3.2 deviations of a binomial


def test_a_right_head_is_told_everywhere_with_a_slope_of_one() -> None:
    found = judge(read(predictor_class("logistic")), "buy_7d")
    assert set(found) == {"all", "country=DE", "country=FR", "funnel_stage=view"}
    for figures in found.values():
        assert figures["told"] == 1
        assert figures["slope"] == pytest.approx(1, abs=0.12) and abs(figures["mean_error"]) < 0.08


def test_a_spoiled_head_is_not_told_where_it_is_spoiled() -> None:
    found = judge(read(Spoiled), "buy_7d")
    assert found["country=FR"]["told"] == 0 and "slope" not in found["country=FR"]


def test_a_small_shop() -> None:
    told: list[str] = []
    result = benchmark_planted_intent(
        [100],
        lambda stage, *_: told.append(stage),
        users=900,
        events=24_000,
        targets=ASKED[:1],
        predictor="logistic",
    )
    result = json.loads(json.dumps(result, allow_nan=False))
    (row,) = result["rows"]
    assert (row["target"], result["seeds"]) == ("buy_7d", 1) and told
    assert row["metrics"].keys() == row["sd"].keys() and row["n"] > 700
    assert row["seconds"] > 0 and row["peak_mb"] > 0
    # So few outcomes leave the numbers wide; that they mean something is sure.
    assert row["metrics"]["rank_correlation"] > 0.3
    console = Console(width=200, record=True)
    console.print(render_planted_intent(result))
    text = console.export_text()
    assert "buy_7d" in text and "±" not in text
