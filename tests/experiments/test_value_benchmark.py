"""The benchmark on a few simulated orders, and its parts against hand-computed numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.benchmarks.value.cdnow import (
    Answer,
    benchmark_value,
    judged,
    origins_ms,
    poisson_deviance,
    read_orders,
    render_value,
)
from experiments.benchmarks.value.plot import decile_means
from features.errors import ConfigError, NotFoundError
from training.intent.order_summaries import DAY_MS
from training.intent.value import ValueConfig
from training.intent.value_network import NetworkConfig


def _written(folder: Path) -> Path:
    """250 customers of one quarter, 545 days."""
    generator = np.random.default_rng(0)
    rows = []
    for customer in range(250):
        day, rate = float(generator.integers(0, 80)), generator.gamma(0.8, 1 / 40)
        while day < 545:
            rows.append((customer + 1, int(day), round(float(generator.gamma(4, 9)), 2)))
            if generator.random() < 0.1:
                break
            day += generator.exponential(1 / rate)
    rows.append((1, 545, 10.0))
    table = pd.DataFrame(rows, columns=["user_id", "day", "order_amount"])
    dates = pd.Timestamp("2021-01-01") + pd.to_timedelta(table.pop("day"), unit="D")
    table["order_dt"] = dates.dt.strftime("%Y%m%d")
    table.to_parquet(folder / "cdnow_master.parquet")
    return folder


def test_every_model_is_judged_at_every_origin_and_horizon(tmp_path: Path) -> None:
    config = ValueConfig(
        step_days=120, windows_days=(30,), members=1, network=NetworkConfig(epochs=1, batch=512, hidden=2)
    )
    told: list[str] = []
    result = benchmark_value(
        _written(tmp_path), range(2), lambda stage, *_: told.append(stage), tmp_path / "deciles.png", config
    )
    assert {(row["origin"], row["horizon_days"]) for row in result["rows"]} == {
        (origin, days) for origin in ("2021-10-02", "2021-11-17", "2022-01-02") for days in (90, 180)
    }
    assert len(result["rows"]) == 18 and told
    for row in result["rows"]:
        assert row["n"] == 250 and row["seconds"] > 0 and row["peak_mb"] > 0
        assert set(row["metrics"]) == set(row["sd"])
        assert len(row["intervals"]) == (0 if row["model"] == "bg_nbd_gamma_gamma" else 6)
    json.dumps(result, allow_nan=False)
    assert (tmp_path / "deciles.png").stat().st_size > 10_000
    assert render_value(result).row_count == 18


def test_orders_are_read_as_days_and_cents(tmp_path: Path) -> None:
    table = {"user_id": [2, 1], "order_dt": ["20210102", "20210101"], "order_amount": [0.29, 11.77]}
    pd.DataFrame(table).to_parquet(tmp_path / "cdnow_master.parquet")
    log = read_orders(tmp_path)
    assert log.cents.tolist() == [1177, 29]
    assert log.ts_ms.tolist() == [1_609_459_200_000, 1_609_545_600_000]
    assert origins_ms(log)[-1] == 1_609_545_600_000 + DAY_MS - 180 * DAY_MS


def test_deviance_and_intervals_are_those_computed_by_hand() -> None:
    np.testing.assert_allclose(
        poisson_deviance(np.array([0.0, 2.0]), np.array([0.5, 1.0])), [1.0, 2 * (2 * np.log(2) - 1)], rtol=1e-12
    )
    truth = Answer(np.array([0.0, 1.0, 3.0]), np.array([0.0, 10.0, 50.0]))
    off = Answer(truth.orders + 1, truth.value + 2)
    rows = {row["model"]: row for row in judged(truth, {"bg_nbd_gamma_gamma": [off], "right": [truth, off]}, seed=0)}
    assert rows["bg_nbd_gamma_gamma"]["metrics"]["orders_squared"] == 1
    assert rows["right"]["metrics"]["value_absolute"] == 1
    assert rows["right"]["sd"]["value_absolute"] == pytest.approx(np.sqrt(2))
    assert rows["right"]["intervals"]["orders_squared"] == {
        "difference": -0.5,
        "low": -0.5,
        "high": -0.5,
        "relative": -0.5,
        "p_value": 0.0,
    }
    assert rows["bg_nbd_gamma_gamma"]["metrics"]["orders_total_ratio"] == pytest.approx(7 / 4)


def test_deciles_hold_equal_shares_from_the_least_expected_up() -> None:
    expected = np.arange(100.0)[::-1]
    predicted, observed = decile_means(2 * expected, expected)
    np.testing.assert_allclose(predicted, np.arange(10) * 10 + 4.5)
    np.testing.assert_allclose(observed, 2 * predicted)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cdnow_master"):
        benchmark_value(tmp_path, range(1), lambda *_: None)
    with pytest.raises(ConfigError, match="at least one"):
        benchmark_value(tmp_path, [], lambda *_: None)
