"""C57: where somebody is and what they searched for stay unknown until they opt in."""

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
from features.definitions import LOCATION_ATTRIBUTES, USER_FEATURES
from features.engine import Engine
from features.ingest import ingest
from features.online import Listings, UserFold
from features.schema import DAY_MS, DEFAULT_PURPOSES, MISSING, Purpose
from features.snapshot import Snapshot, build_snapshot
from training.recommender import TrainingSet
from training.train import build_models

NOW = 20_000 * DAY_MS
CONSENTS = {
    "agrees": "personalisation,search_history,location",
    "searches": "personalisation,search_history",
    "located": "personalisation,location",
    "never asked": None,
    "nothing more": "personalisation",
}
SEARCHES = [declared.name for declared in USER_FEATURES if declared.purpose is Purpose.SEARCH_HISTORY]
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


def event(name: str, user: str, kind: str, item: str | None) -> dict[str, Any]:
    place = json.dumps({"city": "Bern", "lat": 46.9})
    base = {"event_id": f"{user} {name}", "user_id": user, "event_type": kind, "item_id": item, "ts": NOW - 1}
    return {**base, "query": "blue mug" if kind == "search" else None, "properties": place}


def events(n_searches: int = 3) -> Rows:
    """Each buys, and searches; a search may name the item that it led to."""
    return [
        row
        for user in CONSENTS
        for row in (
            event("bought", user, "purchase", "i0"),
            *(event(f"search {number}", user, "search", "i1" if number else None) for number in range(n_searches)),
        )
    ]


def users(city: str = "Bern") -> Rows:
    return [
        {"user_id": user, "valid_from": 1, "consents": words, "country": "CH", "city": city, "postcode": f"{city}-1"}
        for user, words in CONSENTS.items()
    ]


def test_both_are_off_until_somebody_opts_in(build: Build) -> None:
    assert set(DEFAULT_PURPOSES) == {Purpose.PERSONALISATION}
    matrix = build(events(), users(), NOW).user_matrix
    allowed = {"agrees", "searches"}
    assert set(matrix.index[matrix[SEARCHES].notna().all(axis=1)]) == allowed
    assert set(matrix.index[matrix[SEARCHES].isna().all(axis=1)]) == set(CONSENTS) - allowed
    assert matrix.loc["agrees", SEARCHES].tolist() == [3] * len(SEARCHES)
    assert {"city", "postcode"} <= LOCATION_ATTRIBUTES
    assert matrix["city"].to_dict() == {user: "Bern" if user in ("agrees", "located") else MISSING for user in CONSENTS}
    assert (matrix["postcode"] == MISSING).equals(matrix["city"] == MISSING)
    # A country is too coarse to say where somebody is.
    assert set(matrix["country"]) == {"CH"}


def test_what_is_off_can_change_and_nobody_knows(build: Build) -> None:
    """Of whoever did not opt in, other searches and another city leave the snapshot and every score as they were."""
    silent = [user for user in CONSENTS if user in ("never asked", "nothing more")]

    def only(rows: Rows) -> Rows:
        return [row for row in rows if row["user_id"] in silent]

    before, after = build(only(events(1)), only(users()), NOW), build(only(events(7)), only(users("Chur")), NOW)
    assert after.digest == before.digest
    for name in ("bestsellers", "history", "cooccurrence"):
        old, new = (scores(name, snapshot) for snapshot in (before, after))
        np.testing.assert_array_equal(new, old)
    seen = build(events(7), users("Chur"), NOW).user_matrix
    assert seen.loc["agrees", ["searches_90d", "city"]].tolist() == [7, "Chur"]


def scores(name: str, snapshot: Snapshot) -> np.ndarray:
    model = build_models({name: {"model": name}})[name]
    return model.fit(TrainingSet(snapshot)).score_all(snapshot.sequences)


def test_whoever_opts_in_is_known_from_then_on_and_whoever_opts_out_is_not(build: Build) -> None:
    words = [
        {
            **row,
            "valid_from": NOW,
            "consents": CONSENTS["agrees"] if row["user_id"] == "never asked" else "personalisation",
        }
        for row in users()
        if row["user_id"] in ("never asked", "agrees")
    ]
    asked, told = (build(events(), [*users(), *words], as_of).user_matrix for as_of in (NOW, NOW + 1))
    for user, before, after in (("never asked", False, True), ("agrees", True, False)):
        for matrix, is_known in ((asked, before), (told, after)):
            assert matrix.loc[user, SEARCHES].notna().all() == matrix.loc[user, SEARCHES].notna().any() == is_known
            assert (matrix.loc[user, "city"] != MISSING) == is_known


def test_the_online_row_knows_no_more(build: Build) -> None:
    snapshot = build(events(), users(), NOW)
    catalogue = Catalogue.of(pd.DataFrame(ITEMS).assign(brand=None, price_cents=np.nan), [], NOW)
    for user, words in CONSENTS.items():
        consents = Consents.parse(words)
        fold = UserFold(NOW, Listings(catalogue), consents)
        for row in events():
            if row["user_id"] == user:
                fold.fold(row)
        mine = fold.row(NOW, snapshot.population, snapshot.items)
        assert {mine[name] for name in SEARCHES} == ({3} if user in ("agrees", "searches") else {None})
        assert mine["sessions_90d"] == 1
        shown = consents.visible({"city": "Bern", "page": 1})
        assert shown == ({"city": "Bern", "page": 1} if user in ("agrees", "located") else {"city": None, "page": 1})
