"""Cold start: an item that nobody has taken yet is found by those whom it would please, above what is popular."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata, ttest_1samp

from features.dataset import Dataset
from features.engine import Engine
from features.ids import Vocabulary
from features.ingest import ingest
from features.instants import default_as_of
from features.schema import DAY_MS, Columns
from features.shop import Shop
from training.train import build_models, train

COLD, HORIZON_DAYS = 40, 14
#: The share of users who are fans of an item: those of whose purchases, by the planted truth, most are of it.
FANS = 0.05
PARTS = ["bestsellers", "history", "cooccurrence", "linear", "transformer"]
#: Single models that read the catalogue, and those that put single models together.
MODELS = ["linear", "factorization", "transformer", "blend", "ranker"]

Ranks = NDArray[np.float64]


@pytest.fixture(scope="module")
def ranks(shop: Shop, shop_files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ranks]:
    """By model (users, COLD) where it ranks forty items that have just been put on sale; and who are ``fans``."""
    folder = tmp_path_factory.mktemp("launch")
    new = np.random.default_rng(0).choice(shop.items[Columns.ITEM_ID].to_numpy(object), COLD, replace=False)
    for name in ("events", "items", "users"):
        rows = pd.read_parquet(shop_files / f"{name}.parquet")
        kept = rows if name != "events" else rows[~rows[Columns.ITEM_ID].isin(new)]
        kept.to_parquet(folder / f"{name}.parquet", index=False)
    ingest(folder, "tables", folder / "data")
    dataset = Dataset.open(folder / "data")
    as_of_ms = default_as_of(dataset, HORIZON_DAYS)
    arms: dict[str, dict[str, Any]] = {name: {"model": name} for name in (*PARTS, "factorization")}
    arms |= {name: {"model": name, "parts": PARTS} for name in ("blend", "ranker")}
    with Engine.duckdb() as engine:
        trained = train(engine, dataset, build_models(arms), as_of_ms, HORIZON_DAYS * DAY_MS)
    snapshot = trained.snapshot
    popularity = snapshot.item_matrix["popularity"].to_numpy()
    items = snapshot.items.encode(new)
    assert not popularity[items].any()
    users = snapshot.sequences
    rows = Vocabulary(shop.users[Columns.USER_ID]).encode(users.user_ids).astype(np.int64)
    rates = shop.purchase_rate(rows, as_of_ms, as_of_ms + HORIZON_DAYS * DAY_MS)
    shares = rates[:, Vocabulary(shop.items[Columns.ITEM_ID]).encode(new)] / rates.sum(axis=1, keepdims=True)
    found = {name: rankdata(-model.score_all(users), axis=1)[:, items] for name, model in trained.models.items()}
    found["popularity"] = np.tile(rankdata(-popularity)[items], (len(rows), 1))
    return found | {"fans": shares >= np.quantile(shares, 1 - FANS, axis=0)}


def medians(ranks: dict[str, Ranks], model: str) -> Ranks:
    """(COLD,) the median rank of each item among its fans."""
    fans = ranks["fans"].astype(bool)
    return np.array([np.median(ranks[model][fans[:, item], item]) for item in range(COLD)])


@pytest.mark.parametrize("model", MODELS)
def test_fans_find_a_new_item_above_its_popularity(ranks: dict[str, Ranks], model: str) -> None:
    above = medians(ranks, "popularity") - medians(ranks, model)
    assert (above > 0).mean() > 0.75


@pytest.mark.parametrize("model", MODELS)
def test_fans_find_a_new_item_above_where_others_find_it(ranks: dict[str, Ranks], model: str) -> None:
    fans = ranks["fans"].astype(bool)
    areas = []
    for item in range(COLD):
        places, is_fan = rankdata(-ranks[model][:, item]), fans[:, item]
        n, m = int(is_fan.sum()), int((~is_fan).sum())
        areas.append((places[is_fan].sum() - n * (n + 1) / 2) / (n * m))
    assert ttest_1samp(areas, 0.5, alternative="greater").pvalue < 1e-4
