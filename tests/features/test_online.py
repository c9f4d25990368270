"""Rows from events that come one by one are the rows of the matrices, whatever the order and however often."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.catalogue import Catalogue
from features.consent import READING, Consents
from features.dataset import Dataset
from features.declarations import Affinity
from features.definitions import ITEM_FEATURES, USER_FEATURES, is_column_of
from features.engine import Engine
from features.identity import Identities
from features.known import Known
from features.listings import LastListings, Listed, Listings
from features.online import UserFold, border_ms
from features.online_items import ItemFold
from features.remember import remember
from features.schema import DAY_MS, IDENTITY, EventType, Purpose
from features.snapshot import Snapshot, build_snapshot
from tests.features.by_hand import Rows, Tables
from tests.features.oracle import GAP_MS
from tests.features.test_matrices import random_tables

MakeDataset = Callable[[Tables], Dataset]
Row = Mapping[str, Any]

NOON = 20_000 * DAY_MS + 43_200_000


@dataclass
class Online:
    """All folds of a log as of an instant: what a service would keep that was told everything, in any order."""

    users: dict[str, UserFold]
    items: dict[str, ItemFold]

    @classmethod
    def told(cls, tables: Tables, catalogue: Catalogue, as_of: int, rng: np.random.Generator) -> Online:
        """Everything of ``tables`` at least once, a fifth of it again, shuffled; identity and consent as of then."""
        identities = Identities()
        for event in tables["events"]:
            if EventType(event["event_type"]) in IDENTITY and event["ts"] < as_of:
                identities.note(EventType(event["event_type"]), event["anonymous_id"], event["user_id"], event["ts"])
        consents = grants(tables["users"], identities, as_of)
        listings = Listings(catalogue)
        # Any instant of the same time of day will do.
        days_end = as_of - 3 * DAY_MS
        users = {
            user: UserFold(days_end, listings, consents[identities.user_of(user)])
            for user in sorted({row["user_id"] for rows in tables.values() for row in rows if "user_id" in row})
        }
        items = {item: ItemFold(days_end, item) for item in catalogue.items.ids}
        said = [*tables["events"], *tables["impressions"]]
        for number in rng.permutation([*range(len(said)), *rng.integers(len(said), size=len(said) // 5)]):
            row = said[number]
            owner = identities.user_of(row["user_id"])
            about = items.get(row.get("item_id") or "")
            if "rank" in row:
                users[row["user_id"]].show(row)
                if about is not None and Purpose.PERSONALISATION in consents[owner].purposes:
                    about.show(row)
            else:
                users[row["user_id"]].fold(row)
                properties = json.loads(row.get("properties") or "{}")
                if about is not None and consents[owner].permits(EventType(row["event_type"]), properties):
                    about.fold({**row, "user_id": owner})
        visitors = defaultdict(list)
        for visitor, user in identities.merges().items():
            visitors[user].append(users[visitor])
        return cls({user: fold.with_visitors(visitors[user]) for user, fold in users.items()}, items)


def grants(rows: Rows, identities: Identities, as_of: int) -> Mapping[str, Consents]:
    """What each user grants by the last words, before the instant, of the user and of each of its visitors."""
    said: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row["valid_from"]):
        if row["valid_from"] < as_of and row["consents"]:
            said[identities.user_of(row["user_id"])][row["user_id"]] = row["consents"]
    granted = {user: Consents.strictest(words.values()) for user, words in said.items()}
    return defaultdict(lambda: Consents.parse(None), granted)


def differences(row: Row, expected: pd.Series, matrix: pd.DataFrame) -> list[tuple[str, Any, Any]]:
    """What is not the same to the bit and of the same type."""
    found = []
    for name, mine in row.items():
        value = expected[name]
        told = None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value
        whole = pd.api.types.is_integer_dtype(matrix[name].dtype)
        if mine != told or (mine is not None and isinstance(mine, int) != whole):
            found.append((name, mine, told))
    return found


def catalogue_of(engine: Engine, data: Dataset, tables: Tables, as_of: int) -> Catalogue:
    shown = {row["item_id"] for row in tables["impressions"]}
    return Catalogue.of(engine.to_pandas(data.items(engine)), shown, as_of)


@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=0, time_of_day_ms=0)
@given(seed=st.integers(0, 10_000), time_of_day_ms=st.integers(0, DAY_MS - 1))
def test_every_declared_feature_is_the_batch_one(
    engine: Engine, make_dataset: MakeDataset, seed: int, time_of_day_ms: int
) -> None:
    as_of = 20_000 * DAY_MS + time_of_day_ms
    tables = random_tables(seed, as_of)
    data = make_dataset(tables)
    snapshot, catalogue = build_snapshot(engine, data, as_of), catalogue_of(engine, data, tables, as_of)
    online = Online.told(tables, catalogue, as_of, np.random.default_rng(seed))

    assert len(snapshot.user_matrix) > 10 and len(snapshot.item_matrix) > 5
    for user, expected in snapshot.user_matrix.iterrows():
        row = online.users[str(user)].row(as_of, snapshot.population, snapshot.items)
        assert set(row) == set(snapshot.user_matrix.columns) - set(snapshot.attributes)
        assert differences(row, expected, snapshot.user_matrix) == [], user
    for item, expected in snapshot.item_matrix.iterrows():
        row = online.items[str(item)].row(as_of, snapshot.population, catalogue)
        assert set(row) == {declared.name for declared in ITEM_FEATURES}
        assert differences(row, expected, snapshot.item_matrix) == [], item


def test_the_next_border_of_the_same_folds(engine: Engine, make_dataset: MakeDataset) -> None:
    """What came during a day is read at its end, and the same folds serve every later day."""
    tables = random_tables(5, NOON)
    later = NOON + 40 * DAY_MS
    # Words and listings stand still, so that one catalogue and one audience serve both instants.
    tables["events"] = [row for row in tables["events"] if EventType(row["event_type"]) not in IDENTITY]
    tables["users"] = [row for row in tables["users"] if row["valid_from"] < NOON]
    tables["items"] = [row for row in tables["items"] if row["valid_from"] < NOON]
    data = make_dataset(tables)
    catalogue = catalogue_of(engine, data, tables, later)
    online = Online.told(tables, catalogue, NOON, np.random.default_rng(0))
    for now in (NOON + DAY_MS, later):
        snapshot = build_snapshot(engine, data, now)
        for user, expected in snapshot.user_matrix.iterrows():
            for instant in (now, now - 1, now - DAY_MS + 1):
                row = online.users[str(user)].row(instant, snapshot.population, snapshot.items)
                assert differences(row, expected, snapshot.user_matrix) == [], (user, instant)


@pytest.fixture(scope="module")
def known(engine: Engine, make_dataset: MakeDataset) -> tuple[Snapshot, Catalogue]:
    """What single rows are compared with."""
    tables = random_tables(1, NOON)
    data = make_dataset(tables)
    return build_snapshot(engine, data, NOON), catalogue_of(engine, data, tables, NOON)


INSTANTS = st.builds(
    lambda days, beside: NOON - days * DAY_MS + beside,
    st.sampled_from([0, 0, 1, 8]),
    st.sampled_from([-GAP_MS - 1, -GAP_MS, -1, 0, 1, GAP_MS, GAP_MS + 1]),
)


def event_of(kind: EventType, item: str, ts: int, order: str | None, price: int | None, channel: str | None) -> Row:
    properties = None if channel is None else json.dumps({"channel": channel})
    return {
        "event_type": kind.value,
        "user_id": "u",
        "item_id": item,
        "ts": ts,
        "order_id": order,
        "unit_price_cents": price,
        "properties": properties,
    }


def shown_of(ts: int, request: int) -> Row:
    return {"request_id": f"r{request}", "surface": "home", "rank": 1, "item_id": "i1", "user_id": "u", "ts": ts}


EVENTS = st.builds(
    event_of,
    st.one_of(st.just(EventType.PURCHASE), st.sampled_from([kind for kind in EventType if kind not in IDENTITY])),
    st.sampled_from(["i1", "i1", "i0", "i9"]),
    INSTANTS,
    st.sampled_from(["o1", None]),
    st.sampled_from([None, 0, 64, 999]),
    st.sampled_from([None, "web", "store"]),
)
SHOWN = st.builds(shown_of, INSTANTS, st.integers(0, 3))
GRANTS = st.sampled_from([None, "none", "personalisation,offline", "personalisation,search_history,offline"])


def folded(said: Iterable[Row], catalogue: Catalogue, consents: str | None) -> tuple[UserFold, ItemFold]:
    user, item = UserFold(NOON, Listings(catalogue), Consents.parse(consents)), ItemFold(NOON, "i1")
    for row in said:
        if "rank" in row:
            user.show(row)
        else:
            user.fold(row)
        if row["item_id"] == "i1":
            (item.show if "rank" in row else item.fold)(row)
    return user, item


def rows_of(folds: tuple[UserFold, ItemFold], known: tuple[Snapshot, Catalogue]) -> tuple[Row, Row]:
    (user, item), (snapshot, catalogue) = folds, known
    return user.row(NOON, snapshot.population, snapshot.items), item.row(NOON, snapshot.population, catalogue)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(EVENTS, EVENTS, SHOWN), min_size=4, max_size=12), GRANTS, st.data())
def test_order_repetition_and_the_future_change_nothing(
    known: tuple[Snapshot, Catalogue], drawn: list[Row], consents: str | None, data: st.DataObject
) -> None:
    said = [{"event_id": f"e{number}", **row} for number, row in enumerate(drawn)]
    # A row of impressions is told once with one time.
    said = list({row.get("request_id", row["event_id"]): row for row in said}.values())
    past = [row for row in said if row["ts"] < NOON]
    expected = rows_of(folded(past, known[1], consents), known)
    arrived = data.draw(st.permutations([*said, *said]))
    assert rows_of(folded(arrived, known[1], consents), known) == expected

    mine = data.draw(st.lists(st.booleans(), min_size=len(said), max_size=len(said)))
    parts = [[row for row, own in zip(said, mine, strict=True) if own is whose] for whose in (True, False)]
    user, visitor = (folded(part, known[1], consents)[0] for part in parts)
    before = [fold.row(NOON, known[0].population, known[0].items) for fold in (user, visitor)]
    whole = user.with_visitors([visitor]).row(NOON, known[0].population, known[0].items)
    assert whole == expected[0]
    assert [fold.row(NOON, known[0].population, known[0].items) for fold in (user, visitor)] == before


def test_what_is_refused_is_not_told(known: tuple[Snapshot, Catalogue]) -> None:
    searched = event_of(EventType.SEARCH, "i1", NOON - 1, None, None, None)
    sold = event_of(EventType.PURCHASE, "i1", NOON - 1, None, 64, "store")
    said = [{"event_id": "a", **searched}, {"event_id": "b", **sold}, shown_of(NOON - 1, 0)]
    nothing, some, everything = (
        rows_of(folded(said, known[1], consents), known)[0]
        for consents in ("none", None, "personalisation,search_history,offline")
    )
    assert set(nothing.values()) == {None}
    searches = {declared.name for declared in USER_FEATURES if declared.purpose is Purpose.SEARCH_HISTORY}
    assert searches == {f"searches_{days}d" for days in (1, 7, 30, 90)}
    assert {some[name] for name in searches} == {None} and {everything[name] for name in searches} == {1}
    assert (some["purchases_1d"], everything["purchases_1d"]) == (0, 1)
    assert (some["top_channel"], everything["top_channel"]) == ("missing", "store")
    assert some["impressions_1d"] == everything["impressions_1d"] == 1
    assert all(is_column_of(name, USER_FEATURES) for name in nothing)
    assert any(isinstance(declared, Affinity) and f"top_{declared.name}" in nothing for declared in USER_FEATURES)


def test_folds_that_read_by_other_rules_are_not_added(known: tuple[Snapshot, Catalogue]) -> None:
    listings = Listings(known[1])
    user = UserFold(NOON, listings)
    for visitor in (UserFold(NOON, listings, Consents.parse("none")), UserFold(NOON + 1, listings)):
        with pytest.raises(ValueError, match="same consents and the same days"):
            user.with_visitors([visitor])


@given(st.integers(0, 10**13), st.integers(0, 10**13))
@settings(derandomize=True)
def test_the_border_is_the_next_end_of_a_day(as_of: int, now: int) -> None:
    border = border_ms(as_of, now)
    assert now <= border < now + DAY_MS and (border - as_of) % DAY_MS == 0


def begun(known: Known, snapshot: Snapshot, listings: Listed, user: str, consents: Consents) -> UserFold:
    """A fold that goes on from what the snapshot knew of an id."""
    code = snapshot.users.code(user)
    did = snapshot.sequences.take(np.array([code] if code >= 0 else [], dtype=np.int64))
    return UserFold.after(known.past(user, did, snapshot.items), snapshot.as_of_ms, listings, consents)


def goes_on(known: Known, ids: list[str], consents: Consents) -> bool:
    """Whether the snapshot knew each of these ids by itself and read it under the same consents."""
    links = known.links(ids)
    gone = [visitor for visitor, user, _ in links if visitor not in ids or user not in ids]
    merged = [visitor for visitor, _, _ in links]
    persons = {user: [user, *(visitor for visitor, other, _ in links if other == user)] for user in ids}
    alike = all(
        known.consents(group).purposes & set(READING) == consents.purposes & set(READING)
        for user, group in persons.items()
        if user not in merged
    )
    return alike and not gone


@settings(max_examples=1, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(seed=0, days=1)
@example(seed=1, days=30)
@given(seed=st.integers(0, 10_000), days=st.sampled_from([1, 2, 30]))
def test_a_fold_that_goes_on_from_a_snapshot_is_the_fold_of_everything(
    engine: Engine, make_dataset: MakeDataset, tmp_path_factory: pytest.TempPathFactory, seed: int, days: int
) -> None:
    """What a snapshot knew and what came since is what the next snapshot knows, to the bit, merges since included."""
    as_of = NOON
    tables = random_tables(seed, as_of)
    tables["users"] = [row for row in tables["users"] if not as_of - days * DAY_MS <= row["valid_from"] < as_of]
    data = make_dataset(tables)
    early, late = (build_snapshot(engine, data, at) for at in (as_of - days * DAY_MS, as_of))
    folder = tmp_path_factory.mktemp("known") / "known"
    kept = remember(engine, data, early).known
    assert kept is not None
    kept.save(folder)
    known, listings = Known.load(folder), Listings(catalogue_of(engine, data, tables, as_of))
    identities = Identities()
    for event in tables["events"]:
        if EventType(event["event_type"]) in IDENTITY and event["ts"] < as_of:
            identities.note(EventType(event["event_type"]), event["anonymous_id"], event["user_id"], event["ts"])
    granted = grants(tables["users"], identities, as_of)
    since = [row for name in ("events", "impressions") for row in tables[name] if early.as_of_ms <= row["ts"] < as_of]
    compared, joined = 0, 0
    for user, expected in late.user_matrix.iterrows():
        ids = [str(user), *(visitor for visitor, end in identities.merges().items() if end == user)]
        if not goes_on(known, ids, granted[str(user)]):
            continue
        folds = {one: begun(known, early, listings, one, granted[str(user)]) for one in ids}
        for row in np.random.default_rng(seed).permutation([*since, *since]):
            if row["user_id"] in folds:
                (folds[row["user_id"]].show if "rank" in row else folds[row["user_id"]].fold)(row)
        row = folds[str(user)].with_visitors(folds[one] for one in ids[1:]).row(as_of, late.population, late.items)
        apart = differences(row, expected, late.user_matrix)
        new = [one for one in ids[1:] if (one, user) not in [link[:2] for link in known.links([one])]]
        # Of two ids' activity without items it is not known any more whether it was one session.
        assert [name for name, *_ in apart if not (new and name.startswith("session"))] == [], user
        compared, joined = compared + 1, joined + bool(new)
    assert compared > 20 and joined


def test_an_order_and_a_session_that_go_on_are_not_begun_again(engine: Engine, make_dataset: MakeDataset) -> None:
    def event(number: int, kind: str, ts: int, **more: Any) -> dict[str, Any]:
        return {"event_id": f"e{number}", "event_type": kind, "user_id": "ann", "ts": ts, **more}

    item = {"item_id": "i0", "valid_from": 1, "category": "c", "available": True, "price_cents": 64}
    before = [event(0, "purchase", NOON - DAY_MS, item_id="i0", order_id="o1"), event(1, "visit", NOON - GAP_MS + 1)]
    since = [event(2, "view", NOON, item_id="i0"), event(3, "purchase", NOON + 9 * GAP_MS, item_id="i0", order_id="o1")]
    data = make_dataset({"events": before, "items": [item]})
    snapshot = build_snapshot(engine, data, NOON)
    known = remember(engine, data, snapshot).known
    assert known is not None
    assert [tuple(order) for order in known.orders("ann")] == [("#o1", NOON - DAY_MS, 1, 1, 0)]
    fold = begun(known, snapshot, LastListings(snapshot.item_matrix), "ann", Consents.parse(None))
    rows = [fold.row(NOON, snapshot.population, snapshot.items)]
    for row in since:
        fold.fold(row)
        rows.append(fold.row(NOON + DAY_MS, snapshot.population, snapshot.items))
    assert [row["sessions_90d"] for row in rows] == [2, 2, 3]
    assert [row["frequency"] for row in rows] == [1, 1, 1]
    assert [row["orders_1d"] for row in rows] == [1, 0, 1]
    assert [row["purchases_90d"] for row in rows] == [1, 1, 2]


def test_what_comes_late_is_folded_into_the_sessions_of_its_time(engine: Engine, make_dataset: MakeDataset) -> None:
    def view(number: int, ts: int) -> dict[str, Any]:
        return {"event_id": f"e{number}", "event_type": "view", "user_id": "ann", "ts": ts, "item_id": "i0"}

    item = {"item_id": "i0", "valid_from": 1, "category": "c", "available": True}
    told = [view(0, NOON - 5 * GAP_MS), view(1, NOON - 3 * GAP_MS - 2), view(2, NOON - DAY_MS)]
    late = [view(3, NOON - 4 * GAP_MS - 1), view(4, NOON - 3 * DAY_MS)]
    data, whole = (make_dataset({"events": rows, "items": [item]}) for rows in (told, [*told, *late]))
    snapshot, expected = build_snapshot(engine, data, NOON), build_snapshot(engine, whole, NOON)
    known = remember(engine, data, snapshot).known
    assert known is not None
    fold = begun(known, snapshot, LastListings(snapshot.item_matrix), "ann", Consents.parse(None))
    for row in late:
        fold.fold(row)
    row = fold.row(NOON, expected.population, expected.items)
    assert differences(row, expected.user_matrix.loc["ann"], expected.user_matrix) == []
    assert (row["sessions_90d"], fold.row(NOON, expected.population, ())["distinct_items"]) == (3, 0)
