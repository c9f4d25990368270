"""The benchmark of session intent on a small simulated shop."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from experiments.benchmarks.intent.later_sessions import benchmark_later_sessions, render_later_sessions
from features.shop.config import ShopConfig
from features.shop.shop import Shop


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shop") / "tables"
    Shop(ShopConfig.of(seed=0, users=400, events=20_000)).write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STELLAR_HOME", str(folder.parent / "home"))
        return benchmark_later_sessions(folder, "tables", range(2), lambda *_: None)


def test_every_model_has_a_row_per_target(result: dict[str, Any]) -> None:
    targets = ("buy_in_session", "cart_in_session", "leave_cart_behind")
    models = ("session_network", "boosting", "logistic")
    assert {(row["model"], row["target"]) for row in result["rows"]} == {(m, t) for m in models for t in targets}
    for row in result["rows"]:
        assert 0.5 < row["metrics"]["roc_auc"] < 1 and row["n"] == result["events"] > result["sessions"] > 200


def test_the_next_group_is_held_against_both_rules(result: dict[str, Any]) -> None:
    told = result["next_group"]
    for metric in ("hit@1", "hit@3"):
        rates, differences = told["rates"][metric], told["differences"][metric]
        # Visits are mostly about one topic: the last group is nearly always the next.
        assert rates["most_frequent"] < rates["last"] <= 1 and rates["session_network"] > rates["most_frequent"]
        for rule, lift in differences.items():
            assert lift["difference"] == pytest.approx(rates["session_network"] - rates[rule])
            assert lift["low"] <= lift["difference"] <= lift["high"]
    console = Console(record=True, width=200)
    console.print(render_later_sessions(result))
    assert "leave_cart_behind" in console.export_text()
