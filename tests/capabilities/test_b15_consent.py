"""B15: every feature has a purpose, and what a user did not consent to reaches no matrix, no model and no score."""

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
from features.definitions import ITEM_FEATURES, USER_FEATURES
from features.engine import Engine
from features.ingest import ingest
from features.online import Listings, UserFold
from features.schema import DAY_MS, Purpose
from features.snapshot import Snapshot, build_snapshot
from training.recommender import TrainingSet
from training.train import build_models, train

NOW = 20_000 * DAY_MS
SEARCHES = Purpose.SEARCH_HISTORY
ALL = "personalisation,search_history,location,offline"
MODELS: dict[str, dict[str, Any]] = {
    "bestsellers": {"model": "bestsellers", "by": ["country", "city"], "minimum_sales": 1},
    "history": {"model": "history"},
    "cooccurrence": {"model": "cooccurrence"},
}

Tables = dict[str, list[dict[str, Any]]]
Build = Callable[[Tables, int], Snapshot]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.duckdb(threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tables], Dataset]:
    def make(tables: Tables) -> Dataset:
        folder = tmp_path_factory.mktemp("shop")
        for name, rows in tables.items():
            pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet", index=False)
        ingest(folder, "tables", folder / "out")
        return Dataset.open(folder / "out")

    return make


@pytest.fixture(scope="module")
def build(engine: Engine, ingested: Callable[[Tables], Dataset]) -> Build:
    """Ingest tables and build their snapshot."""
    return lambda tables, as_of_ms: build_snapshot(engine, ingested(tables), as_of_ms)


def event(name: str, user: str, item: str | None, kind: str, ts: int, channel: str = "web") -> dict[str, Any]:
    properties = json.dumps({"channel": channel, "city": "Bern"})
    base = {"event_id": name, "user_id": user, "item_id": item, "event_type": kind, "ts": ts}
    return {**base, "quantity": 1, "unit_price_cents": 500, "properties": properties}


#: Who refuses what, where somebody does.
REFUSERS = {
    Purpose.LOCATION: "lou",
    Purpose.SEARCH_HISTORY: "sam",
    Purpose.OFFLINE: "ola",
    Purpose.PERSONALISATION: "pat",
}


def shop() -> Tables:
    """Twenty shoppers and the refusers, who do a bit of everything and consent to everything."""
    rng = np.random.default_rng(0)
    people = [*(f"u{number:02}" for number in range(20)), *REFUSERS.values()]
    kinds, channels = ["view", "view", "add_to_cart", "purchase", "search"], ["web", "web", "store"]
    events = [
        event(f"e{number}", who, f"i{rng.integers(8)}", kind, NOW - 1 - int(rng.integers(40 * DAY_MS)), channel)
        for number, (who, kind, channel) in enumerate(
            (who, str(rng.choice(kinds)), str(rng.choice(channels))) for who in people for _ in range(20)
        )
    ]
    items = [f"i{number}" for number in range(9)]
    return {
        "events": events,
        "items": [{"item_id": one, "valid_from": 1, "category": f"c{one[1]}", "available": True} for one in items],
        "users": [
            {"user_id": who, "valid_from": 1, "consents": ALL, "country": "CH", "city": "Bern"} for who in people
        ],
    }


def refused(tables: Tables, since_ms: int) -> Tables:
    """The same tables, with a word of each refuser that holds from an instant on."""
    words = [
        {**row, "valid_from": since_ms, "consents": without(purpose)}
        for purpose, who in REFUSERS.items()
        for row in tables["users"]
        if row["user_id"] == who
    ]
    return {**tables, "users": [*tables["users"], *words]}


def without(purpose: Purpose) -> str:
    return ",".join(word for word in ALL.split(",") if word != purpose)


def changed(tables: Tables) -> Tables:
    """Lou has moved, sam has searched more, ola has bought more in a store, and pat has led another life."""
    moved = [
        {**row, "city": "Chur"}
        if row["user_id"] in (REFUSERS[Purpose.LOCATION], REFUSERS[Purpose.PERSONALISATION])
        else row
        for row in tables["users"]
    ]
    kept = [row for row in tables["events"] if row["user_id"] != "pat"]
    days = [NOW - 1 - number * DAY_MS for number in range(5)]
    added = [
        row
        for ts in days
        for row in (
            event(f"s{ts}", "sam", "i1", "search", ts),
            event(f"o{ts}", "ola", "i1", "purchase", ts, "store"),
            event(f"p{ts}", "pat", "i1", "purchase", ts),
        )
    ]
    return {**tables, "users": moved, "events": [*kept, *added]}


