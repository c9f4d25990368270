"""What was predicted of users against what they did: by hand, and where there is something to find."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from experiments.compare import Comparison
from experiments.experiment import Experiment, make_experiment
from experiments.intents import Foretold, judge_intents
from experiments.reliability_plot import reliability_plot
from experiments.render import render_report
from features.dataset import Dataset
from features.errors import ConfigError, NotFoundError
from features.schema import DAY_MS, EventType
from tests.conftest import ARMS, INTENTS
from training.intent.fit import Contest, fit_head
from training.intent.predictor import predictor_class
from training.intent.targets import Target

TARGET = Target(name="buy", events=(EventType.PURCHASE,), horizon_days=7)


def test_outcomes_and_figures_are_those_of_the_log(shop_comparison: Comparison, shop_data: Dataset) -> None:
    """Read again with pandas: who bought in the week after, how often a pair of users is in order, mean squares."""
    report, told = shop_comparison.report["intents"]["buy_7d"], shop_comparison.foretold["buy_7d"]
    as_of = round(pd.Timestamp(shop_comparison.report["as_of"]).timestamp() * 1000)
    events = pd.concat([pd.read_parquet(path) for path in shop_data.files() if "events" in path.as_posix()])
    week = events[(events["ts"] >= as_of) & (events["ts"] < as_of + 7 * DAY_MS) & (events["event_type"] == "purchase")]
    users = shop_comparison.trained.snapshot.user_matrix.index
    merged = shop_comparison.asked.histories  # whoever is asked is somebody's final name
    assert len(merged.user_ids) and (report["n_users"], len(told.happened)) == (len(users), len(users))
    bought = users.isin(week["user_id"])
    assert bought.sum() > 50 and np.mean(bought == (told.happened == 1)) > 0.99  # visitors who became known differ
    y = told.happened
    for name, p in told.chances.items():
        found = report["predictors"][name]
        pairs = p[y == 1][:, None] - p[y == 0][None, :]
        assert found["roc_auc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
        assert found["brier"] == pytest.approx(((p - y) ** 2).mean())
        assert found["log_loss"] == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean())
        assert found["roc_auc"] > 0.6
    one, other = (told.chances[name] for name in ("line", "trees"))
    score = np.log(np.where(y == 1, other, 1 - other)) - np.log(np.where(y == 1, one, 1 - one))
    lift = report["predictors"]["trees"]["lift"]
    assert lift["difference"] == pytest.approx(score.mean()) and lift["low"] < score.mean() < lift["high"]
    assert "lift" not in report["predictors"]["line"]
    best = min(report["predictors"], key=lambda name: report["predictors"][name]["learned_log_loss"])
    assert report["chosen"] == told.chosen == best


def test_a_horizon_beyond_the_data_is_not_measurable(shop_comparison: Comparison) -> None:
    report = shop_comparison.report["intents"]["away_20d"]
    assert report["horizon_days"] == 20 and "ends on 2025-05-06, after the data" in report["not_measurable"]
    assert "away_20d" not in shop_comparison.foretold
    assert shop_comparison.trained.contest is not None
    assert set(shop_comparison.trained.contest.won.heads) == {"buy_7d", "away_20d"}


def test_the_report_is_read_by_people_and_programs(shop_comparison: Comparison) -> None:
    assert json.loads(json.dumps(shop_comparison.report["intents"])) == shop_comparison.report["intents"]
    console = Console(width=200, record=True)
    console.print(render_report(shop_comparison.report))
    text = console.export_text()
    assert "what users were about to do" in text and "buy_7d" in text and "(served)" in text
    assert "not measurable, its horizon ends" in text


def planted(n: int, off: float = 0.0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Users, their true chances, and what came; French ones buy more by ``off`` in log-odds than they used to."""
    rng = np.random.default_rng(int(off * 10) + 5)
    users = pd.DataFrame(
        {"visits": rng.poisson(3, n).astype(float), "country": rng.choice(["DE", "FR"], n), "funnel_stage": "view"},
        index=pd.Index([f"u{row}" for row in range(n)]),
    )
    chance = 1 / (1 + np.exp(2.0 - 0.5 * users["visits"] - off * (users["country"] == "FR")))
    return users, chance.to_numpy(), (rng.random(n) < chance).to_numpy(dtype=np.float64)


