"""Every declared feature against plain loops over random logs that sit on the borders of windows, days and sessions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.declarations import Affinity, Rate
from features.definitions import ITEM_FEATURES, USER_FEATURES
from features.engine import Engine
from features.errors import InputError
from features.schema import DAY_MS, MISSING, EventType
from features.snapshot import Snapshot, build_snapshot
from tests.features.by_hand import Rows, Tables, write
from tests.features.oracle import GAP_MS, Columns, Oracle

MIDNIGHT = 20_000 * DAY_MS
AFTERNOON = MIDNIGHT + 49_031_123

#: Every day of the longest window, and where the decay of 14 and of 30 days reaches nothing.
DAYS = [*range(95), 293, 294, 295, 629, 630, 631]

VISITORS = [f"v{number}" for number in range(6)]
USERS = [f"u{number}" for number in range(9)]
KINDS = [kind.value for kind in EventType if kind not in (EventType.IDENTIFY, EventType.UNIDENTIFY)]
FREE_KINDS = ("search", "exit_intent", "visit", "message", "redemption")
CHANNELS = ["web", "app", "store", "Offline", 7, None]
SHOWN = {"surface": "home", "rank": 1, "score": 0.5, "level": 1, "propensity": 1.0, "arm": "a", "bundle_digest": "d"}


def random_tables(seed: int, as_of: int) -> Tables:
    rng = np.random.default_rng(seed)

    def border() -> int:
        return as_of - int(rng.choice(DAYS)) * DAY_MS + int(rng.choice([-1, 0, 1]))

    return {
        "events": [*random_events(rng, as_of, border), *told(as_of)],
        "items": random_items(rng, as_of),
        "users": random_users(as_of),
        "impressions": [
            {"request_id": f"r{number}", "item_id": f"i{rng.integers(10)}", "ts": border(), **SHOWN}
            | {"user_id": str(rng.choice([*USERS, *VISITORS, "only shown"]))}
            for number in range(300)
        ],
    }


def random_events(rng: np.random.Generator, as_of: int, border: Callable[[], int]) -> Rows:
    """Walks that begin on the border of a day and go on after pauses on the border of a session.

    And visitors of whom little is known, around the day on which what they did is forgotten.
    """
    events: Rows = []
    for _ in range(450):
        user, ts = str(rng.choice([*USERS, *VISITORS])), border()
        for _ in range(rng.integers(1, 4)):
            events.append(random_event(rng, f"e{len(events):04}", user, str(rng.choice(KINDS)), ts))
            ts += int(rng.choice([0, 1, 60_000, GAP_MS - 1, GAP_MS, GAP_MS + 1]))
    for number in range(90):
        kind = str(rng.choice(["view", "add_to_cart", "purchase"]))
        ts = as_of - int(rng.choice([1, 2, 30])) * DAY_MS + int(rng.choice([-1, 0, 1]))
        events.append(random_event(rng, f"f{number}", f"few{number // 3}", kind, ts))
    return events


def random_event(rng: np.random.Generator, name: str, user: str, kind: str, ts: int) -> dict[str, Any]:
    channel = CHANNELS[rng.integers(len(CHANNELS))]
    told_channel = {} if channel is None else {"channel": channel}
    price = int(rng.choice([0, 63, 64, 255, 256, 999, 4096])) + int(rng.integers(2))
    return {
        "event_id": name,
        "user_id": user,
        "item_id": None if kind in FREE_KINDS and rng.random() < 0.7 else f"i{rng.integers(11)}",
        "event_type": kind,
        "ts": ts,
        "order_id": f"o{rng.integers(40)}" if kind == "purchase" and rng.random() < 0.6 else None,
        "quantity": int(rng.integers(1, 4)) if rng.random() < 0.8 else None,
        "unit_price_cents": price if rng.random() < 0.8 else None,
        "properties": json.dumps({"page": 1, **told_channel}) if rng.random() < 0.7 else None,
    }


def told(as_of: int) -> Rows:
    """Visitor v0 is u1, v3 through v0 too; v1 is nobody again, v2 changed its mind, v4 turns out too late."""
    words = [
        ("identify", "v0", "u1", as_of - 9 * DAY_MS),
        ("identify", "v3", "v0", as_of - 1),
        ("identify", "v1", "u2", as_of - 8),
        ("unidentify", "v1", "u2", as_of - 1),
        ("identify", "v2", "u3", as_of - 8),
        ("identify", "v2", "u4", as_of - 7),
        ("identify", "v4", "u5", as_of),
        ("identify", "v5", "u6", as_of - 5),
        ("unidentify", "v5", "u6", as_of),
    ]
    return [
        {"event_id": f"t{number}", "event_type": kind, "anonymous_id": visitor, "user_id": user, "ts": ts}
        for number, (kind, visitor, user, ts) in enumerate(words)
    ]


def random_items(rng: np.random.Generator, as_of: int) -> Rows:
    """i0 to i7 change on borders, i8 came late and has no price, i9 comes later yet, i10 is only in events."""
    ages = [(item, age) for item in range(8) for age in (100 * DAY_MS, 30 * DAY_MS, 7 * DAY_MS + 1, 1, 0, -1)]
    rows = [
        {
            "item_id": f"i{item}",
            "valid_from": as_of - age,
            "category": f"c{rng.integers(3)}/s{item % 2}",
            "brand": f"b{rng.integers(4)}" if rng.random() < 0.8 else None,
            "price_cents": int(rng.choice([64, 255, 256, 999])) if rng.random() < 0.8 else None,
            "available": bool(rng.random() < 0.5),
        }
        for item, age in ages
    ]
    late = {"category": "c1/s1", "brand": None, "price_cents": None, "available": True}
    return [
        *rows,
        {"item_id": "i8", "valid_from": as_of - 3 * DAY_MS - 1, **late},
        {"item_id": "i9", "valid_from": as_of, **late},
    ]


def random_users(as_of: int) -> Rows:
    """Refusals, a word taken back, a row without a word, a visitor stricter than its user, words of the future."""
    words = [
        ("u1", 50 * DAY_MS, "personalisation,search_history,offline,location"),
        ("u1", 1, None),
        ("v0", 40 * DAY_MS, "personalisation,search_history"),
        ("u2", 50 * DAY_MS, "none"),
        ("u2", 1, "personalisation, offline"),
        ("u3", 50 * DAY_MS, "personalisation,offline,email"),
        ("u3", 0, "none"),
        ("u4", 50 * DAY_MS, "search_history"),
        ("u5", 50 * DAY_MS, "personalisation,search_history"),
        ("u5", -1, "none"),
        ("u6", 1, "personalisation,location"),
        ("u7", 0, None),
        ("idle", 1, None),
        ("later", 0, None),
    ]
    return [
        {"user_id": user, "valid_from": as_of - age, "consents": consents, "gender": gender, "city": f"{user}{age}"}
        for (user, age, consents), gender in zip(words, ["f", "", None, "m", "f", "", "m"] * 2, strict=True)
    ]


@pytest.fixture(
    scope="module",
    params=[(0, MIDNIGHT), (1, AFTERNOON), (2, MIDNIGHT + 1)],
    ids=["midnight", "afternoon", "after midnight"],
)
def case(
    request: pytest.FixtureRequest, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Oracle, Snapshot]:
    seed, as_of = request.param
    tables = random_tables(seed, as_of)
    data = write(tmp_path_factory.mktemp("case") / "data", [tables], ["gender", "city"])
    return Oracle(tables, as_of), build_snapshot(engine, data, as_of)


def differences(matrix: pd.DataFrame, expected: Columns) -> list[tuple[str, str, Any, Any]]:
    """Column, row, what was found and what was expected: whole numbers and texts exact, others to 1e-9."""
    found = []
    for name, column in expected.items():
        told = [value for value in column.values() if value is not None]
        if told and all(isinstance(value, int) for value in told):
            assert pd.api.types.is_integer_dtype(matrix[name].dtype), name
        for one, value in column.items():
            mine = matrix.at[one, name]
            if value is None or pd.isna(mine):
                same = value is None and pd.isna(mine)
            else:
                same = math.isclose(mine, value, rel_tol=1e-9) if isinstance(value, float) else mine == value
            if not same:
                found.append((name, one, mine, value))
    return found


def test_the_rows_are_who_and_what_was_known(case: tuple[Oracle, Snapshot]) -> None:
    oracle, snapshot = case
    assert list(snapshot.user_matrix.index) == oracle.users
    assert list(snapshot.item_matrix.index) == oracle.items


def test_every_declared_feature_of_users(case: tuple[Oracle, Snapshot]) -> None:
    oracle, snapshot = case
    expected = oracle.user_columns()
    assert differences(snapshot.user_matrix, expected) == []
    assert set(snapshot.user_matrix.columns) == {*expected, *snapshot.attributes}


def test_every_declared_feature_of_items(case: tuple[Oracle, Snapshot]) -> None:
    oracle, snapshot = case
    expected = oracle.item_columns()
    assert set(expected) == {declared.name for declared in ITEM_FEATURES}
    assert differences(snapshot.item_matrix, expected) == []


def test_attributes_and_catalogue_are_those_that_held(case: tuple[Oracle, Snapshot]) -> None:
    oracle, snapshot = case
    assert snapshot.attributes == ("gender", "city")
    for user in oracle.users:
        row = held(oracle.tables["users"], "user_id", user, oracle.as_of) or {"gender": None, "city": None}
        city = row["city"] if "location" in oracle.granted[user] else MISSING
        found = tuple(snapshot.user_matrix.loc[user, ["gender", "city"]])
        assert found == (row["gender"] or MISSING, city or MISSING), user
    # u1 granted it, but the visitor that u1 turned out to be did not.
    assert {user for user in oracle.users if "location" in oracle.granted[user]} == {"u6"}
    catalogue = ["category", "brand", "price_cents", "available"]
    for item in oracle.items:
        listed = held(oracle.item_rows, "item_id", item, oracle.as_of)
        found = tuple(None if pd.isna(value) else value for value in snapshot.item_matrix.loc[item, catalogue])
        assert listed is not None and found == tuple(listed[name] for name in catalogue), item


def held(rows: Rows, key: str, one: str, as_of: int) -> dict[str, Any] | None:
    known = [row for row in rows if row[key] == one and row["valid_from"] < as_of]
    return max(known, key=lambda row: row["valid_from"]) if known else None


def test_sequences_are_the_readable_events_about_known_items(case: tuple[Oracle, Snapshot]) -> None:
    oracle, snapshot = case
    for row, user in enumerate(oracle.users):
        mine = [line for line in oracle.log if line["user"] == user and line["item"] in oracle.items]
        expected = sorted((line["ts"], line["kind"].code, oracle.items.index(line["item"])) for line in mine)
        span = slice(snapshot.sequences.offsets[row], snapshot.sequences.offsets[row + 1])
        columns = (getattr(snapshot.sequences, name)[span].tolist() for name in ("ts", "event_types", "items"))
        assert list(zip(*columns, strict=True)) == expected, user


def test_the_logs_reach_what_is_asked(case: tuple[Oracle, Snapshot]) -> None:
    """What would go unseen if no log had it."""
    oracle, _ = case
    users, items = oracle.user_columns(), oracle.item_columns()
    assert {"view", "cart", "purchase"} <= set(users["funnel_stage"].values())
    assert None in users["searches_30d"].values() and any(users["searches_30d"].values())
    assert len(set(users["monetary_score"].values())) >= 4 and any(users["order_gap_variation"].values())
    assert any(items["repeat_buyers"].values()) and len(set(items["price_rank"].values())) >= 3
    assert {line["channel"] for line in oracle.log} == {None, "web", "app", "store", "Offline"}
    assert oracle.ends == {"v0": "u1", "v2": "u4", "v3": "u1", "v5": "u6"}
    offsets = {(oracle.as_of - line["ts"]) % DAY_MS for line in oracle.log}
    assert {0, 1, DAY_MS - 1} <= offsets


ITEM: dict[str, Any] = {"item_id": "a", "valid_from": 0, "category": "mugs", "available": True}


def event(number: int, **values: Any) -> dict[str, Any]:
    base = {"event_id": f"e{number}", "user_id": "u", "item_id": "a", "event_type": "view", "ts": MIDNIGHT - 5}
    return {**base, **values}


def built(engine: Engine, folder: Path, **tables: Rows) -> Snapshot:
    return build_snapshot(engine, write(folder / "data", [tables]), MIDNIGHT)


def test_the_window_is_half_open(engine: Engine, tmp_path: Path) -> None:
    times = [MIDNIGHT, MIDNIGHT - 1, MIDNIGHT - DAY_MS, MIDNIGHT - DAY_MS - 1, MIDNIGHT + 1]
    snapshot = built(engine, tmp_path, events=[event(n, ts=ts) for n, ts in enumerate(times)], items=[ITEM])
    for matrix in (snapshot.user_matrix, snapshot.item_matrix):
        assert (matrix["views_1d"].item(), matrix["views_7d"].item()) == (2, 3)
        shown = matrix[[f"impressions_{days}d" for days in (1, 7, 30, 90)]]
        assert (shown == 0).all(axis=None) and set(shown.dtypes.astype(str)) == {"int64"}
    assert snapshot.sequences.ts.tolist() == [MIDNIGHT - DAY_MS - 1, MIDNIGHT - DAY_MS, MIDNIGHT - 1]


def test_a_rate_without_any_denominator_is_missing(engine: Engine, tmp_path: Path) -> None:
    searched = event(1, event_type="search", item_id=None)
    matrix = built(engine, tmp_path, events=[searched], items=[ITEM]).item_matrix
    rates = [declared.name for declared in ITEM_FEATURES if isinstance(declared, Rate)]
    assert matrix[rates].isna().all(axis=None)


def test_only_the_largest_categories_have_affinities(engine: Engine, tmp_path: Path) -> None:
    (columns,) = (declared.columns for declared in USER_FEATURES if isinstance(declared, Affinity) and declared.columns)
    items = [{**ITEM, "item_id": f"a{n}", "category": f"c{n:02}/x"} for n in range(columns + 10)]
    events = [event(n, item_id=f"a{n}", user_id=f"u{n % 6}") for n in range(columns + 9)]
    events.append(event(columns + 9, item_id=f"a{columns + 9}", user_id="alone"))
    matrix = built(engine, tmp_path, events=events, items=items).user_matrix
    named = [name for name in matrix if name.startswith("affinity:")]
    # All weigh the same: ties fall by name.
    assert named == [f"affinity:c{n:02}" for n in range(columns)]
    assert (matrix.loc["alone", named] == 0).all()
    assert matrix.loc["alone", "top_category"] == f"c{columns + 9}" and matrix.loc["alone", "top_category_share"] == 1


def test_nobody_may_be_read(engine: Engine, tmp_path: Path) -> None:
    user = {"user_id": "u", "valid_from": 0, "consents": "none", "gender": "f"}
    snapshot = built(engine, tmp_path, events=[event(1)], items=[ITEM], users=[user])
    assert len(snapshot.user_matrix) == 0 and "monetary_score" in snapshot.user_matrix
    assert snapshot.item_matrix["views_90d"].tolist() == [0] and len(snapshot.sequences.items) == 0


def test_nothing_before_the_instant(engine: Engine, tmp_path: Path) -> None:
    data = write(tmp_path / "data", [{"events": [event(1)], "items": [ITEM]}])
    with pytest.raises(InputError, match="as_of must be after the first event"):
        build_snapshot(engine, data, MIDNIGHT - 5)
    searched = event(1, event_type="search", item_id=None)
    data = write(tmp_path / "other", [{"events": [searched], "items": [{**ITEM, "valid_from": MIDNIGHT}]}])
    with pytest.raises(InputError, match="must be before as_of for some item"):
        build_snapshot(engine, data, MIDNIGHT)
