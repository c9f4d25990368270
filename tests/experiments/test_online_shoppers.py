"""The benchmark of session intent on a file of the same columns, made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from experiments.benchmarks.intent.online_shoppers import (
    FEATURE_SETS,
    MODELS,
    benchmark_online_shoppers,
    render_online_shoppers,
)
from experiments.benchmarks.intent.shopper_features import denominator, shopper_features
from features.errors import InputError, NotFoundError

N = 400


def sessions() -> pd.DataFrame:
    random = np.random.default_rng(0)
    pages = random.integers(1, 30, N)
    bounced = random.integers(0, 2, N)
    value = random.exponential(10, N) * (random.random(N) < 0.3)
    odds = -3 + 0.03 * pages + 5 * (value > 0)
    return pd.DataFrame(
        {
            "Administrative": random.integers(0, 4, N),
            "Administrative_Duration": random.exponential(50, N),
            "Informational": 0,
            "Informational_Duration": 0.0,
            "ProductRelated": pages,
            "ProductRelated_Duration": random.exponential(50, N) * pages,
            "BounceRates": 0.2 * bounced / pages,
            "ExitRates": 0.2 * (bounced + 0.5) / pages,
            "PageValues": value,
            "SpecialDay": 0.0,
            "Month": random.choice(["May", "Nov"], N),
            "TrafficType": random.integers(1, 5, N),
            "VisitorType": random.choice(["New_Visitor", "Returning_Visitor"], N),
            "Weekend": random.random(N) < 0.3,
            "Revenue": random.random(N) < 1 / (1 + np.exp(-odds)),
        }
    )


def test_each_row_is_made_from_itself_and_never_from_the_label() -> None:
    frame = sessions()
    for page_values in (True, False):
        made = shopper_features(frame, page_values=page_values)
        pd.testing.assert_frame_equal(shopper_features(frame[7:30], page_values=page_values), made[7:30])
        turned = frame.assign(Revenue=~frame["Revenue"])
        pd.testing.assert_frame_equal(shopper_features(turned, page_values=page_values), made)
        assert not made.isna().to_numpy().any()
    known = frame.assign(PageValues=1.0)
    pd.testing.assert_frame_equal(shopper_features(known, page_values=False), made)


def test_denominators_are_those_of_fractions() -> None:
    values = np.array([top / bottom for bottom in range(1, 41) for top in range(1, 41) if np.gcd(top, bottom) == 1])
    want = [bottom for bottom in range(1, 41) for top in range(1, 41) if np.gcd(top, bottom) == 1]
    np.testing.assert_array_equal(denominator(np.round(values, 9), 40, 1e-8), want)


def test_the_number_of_counted_pages_is_recovered() -> None:
    """11 visited pages of which 10, 9 or all count; one exit on a page seen once, one on a page seen three times."""
    frame = sessions()[:3].assign(Administrative=0, ProductRelated=11)
    counted = np.array([11, 10, 9])
    frame["ExitRates"] = np.round(0.2 * (1 + 1 / 3) / counted, 9)
    frame["BounceRates"] = np.round(0.2 / counted, 9)
    made = shopper_features(frame, page_values=False)
    np.testing.assert_allclose(made["uncounted_log"], np.log1p([0, 1, 2]))
    np.testing.assert_allclose(made["counted_exits"], np.log1p(4 / 3), atol=1e-6)
    np.testing.assert_allclose(made["counted_exit_denominator"], np.log(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sessions().to_parquet(tmp_path / "online_shoppers.parquet")
    return tmp_path


def test_every_model_has_a_row_per_feature_set(folder: Path) -> None:
    told: list[str] = []
    notify = lambda stage, done, of, metrics: told.append(stage)  # noqa: E731
    result = json.loads(json.dumps(benchmark_online_shoppers(folder, [0], notify, folds=2)))
    assert [(row["features"], row["model"]) for row in result["rows"]] == [(f, m) for f in FEATURE_SETS for m in MODELS]
    assert (result["benchmark"], result["users"], result["seeds"], len(told)) == ("intent", N, 1, 6)
    for row in result["rows"]:
        assert set(row["metrics"]) == {"roc_auc", "pr_auc", "ece", "ece_by_chance", "brier", "log_loss"}
        assert row["metrics"].keys() == row["sd"].keys() and row["n"] == N and row["seconds"] > 0 and row["peak_mb"] > 0
    of = {(row["features"], row["model"]): row["metrics"]["roc_auc"] for row in result["rows"]}
    assert of["with_page_values", "logistic"] > 0.7 > of["without_page_values", "logistic"]
    assert all(0 < value <= 1 for value in result["ratios"].values())
    console = Console(width=200, record=True)
    console.print(render_online_shoppers(result))
    text = console.export_text()
    assert all(name in text for name in (*MODELS, *FEATURE_SETS)) and "±" not in text


def test_a_folder_without_the_file_or_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"online_shoppers\.parquet"):
        benchmark_online_shoppers(tmp_path, [0], lambda *_: None)
    sessions().drop(columns="Revenue").to_parquet(tmp_path / "online_shoppers.parquet")
    with pytest.raises(InputError, match="Revenue"):
        benchmark_online_shoppers(tmp_path, [0], lambda *_: None)
