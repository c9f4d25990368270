"""B9: planted taste ranks above all that is learned from the log, and where there is none nothing ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.compare import Comparison, compare
from experiments.experiment import make_experiment
from features.dataset import Dataset
from features.engine import Engine
from features.ids import Vocabulary
from features.ingest import ingest
from features.schema import DAY_MS
from features.shop import Shop, ShopConfig
from training.metrics import ranking_metrics
from training.recommender import top_k


def test_the_truth_ranks_above_every_arm(shop: Shop, shop_comparison: Comparison) -> None:
    asked, snapshot = shop_comparison.asked, shop_comparison.trained.snapshot
    hot = np.flatnonzero(asked.groups == "hot")
    users = Vocabulary(shop.users["user_id"]).encode(asked.histories.user_ids[hot]).astype(np.int64)
    rates = shop.purchase_rate(users, snapshot.as_of_ms, snapshot.as_of_ms + 14 * DAY_MS)
    known = Vocabulary(shop.items["item_id"]).encode(snapshot.items.ids)
    ids, _ = top_k(rates[:, known], 20)
    truth = float(ranking_metrics(ids, asked.take(hot).labels)["ndcg@20"].mean())
    arms = {name: arm["ndcg@20"]["mean"] for name, arm in shop_comparison.report["arms"].items()}
    assert max(arms.values()) < truth
    assert 0.3 < max(arms.values()) / truth < 0.8
    for name in ("bestsellers", "history", "cooccurrence", "transformer"):
        assert arms["blend"] >= arms[name] > arms["popular"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_shop_without_taste_never_ships(tmp_path: Path, seed: int) -> None:
    Shop(ShopConfig(seed=seed, events=30_000, null=True)).write(tmp_path / "files")
    ingest(tmp_path / "files", "tables", tmp_path / "data")
    arms = {
        "popular": {"model": "bestsellers", "by": []},
        "bestsellers": {"model": "bestsellers"},
        "history": {"model": "history"},
        "cooccurrence": {"model": "cooccurrence"},
        "blend": {"model": "blend", "parts": ["bestsellers", "history", "cooccurrence"]},
    }
    experiment = make_experiment(
        name="null", data=tmp_path / "data", horizon_days=14, control="popular", arms=arms, min_users=100
    )
    with Engine.duckdb() as engine:
        report = compare(engine, Dataset.open(tmp_path / "data"), experiment).report
    assert report["n_users"] > 100
    assert "ship" not in {arm.get("verdict") for arm in report["arms"].values()}