@pytest.fixture(scope="module")
def experiment(shop_data: Dataset) -> Experiment:
    return make_experiment(name="planted", data=shop_data.folder, control="popular", arms=ARMS, resamples=400)


def judged(experiment: Experiment, off: float) -> dict[str, Any]:
    users, _, did = planted(6_000)
    makers = {"flat": {"ridge": 1e9}, "line": {}}
    heads = {
        name: fit_head(TARGET, users, did, ["country"], lambda: predictor_class("logistic")(**settings), 0)  # noqa: B023
        for name, settings in makers.items()
    }
    asked, _, came = planted(4_000, off)
    chances = {
        name: 1 / (1 + np.exp(-head.predictor.log_odds(head.encoder.transform(asked)))) for name, head in heads.items()
    }
    contest = Contest(0, {"buy": heads})
    known = {"buy": Foretold(came, chances, contest.chosen["buy"])}
    report: dict[str, Any] = judge_intents(known, {}, contest, asked, ("country",), experiment)["buy"]
    return report


def test_what_is_better_ships_and_what_came_true_holds(experiment: Experiment) -> None:
    report = judged(experiment, 0.0)
    assert report["chosen"] == "line" and report["predictors"]["line"]["verdict"] == "ship"
    assert set(report["segments"]) == {"all", "country=DE", "country=FR", "funnel_stage=view"}
    assert all(each["held"] and each["told"] == 1.0 for each in report["segments"].values())
    assert report["segments"]["all"]["ece"] < 0.03
    assert sum(report["segments"][f"country={name}"]["n"] for name in ("DE", "FR")) == 4_000


def test_a_segment_that_changed_is_told(experiment: Experiment) -> None:
    """Nothing could be known of it when the head was learned; the report says that its numbers no longer hold."""
    segments = judged(experiment, 1.0)["segments"]
    assert segments["country=DE"]["held"] and not segments["country=FR"]["held"]
    assert segments["country=FR"]["reason"] == "mean_off" and segments["country=FR"]["mean"][0] > 0.3
    assert segments["country=FR"]["told"] == 1.0 and segments["country=FR"]["ece"] > 0.1


def test_reliability_is_drawn_for_every_target(shop_comparison: Comparison) -> None:
    figure = reliability_plot(shop_comparison.foretold)
    assert isinstance(figure, Figure) and len(figure.axes) == 1
    axes = figure.axes[0]
    assert axes.get_title("left").startswith("buy_7d")
    assert axes.get_legend_handles_labels()[1] == ["line", "trees"]


@pytest.mark.parametrize(
    ("predictors", "error", "message"),
    [
        ({}, ConfigError, "predictors must name at least one"),
        ({"a": {"predictor": "forest"}}, NotFoundError, "forest"),
        ({"a": {"ridge": 1}}, ConfigError, "predictors.a.predictor is required"),
    ],
)
def test_predictors_are_checked_with_the_experiment(
    shop_data: Dataset, predictors: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_experiment(
            name="x", data=shop_data.folder, control="popular", arms=ARMS, intents=INTENTS, predictors=predictors
        )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"horizon_days": 0}, "intents.0.horizon_days"),
        ({"events": ["dance"]}, "intents.0.events.0"),
        ({"name": "Buy!"}, "intents.0.name"),
        ({"events": []}, "intents.0.events"),
        ({"category": ""}, "intents.0.category"),
        ({"x": 1}, "intents.0.x is not a known key"),
    ],
)
def test_a_bad_declaration_is_named(shop_data: Dataset, change: dict[str, Any], complaint: str) -> None:
    declared = [{"name": "buy", "events": ["purchase"], "horizon_days": 7, **change}]
    with pytest.raises(ConfigError, match=complaint):
        make_experiment(name="x", data=shop_data.folder, control="popular", arms=ARMS, intents=declared)


def test_targets_have_different_names(shop_data: Dataset) -> None:
    declared = [{"name": "buy", "events": ["purchase"], "horizon_days": days} for days in (7, 30)]
    with pytest.raises(ConfigError, match="must have different names, received 'buy'"):
        make_experiment(name="x", data=shop_data.folder, control="popular", arms=ARMS, intents=declared)
