"""Offline A/B experiments on a small simulated shop: repeatable, exportable, and honest about what cannot be told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.compare import Comparison, compare
from experiments.evaluate import evaluate
from experiments.experiment import Experiment, make_experiment
from features.dataset import INFO, Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError, NotFoundError

QUICK = {
    "popular": {"model": "bestsellers", "by": []},
    "history": {"model": "history"},
    "live": {"model": "live"},
    "blend": {"model": "blend", "parts": ["popular", "history", "live"]},
}


def experiment(dataset: Dataset, **others: Any) -> Experiment:
    fields = {"name": "quick", "data": dataset.folder, "horizon_days": 14, "control": "popular", "arms": QUICK}
    return make_experiment(**{**fields, "min_users": 100, **others})


def run(dataset: Dataset, **others: Any) -> Comparison:
    with Engine.duckdb() as engine:
        return compare(engine, dataset, experiment(dataset, **others))


def without_seconds(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key != "seconds"}


@pytest.fixture(scope="module")
def quick(shop_data: Dataset) -> Comparison:
    return run(shop_data)


def test_one_seed_gives_one_report(shop_data: Dataset, shop_experiment: Experiment, quick: Comparison) -> None:
    again = run(shop_data)
    assert without_seconds(again.report) == without_seconds(quick.report)
    assert again.trained.snapshot.digest == quick.trained.snapshot.digest
    for name, answered in quick.replays.items():
        assert np.array_equal(again.replays[name].ids, answered.ids)
    other = run(shop_data, seed=1)
    interval = [each.report["arms"]["blend"]["lift"]["low"] for each in (quick, other)]
    assert interval[0] != interval[1] and interval[0] == pytest.approx(interval[1], rel=0.1)


def test_the_report_says_what_was_compared(shop_data: Dataset, quick: Comparison) -> None:
    report = json.loads(json.dumps(quick.report))
    assert (report["as_of"], report["until"], report["horizon_days"]) == ("2025-04-16", "2025-04-30", 14)
    assert report["data"] == {"source": "tables", "digest": shop_data.digest}
    assert report["snapshot_digest"] == quick.trained.snapshot.digest
    assert (report["metric"], report["control"], report["group"]) == ("ndcg@20", "popular", "hot")
    hot = quick.asked.groups == "hot"
    assert report["n_users"] == hot.sum() > 100
    for name, arm in report["arms"].items():
        for metric in ("ndcg@20", "recall@20", "mrr@20", "purchases@20"):
            assert arm[metric]["mean"] == pytest.approx(quick.replays[name].metrics[metric][hot].mean())
            assert arm[metric]["low"] <= arm[metric]["mean"] <= arm[metric]["high"]
        assert 0 <= arm["coverage@20"] <= 1
        assert ("lift" in arm) == (name in ("history", "blend"))
    lift = report["arms"]["blend"]["lift"]
    difference = report["arms"]["blend"]["ndcg@20"]["mean"] - report["arms"]["popular"]["ndcg@20"]["mean"]
    assert lift["difference"] == pytest.approx(difference)
    assert report["arms"]["blend"]["verdict"] == "ship" and lift["low"] > 0
    assert report["arms"]["live"]["verdict"] not in ("ship", "hold")  # nobody is in a session at that instant
    assert report["l4"].startswith("not asked")


def test_an_exported_arm_is_scored_alike_as_a_file(shop_data: Dataset, quick: Comparison, tmp_path: Path) -> None:
    quick.export(tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(QUICK)
    for name in ("blend", "history"):
        scored = evaluate(shop_data, tmp_path / f"{name}.parquet", None, 14, 20, "as_of")
        arm = quick.report["arms"][name]
        assert scored["groups"]["hot"]["metrics"] == {key: arm[key] for key in scored["groups"]["hot"]["metrics"]}
        assert scored["groups"]["hot"]["n_users"] == quick.report["n_users"]
        for group, numbers in quick.report["groups"].items():
            told = {key: numbers["arms"][name][key] for key in scored["groups"][group]["metrics"]}
            assert scored["groups"][group]["metrics"] == told
        assert scored["coverage@20"] == arm["coverage@20"]
        assert scored["snapshot_digest"] == quick.report["snapshot_digest"]


def test_a_file_as_an_arm_is_measured_and_not_promotable(shop_data: Dataset, quick: Comparison, tmp_path: Path) -> None:
    quick.export(tmp_path)
    lists = pd.read_parquet(tmp_path / "blend.parquet")
    left_out = sorted(set(lists["user_id"]))[:5]
    lists[~lists["user_id"].isin(left_out)].to_parquet(tmp_path / "fewer.parquet")
    arms = {
        **QUICK,
        "elsewhere": {"recommendations": str(tmp_path / "blend.parquet")},
        "fewer": {"recommendations": str(tmp_path / "fewer.parquet")},
    }
    report = run(shop_data, arms=arms).report["arms"]
    same = ("ndcg@20", "recall@20", "mrr@20", "purchases@20", "coverage@20", "verdict")
    assert {key: report["elsewhere"][key] for key in same} == {key: report["blend"][key] for key in same}
    assert report["elsewhere"]["lift"]["difference"] == report["blend"]["lift"]["difference"]
    assert {name: arm["promotable"] for name, arm in report.items()} == {
        **dict.fromkeys(QUICK, True),
        "elsewhere": False,
        "fewer": False,
    }
    assert (report["elsewhere"]["users_without_a_list"], report["fewer"]["users_without_a_list"]) == (0, 5)
    assert report["fewer"]["ndcg@20"]["mean"] <= report["blend"]["ndcg@20"]["mean"]


def test_in_a_session_l4_is_measured(shop_data: Dataset, quick: Comparison) -> None:
    live = run(shop_data, replay="live", min_users=50)
    assert live.report["l4"] == "measured"
    arms = live.report["arms"]
    assert arms["live"]["ndcg@20"]["mean"] > 0
    assert arms["blend"]["levels"]["L4"]["shown"] > 0
    assert "L4" not in quick.report["arms"]["blend"]["levels"]
    assert (live.asked.histories.as_of_ms > live.asked.histories.snapshot_ms).all()


def test_without_order_in_a_visit_l4_is_not_measurable(shop_data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "unordered"
    shutil.copytree(shop_data.folder, folder)
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps({**info, "order_within_session": False}))
    unordered = Dataset.open(folder)
    assert run(unordered).report["l4"].startswith("not_measurable")
    with pytest.raises(ConfigError, match="replay needs events in order inside a visit"):
        run(unordered, replay="live")


def test_small_groups_are_reported_and_not_judged(quick: Comparison) -> None:
    assert set(quick.report["groups"]) == {"warm", "cold"}
    for group in quick.report["groups"].values():
        assert 0 < group["n_users"] < 100 and group["judged"] is False
        for name, arm in group["arms"].items():
            assert 0 <= arm["ndcg@20"]["mean"] <= 1
            if name in ("history", "blend"):
                assert (arm["verdict"], arm["judged"]) == ("cannot_tell", False)
                assert arm["reason"] == f"not judged: {group['n_users']} users, 100 are needed"


def test_too_few_users_are_not_judged_however_large_the_lift(shop_data: Dataset) -> None:
    report = run(shop_data, min_users=10_000).report
    assert {report["arms"][name]["verdict"] for name in ("history", "blend")} == {"cannot_tell"}
    assert report["arms"]["blend"]["lift"]["low"] > 0


def test_what_does_not_fit_the_data_is_refused(shop_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="as_of must be inside the data"):
        run(shop_data, as_of="2030-01-01")
    with pytest.raises(ConfigError, match="as_of must leave a label window"):
        run(shop_data, as_of="2025-01-10")
    with pytest.raises(NotFoundError, match="must be a file"):
        run(shop_data, arms={**QUICK, "elsewhere": {"recommendations": str(tmp_path / "none.parquet")}})
    with pytest.raises(NotFoundError, match="model must be registered"):
        run(shop_data, arms={**QUICK, "new": {"model": "oracle"}})
    pd.DataFrame({"user_id": ["u"], "item_id": ["i"]}).to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(InputError, match="column 'rank' is missing"):
        run(shop_data, arms={**QUICK, "elsewhere": {"recommendations": str(tmp_path / "lists.parquet")}})
