"""C56: what happened in a store is joined to a user only with their explicit consent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.catalogue import Catalogue
from features.consent import Consents
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.online import Listings, UserFold
from features.schema import DAY_MS
from features.snapshot import Snapshot, build_snapshot
from training.recommender import TrainingSet
from training.train import build_models

NOW = 20_000 * DAY_MS
CONSENTS = {"asked": "personalisation,offline", "refuses": "personalisation", "never asked": None}
ITEMS = [{"item_id": f"i{number}", "valid_from": 1, "category": "mugs", "available": True} for number in range(3)]

Rows = list[dict[str, Any]]
Build = Callable[[Rows, Rows, int], Snapshot]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """The snapshot of events and users."""
    with Engine.duckdb(threads=1) as engine:

        def make(events: Rows, users: Rows, as_of_ms: int) -> Snapshot:
            folder = tmp_path_factory.mktemp("shop")
            for name, rows in (("events", events), ("users", users), ("items", ITEMS)):
                pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet", index=False)
            ingest(folder, "tables", folder / "out")
            return build_snapshot(engine, Dataset.open(folder / "out"), as_of_ms)

        yield make


def purchase(user: str, item: str, days: int, properties: dict[str, Any]) -> dict[str, Any]:
    event = {"event_id": f"{user} {item} {days}", "user_id": user, "item_id": item, "event_type": "purchase"}
    return {**event, "ts": NOW - days * DAY_MS - 1, "unit_price_cents": 500, "properties": json.dumps(properties)}


def on_the_web() -> Rows:
    return [purchase(user, "i0", days, {"channel": "web"}) for user in CONSENTS for days in (1, 9)]


def in_a_store(users: list[str]) -> Rows:
    """Said in several ways, all of the same item."""
    ways: list[dict[str, Any]] = [
        {"channel": "store"},
        {"channel": "Offline", "till": 3},
        {"channel": "web", "receipt": {"channel": "store"}},
    ]
    return [purchase(user, "i1", days, way) for user in users for days, way in enumerate(ways)]


def users(**later: str) -> Rows:
    words = [{"user_id": user, "valid_from": 1, "consents": consents} for user, consents in CONSENTS.items()]
    return [*words, *({"user_id": user, "valid_from": NOW, "consents": words} for user, words in later.items())]


def score(snapshot: Snapshot, item: str) -> dict[str, np.ndarray]:
    """What models, learned from the snapshot, think of an item for each user."""
    models = build_models({"bestsellers": {"model": "bestsellers", "by": []}, "history": {"model": "history"}})
    column = snapshot.items.code(item)
    return {
        name: model.fit(TrainingSet(snapshot)).score_all(snapshot.sequences)[:, column]
        for name, model in models.items()
    }


def test_without_consent_it_is_as_if_it_had_not_happened(build: Build) -> None:
    never = build(on_the_web(), users(), NOW)
    silent = build([*on_the_web(), *in_a_store(["refuses", "never asked"])], users(), NOW)
    assert silent.digest == never.digest
    np.testing.assert_equal(score(silent, "i1"), score(never, "i1"))
    assert score(silent, "i1")["history"].max() == 0


def test_with_consent_it_is_joined_until_the_word_is_taken_back(build: Build) -> None:
    events = [*on_the_web(), *in_a_store(list(CONSENTS))]
    said = users(asked="personalisation", refuses="personalisation, offline")
    joined, after = build(events, said, NOW), build(events, said, NOW + 1)
    assert joined.user_matrix["purchases_90d"].to_dict() == {"asked": 5, "never asked": 2, "refuses": 2}
    assert after.user_matrix["purchases_90d"].to_dict() == {"asked": 2, "never asked": 2, "refuses": 5}
    assert joined.item_matrix.loc["i1", ["purchases", "buyers"]].tolist() == [3, 1]
    channels = joined.user_matrix["top_channel"].to_dict()
    assert channels == {"asked": "web", "never asked": "web", "refuses": "web"}
    assert joined.user_matrix["top_channel_share"].eq(1).to_dict() == {
        "asked": False,
        "never asked": True,
        "refuses": True,
    }
    rows = {user: joined.users.code(user) for user in CONSENTS}
    for snapshot, whose in ((joined, "asked"), (after, "refuses")):
        liked = score(snapshot, "i1")["history"] > 0
        assert {user for user, row in rows.items() if liked[row]} == {whose}


def test_the_online_row_of_the_user_says_the_same(build: Build) -> None:
    events = [*on_the_web(), *in_a_store(list(CONSENTS))]
    snapshot = build(events, users(), NOW)
    catalogue = Catalogue.of(pd.DataFrame(ITEMS).assign(brand=None, price_cents=np.nan), [], NOW)
    for user, consents in CONSENTS.items():
        fold = UserFold(NOW, Listings(catalogue), Consents.parse(consents))
        for row in events:
            if row["user_id"] == user:
                fold.fold(row)
        mine = fold.row(NOW, snapshot.population, snapshot.items)
        expected = snapshot.user_matrix.loc[user]
        assert mine == {name: None if pd.isna(value) else value for name, value in expected.items()}