def scores(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """What every model, learned from the snapshot, thinks of every item for every user of it."""
    models = build_models(MODELS)
    training_set = TrainingSet(snapshot)
    return {name: model.fit(training_set).score_all(snapshot.sequences) for name, model in models.items()}


@pytest.fixture(scope="module")
def agreed(build: Build) -> Snapshot:
    """Of the shop where everybody consents to everything."""
    return build(shop(), NOW)


def test_changing_what_is_masked_leaves_every_score_unchanged(build: Build) -> None:
    before, after = (build(refused(tables, since_ms=2), NOW) for tables in (shop(), changed(shop())))
    assert set(REFUSERS.values()) - set(before.user_matrix.index) == {"pat"}
    assert after.digest == before.digest
    np.testing.assert_equal(scores(after), scores(before))


def test_changing_what_is_allowed_does_change_them(build: Build, agreed: Snapshot) -> None:
    """Or else the test above would hold of features that nobody ever reads."""
    after = build(changed(shop()), NOW)
    old, new = scores(agreed), scores(after)
    for purpose, who in REFUSERS.items():
        assert not after.user_matrix.loc[who].equals(agreed.user_matrix.loc[who]), who
        row = agreed.users.code(who)
        # No model scores items by what was searched for.
        assert any(not np.array_equal(old[name][row], new[name][row]) for name in MODELS) or purpose is SEARCHES


def test_a_word_taken_back_masks_the_next_snapshot_and_the_row_of_the_user(build: Build, agreed: Snapshot) -> None:
    tables = refused(shop(), since_ms=NOW)
    revoked = build(tables, NOW + 1)
    for snapshot, is_revoked in ((agreed, False), (revoked, True)):
        for purpose, who in REFUSERS.items():
            fold = folded(tables, who, snapshot, Consents.parse(without(purpose) if is_revoked else ALL))
            row = fold.row(snapshot.as_of_ms, snapshot.population, snapshot.items)
            if who in snapshot.user_matrix.index:
                matrix = snapshot.user_matrix.loc[who].drop(list(snapshot.attributes))
                assert {name: None if pd.isna(value) else value for name, value in matrix.items()} == row
            else:
                assert (who, is_revoked) == ("pat", True)
                assert set(row.values()) == {None}
    then, now = agreed.user_matrix, revoked.user_matrix
    assert (then.loc["lou", "city"], now.loc["lou", "city"], now.loc["ola", "city"]) == ("Bern", "missing", "Bern")
    searches = [declared.name for declared in USER_FEATURES if declared.purpose is SEARCHES]
    assert then.loc["sam", "searches_90d"] > 0 and now.loc["sam", searches].isna().all()
    assert now.loc["lou", "searches_90d"] == then.loc["lou", "searches_90d"] > 0
    assert 0 < now.loc["ola", "interactions"] < then.loc["ola", "interactions"]
    assert now.loc["sam", "interactions"] == then.loc["sam", "interactions"]


def folded(tables: Tables, who: str, snapshot: Snapshot, consents: Consents) -> UserFold:
    items = pd.DataFrame(tables["items"]).assign(brand=None, price_cents=np.nan)
    fold = UserFold(snapshot.as_of_ms, Listings(Catalogue.of(items, [], snapshot.as_of_ms)), consents)
    for row in tables["events"]:
        if row["user_id"] == who:
            fold.fold(row)
    return fold


def test_every_feature_has_a_purpose_that_users_are_asked_for() -> None:
    assert {type(declared.purpose) for declared in (*USER_FEATURES, *ITEM_FEATURES)} == {Purpose}
    assert {declared.purpose for declared in USER_FEATURES} == {Purpose.PERSONALISATION, Purpose.SEARCH_HISTORY}


def test_nothing_without_consent_is_in_a_training_set(engine: Engine, ingested: Callable[[Tables], Dataset]) -> None:
    tables = shop()
    # What only pat bought, in both windows.
    tables["events"] += [event(f"x{n}", "pat", "i8", "purchase", NOW - 1 - n * DAY_MS) for n in range(15)]
    trained = [
        train(engine, ingested(rows), build_models(MODELS), NOW, 10 * DAY_MS) for rows in (refused(tables, 2), tables)
    ]
    for result, is_there in zip(trained, (False, True), strict=True):
        for snapshot in (result.early, result.snapshot):
            assert ("pat" in snapshot.users) == is_there
            assert (snapshot.item_matrix.loc["i8", ["purchases", "buyers"]] > 0).all() == is_there
            assert (snapshot.items.code("i8") in snapshot.sequences.items) == is_there
        assert ("pat" in result.validation.histories.user_ids) == is_there
        snapshot = result.snapshot
        everybody, hers = snapshot.sequences, snapshot.items.code("i8")
        heard = {name for name, model in result.models.items() if model.score_all(everybody)[:, hers].max() > 1e-6}
        assert heard == ({"bestsellers", "history"} if is_there else set())


def test_who_takes_back_consent_between_decisions_and_the_instant_takes_part_in_neither(
    engine: Engine, ingested: Callable[[Tables], Dataset]
) -> None:
    tables = refused(shop(), NOW - 5 * DAY_MS)
    result = train(engine, ingested(tables), build_models(MODELS), NOW, 10 * DAY_MS)
    assert "pat" not in result.early.users and "pat" not in result.snapshot.users
    assert "pat" not in result.validation.histories.user_ids
    assert "pat" in train(engine, ingested(shop()), build_models(MODELS), NOW, 10 * DAY_MS).early.users
