"""Rolling origins: each is the comparison that it would be alone, and the figures are followed over time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from experiments.backtest import Backtest, backtest, origins_ms, track_backtest
from experiments.backtest_render import backtest_plot, render_backtest
from experiments.compare import compare
from experiments.experiment import Experiment, make_experiment
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import iso
from features.schema import DAY_MS
from training.tracking import client


@pytest.fixture(scope="module")
def experiment(shop_data: Dataset) -> Experiment:
    return make_experiment(
        name="rolling",
        data=shop_data.folder,
        horizon_days=14,
        control="popular",
        arms={"popular": {"model": "bestsellers", "by": []}, "history": {"model": "history"}},
        min_users=100,
        intents=[{"name": "buy_14d", "events": ["purchase"], "horizon_days": 14}],
        predictors={"line": {"predictor": "logistic"}},
    )


@pytest.fixture(scope="module")
def found(shop_data: Dataset, experiment: Experiment) -> Backtest:
    with Engine.duckdb() as engine:
        return backtest(engine, shop_data, experiment, 2)


def test_an_origin_is_the_comparison_that_it_would_be_alone(
    shop_data: Dataset, experiment: Experiment, found: Backtest
) -> None:
    report = found.report
    assert report["origins"] == ["2025-04-02", "2025-04-16"]
    alone = experiment.model_copy(update={"as_of": "2025-04-02"})
    with Engine.duckdb() as engine:
        first = compare(engine, shop_data, alone).report
    assert {**found.comparisons[0], "seconds": None} == {**first, "seconds": None}
    for name, arm in report["arms"].items():
        at = [each["arms"][name] for each in found.comparisons]
        values = [each["ndcg@20"]["mean"] for each in at]
        assert arm["ndcg@20"] == {"mean": np.mean(values), "sd": np.std(values, ddof=1), "values": values}
        assert arm["ships"] == sum(each.get("verdict") == "ship" for each in at)
    assert "lift" not in report["arms"]["popular"] and report["arms"]["history"]["ships"] == 2
    told = report["intents"]["buy_14d"]["line"]
    values = [each["intents"]["buy_14d"]["predictors"]["line"]["roc_auc"] for each in found.comparisons]
    assert told["roc_auc"]["values"] == values and told["served"] == 2


def test_a_backtest_is_one_run_whose_steps_are_the_origins(
    shop_data: Dataset, experiment: Experiment, found: Backtest
) -> None:
    run_id = track_backtest(found, shop_data, experiment)
    for name, values in (
        ("history/ndcg_at_20", found.report["arms"]["history"]["ndcg@20"]["values"]),
        ("intent/buy_14d/line/ece", found.report["intents"]["buy_14d"]["line"]["ece"]["values"]),
    ):
        logged = sorted(client().get_metric_history(run_id, name), key=lambda point: point.step)
        assert [point.value for point in logged] == values
    assert {each.path for each in client().list_artifacts(run_id)} == {"backtest.json", "origins"}


def test_it_is_read_by_people_and_programs(found: Backtest) -> None:
    assert json.loads(json.dumps(found.report)) == found.report
    console = Console(width=200, record=True)
    console.print(render_backtest(found.report))
    text = console.export_text()
    assert "2 origins from 2025-04-02 to 2025-04-16" in text and "2 of 2" in text and "±" in text
    figure = backtest_plot(found.report)
    assert [axes.get_title("left") for axes in figure.axes] == ["ndcg@20", "buy_14d: log loss"]
    history = found.report["arms"]["history"]["ndcg@20"]["values"]
    assert any(np.asarray(line.get_ydata()).tolist() == history for line in figure.axes[0].lines)


def test_origins_are_a_window_or_a_step_apart(shop_data: Dataset, experiment: Experiment) -> None:
    with Engine.duckdb() as engine:
        instants, horizon_ms = origins_ms(engine, shop_data, experiment, 3, None)
        closer, _ = origins_ms(engine, shop_data, experiment, 3, 7)
    assert horizon_ms == 14 * DAY_MS and iso(instants[-1]) == "2025-04-16"
    assert np.diff(instants).tolist() == [14 * DAY_MS] * 2 and np.diff(closer).tolist() == [7 * DAY_MS] * 2


@pytest.mark.parametrize(
    ("origins", "step", "message"),
    [
        (1, None, "must be at least 2"),
        (3, 0.0, "must be at least 2, and above 0"),
        (50, None, "origins must be at most the [0-9]+ that leave data to learn from, received 50"),
    ],
)
def test_what_the_data_does_not_hold_is_refused(
    shop_data: Dataset, experiment: Experiment, origins: int, step: float | None, message: str
) -> None:
    with Engine.duckdb() as engine, pytest.raises(ConfigError, match=message):
        backtest(engine, shop_data, experiment, origins, step)


def test_the_most_origins_that_are_offered_can_be_run(shop_data: Dataset, experiment: Experiment) -> None:
    """The first of them leaves a label window, and an event before it."""
    with Engine.duckdb() as engine:
        fit: Any = None
        for origins in range(2, 50):
            try:
                fit = origins_ms(engine, shop_data, experiment, origins, None)[0]
            except ConfigError:
                break
    assert fit is not None
    assert fit[0] - 14 * DAY_MS > shop_data.first_ms >= fit[0] - 28 * DAY_MS
