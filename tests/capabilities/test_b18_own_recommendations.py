"""B18: a file of ranked items is an arm on the same split in the same report, and is never promotable."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.compare import Comparison, compare
from experiments.evaluate import evaluate
from experiments.experiment import make_experiment
from features.dataset import Dataset
from features.engine import Engine


def test_a_file_is_an_arm_like_the_one_it_was_exported_from(
    shop_data: Dataset, shop_comparison: Comparison, tmp_path: Path
) -> None:
    shop_comparison.export(tmp_path)
    worse = pd.read_parquet(tmp_path / "blend.parquet")
    worse["rank"] = 21 - worse["rank"]
    worse.to_parquet(tmp_path / "upside_down.parquet")
    arms = {
        "popular": {"model": "bestsellers", "by": []},
        "own": {"recommendations": str(tmp_path / "blend.parquet")},
        "upside_down": {"recommendations": str(tmp_path / "upside_down.parquet")},
    }
    experiment = make_experiment(
        name="own", data=shop_data.folder, horizon_days=14, control="popular", arms=arms, min_users=100
    )
    with Engine.duckdb() as engine:
        report = compare(engine, shop_data, experiment).report
    built_in, own, turned = (
        shop_comparison.report["arms"]["blend"],
        report["arms"]["own"],
        report["arms"]["upside_down"],
    )
    for metric in ("ndcg@20", "recall@20", "mrr@20", "purchases@20", "coverage@20"):
        assert own[metric] == built_in[metric]
    assert (
        own["lift"]["difference"] == built_in["lift"]["difference"] and own["verdict"] == built_in["verdict"] == "ship"
    )
    assert turned["ndcg@20"]["mean"] < own["ndcg@20"]["mean"]
    assert turned["recall@20"] == own["recall@20"]
    assert (own["promotable"], report["arms"]["popular"]["promotable"]) == (False, True)
    assert experiment.registered == () and report["snapshot_digest"] == shop_comparison.report["snapshot_digest"]
    scored = evaluate(shop_data, tmp_path / "blend.parquet", None, 14, 20, "as_of")["groups"]["hot"]["metrics"]
    assert scored == {metric: built_in[metric] for metric in scored}
