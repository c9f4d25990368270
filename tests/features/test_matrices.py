"""Every declared feature against a plain loop over a random log that sits on the borders of all windows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.definitions import ITEM_FEATURES, ITEM_RATES, USER_FEATURES, Feature, Measure, Table
from features.engine import Engine
from features.errors import InputError
from features.schema import DAY_MS, MISSING, EventType
from features.snapshot import Snapshot, build_snapshot

AS_OF = 20_000 * DAY_MS
Rows = list[dict[str, Any]]
Tables = dict[str, Rows]

#: Distances from the instant: on, just inside and just outside every window, session gaps, and after the instant.
BORDERS = [days * DAY_MS + shift for days in (0, 1, 7, 30, 90) for shift in (-1, 0, 1)]


def some_ts(rng: np.random.Generator) -> int:
    if rng.random() < 0.5:
        return AS_OF - int(rng.choice(BORDERS))
    return AS_OF - int(rng.integers(-5, 100)) * DAY_MS - int(rng.integers(0, 5)) * 900_000


def random_tables(seed: int) -> Tables:
    rng = np.random.default_rng(seed)
    events = []
    for number in range(500):
        kind = str(rng.choice([event_type.value for event_type in EventType]))
        events.append(
            {
                "event_id": f"e{number:03}",
                "user_id": f"u{rng.integers(8)}",
                "item_id": None if kind in ("search", "exit_intent") else f"i{rng.integers(10)}",
                "event_type": kind,
                "ts": some_ts(rng),
                "order_id": f"o{rng.integers(20)}" if kind == "purchase" and rng.random() < 0.6 else None,
                "quantity": int(rng.integers(1, 4)) if rng.random() < 0.8 else None,
                "unit_price_cents": int(rng.integers(0, 5000)) if rng.random() < 0.8 else None,
            }
        )
    items = [
        {
            "item_id": f"i{item}",
            "valid_from": AS_OF - 100 * DAY_MS + shift,
            "category": f"c{rng.integers(3)}/s{item % 2}",
            "price_cents": int(rng.integers(1, 100)),
            "available": bool(rng.random() < 0.5),
        }
        for item in range(9)
        for shift in (0, 50 * DAY_MS, 100 * DAY_MS - 1, 100 * DAY_MS, 100 * DAY_MS + 1)
    ]
    items.append({"item_id": "i9", "valid_from": AS_OF, "category": "c9", "price_cents": 1, "available": True})
    users = [
        {"user_id": f"u{user}", "valid_from": AS_OF + shift, "country": f"{user}{shift}", "gender": gender}
        for user, gender in zip(range(1, 9), ["f", "", None, "m", "f", "", "m", None], strict=True)
        for shift in (-9, -1, 0, 1)
    ]
    users.append({"user_id": "later", "valid_from": AS_OF, "country": "x", "gender": "f"})
    impressions = [
        {
            "request_id": f"r{number}",
            "user_id": f"u{rng.integers(8)}" if number % 10 else "stranger",
            "surface": "home",
            "item_id": f"i{rng.integers(10)}" if number % 11 else "unlisted",
            "rank": 1,
            "score": 0.5,
            "level": 1,
            "propensity": 1.0,
            "arm": "a",
            "bundle_digest": "d",
            "ts": some_ts(rng),
        }
        for number in range(200)
    ]
    return {"events": events, "items": items, "users": users, "impressions": impressions}


def loop(feature: Feature, key: str, entity: str, tables: Tables) -> int | None:
    """The declared number, one row at a time."""
    rows = [row for row in tables[feature.table.value] if row[key] == entity and row["ts"] < AS_OF]
    rows.sort(key=lambda row: (row["ts"], row.get("event_id", "")))
    starts = [at == 0 or row["ts"] - rows[at - 1]["ts"] >= 1_800_000 for at, row in enumerate(rows)]
    chosen = []
    for row, start in zip(rows, starts, strict=True):
        in_window = feature.window_days is None or row["ts"] >= AS_OF - feature.window_days * DAY_MS
        if in_window and (feature.table is Table.IMPRESSIONS or row["event_type"] in feature.events):
            chosen.append((row, start))
    ages = [(AS_OF - row["ts"]) // DAY_MS for row, _ in chosen]
    match feature.measure:
        case Measure.COUNT:
            return len(chosen)
        case Measure.SESSIONS:
            return sum(start for _, start in chosen)
        case Measure.ORDERS:
            return len({row["order_id"] or row["ts"] for row, _ in chosen})
        case Measure.USERS:
            return len({row["user_id"] for row, _ in chosen})
        case Measure.ITEMS:
            return len({row["item_id"] for row, _ in chosen if row["item_id"] is not None})
        case Measure.MONEY_CENTS:
            return sum((row["quantity"] or 1) * (row["unit_price_cents"] or 0) for row, _ in chosen)
        case Measure.DAYS_SINCE_LAST:
            return min(ages, default=None)
        case Measure.DAYS_SINCE_FIRST:
            return max(ages, default=None)
        case Measure.DECAYED_COUNT:
            assert feature.half_life_days is not None
            return sum(math.floor(2**20 * 0.5 ** (age / feature.half_life_days) + 0.5) for age in ages)


def latest(rows: Rows, key: str, entity: str) -> dict[str, Any] | None:
    held = [row for row in rows if row[key] == entity and row["valid_from"] < AS_OF]
    return max(held, key=lambda row: row["valid_from"]) if held else None


@pytest.fixture(scope="module", params=[0, 1])
def case(
    request: pytest.FixtureRequest, engine: Engine, make_dataset: Callable[[Tables], Dataset]
) -> tuple[Tables, Snapshot]:
    tables = random_tables(request.param)
    return tables, build_snapshot(engine, make_dataset(tables), AS_OF)


def test_the_rows_are_who_and_what_was_known(case: tuple[Tables, Snapshot]) -> None:
    tables, snapshot = case
    seen = {row["user_id"] for row in tables["events"] if row["ts"] < AS_OF}
    assert list(snapshot.user_matrix.index) == sorted(seen | {f"u{user}" for user in range(1, 9)})
    assert list(snapshot.item_matrix.index) == [f"i{item}" for item in range(9)]


@pytest.mark.parametrize("entity", ["user", "item"])
def test_every_declared_feature(case: tuple[Tables, Snapshot], entity: str) -> None:
    tables, snapshot = case
    matrix = snapshot.user_matrix if entity == "user" else snapshot.item_matrix
    for feature in USER_FEATURES if entity == "user" else ITEM_FEATURES:
        expected = [loop(feature, f"{entity}_id", one, tables) for one in matrix.index]
        assert [None if pd.isna(value) else int(value) for value in matrix[feature.name]] == expected, feature.name
    names = [feature.name for feature in (USER_FEATURES if entity == "user" else ITEM_FEATURES)]
    assert len(set(names)) == len(names)


def test_rates_are_shrunk_towards_the_rate_of_all_items(case: tuple[Tables, Snapshot]) -> None:
    matrix = case[1].item_matrix
    for rate in ITEM_RATES:
        top, bottom = list(matrix[rate.numerator]), list(matrix[rate.denominator])
        mean = sum(top) / sum(bottom)
        expected = [(a + 20 * mean) / (b + 20) for a, b in zip(top, bottom, strict=True)]
        assert list(matrix[rate.name]) == pytest.approx(expected, rel=1e-12), rate.name


def test_attributes_and_catalogue_are_those_that_held(case: tuple[Tables, Snapshot]) -> None:
    tables, snapshot = case
    for user, found in snapshot.user_matrix[["country", "gender"]].to_dict("index").items():
        row = latest(tables["users"], "user_id", str(user)) or {"country": None, "gender": None}
        assert found == {name: row[name] or MISSING for name in ("country", "gender")}, user
    for item, found in snapshot.item_matrix[["category", "price_cents", "available"]].to_dict("index").items():
        row = latest(tables["items"], "item_id", str(item))
        assert row is not None and row["valid_from"] == AS_OF - 1
        assert found == {name: row[name] for name in found}
    assert set(snapshot.item_matrix["age_days"]) == {100}


def test_affinities_are_shares_of_decayed_points(case: tuple[Tables, Snapshot]) -> None:
    tables, snapshot = case
    weights = {"view": 1, "add_to_cart": 3, "purchase": 5}
    columns = [name for name in snapshot.user_matrix if name.startswith("affinity:")]
    for user, row in snapshot.user_matrix[columns].iterrows():
        points: defaultdict[str, int] = defaultdict(int)
        for event in tables["events"]:
            item = event["item_id"] and latest(tables["items"], "item_id", event["item_id"])
            if event["user_id"] == user and event["ts"] < AS_OF and event["event_type"] in weights and item:
                age = (AS_OF - event["ts"]) // DAY_MS
                decayed = math.floor(2**20 * 0.5 ** (age / 30) + 0.5)
                points["affinity:" + item["category"].split("/")[0]] += weights[event["event_type"]] * decayed
        if points:
            assert row.sum() == pytest.approx(1, abs=1e-12)
            total = sum(points.values())
            assert row.to_dict() == pytest.approx({name: points[name] / total for name in columns}, rel=1e-12)
        else:
            assert row.isna().all()
    assert set(columns) <= {"affinity:c0", "affinity:c1", "affinity:c2"} and columns


ITEM: dict[str, Any] = {"item_id": "a", "valid_from": 0, "category": "mugs", "available": True}


def event(number: int, **values: Any) -> dict[str, Any]:
    base = {"event_id": f"e{number}", "user_id": "u", "item_id": "a", "event_type": "view", "ts": AS_OF - 5}
    return {**base, **values}


def test_the_window_is_half_open(engine: Engine, make_dataset: Callable[[Tables], Dataset]) -> None:
    times = [AS_OF, AS_OF - 1, AS_OF - DAY_MS, AS_OF - DAY_MS - 1, AS_OF + 1]
    data = make_dataset({"events": [event(n, ts=ts) for n, ts in enumerate(times)], "items": [ITEM]})
    snapshot = build_snapshot(engine, data, AS_OF)
    for matrix in (snapshot.user_matrix, snapshot.item_matrix):
        assert (matrix["views_1d"].item(), matrix["views_7d"].item()) == (2, 3)
    assert snapshot.sequences.ts.tolist() == [AS_OF - DAY_MS - 1, AS_OF - DAY_MS, AS_OF - 1]


def test_without_impressions_their_counts_are_zero(engine: Engine, make_dataset: Callable[[Tables], Dataset]) -> None:
    snapshot = build_snapshot(engine, make_dataset({"events": [event(1)], "items": [ITEM]}), AS_OF)
    for matrix in (snapshot.user_matrix, snapshot.item_matrix):
        shown = matrix[[f"impressions_{days}d" for days in (1, 7, 30, 90)]]
        assert (shown == 0).all(axis=None) and set(shown.dtypes.astype(str)) == {"int64"}


def test_impressions_are_no_interactions(engine: Engine, make_dataset: Callable[[Tables], Dataset]) -> None:
    tables: Tables = {**random_tables(3)}
    with_them = build_snapshot(engine, make_dataset(tables), AS_OF)
    del tables["impressions"]
    without = build_snapshot(engine, make_dataset(tables), AS_OF)
    for mine, other in ((with_them.user_matrix, without.user_matrix), (with_them.item_matrix, without.item_matrix)):
        counts = [name for name in mine if name.startswith("impressions_")]
        assert mine[counts].to_numpy().sum() > 0
        pd.testing.assert_frame_equal(mine.drop(columns=counts), other.drop(columns=counts))
    assert (with_them.interactions != without.interactions).nnz == 0


def test_a_rate_without_any_denominator_is_missing(engine: Engine, make_dataset: Callable[[Tables], Dataset]) -> None:
    bought = event(1, event_type="purchase", quantity=1, unit_price_cents=5)
    matrix = build_snapshot(engine, make_dataset({"events": [bought], "items": [ITEM]}), AS_OF).item_matrix
    assert matrix[[rate.name for rate in ITEM_RATES]].isna().all(axis=None)


def test_only_the_largest_categories_have_affinities(engine: Engine, make_dataset: Callable[[Tables], Dataset]) -> None:
    items = [{**ITEM, "item_id": f"a{n}", "category": f"c{n:02}/x"} for n in range(60)]
    events = [event(n, item_id=f"a{n}", user_id=f"u{n % 6}") for n in range(59)]
    events.append(event(59, item_id="a59", user_id="alone"))
    matrix = build_snapshot(engine, make_dataset({"events": events, "items": items}), AS_OF).user_matrix
    columns = [name for name in matrix if name.startswith("affinity:")]
    # All weigh the same: ties fall by name.
    assert columns == [f"affinity:c{n:02}" for n in range(50)]
    assert (matrix.loc["alone", columns] == 0).all()
    assert matrix.loc["u0", columns].sum() == pytest.approx(9 / 10)  # c54 of c00, c06, ... c54 is cut


def test_nothing_before_the_instant(engine: Engine, make_dataset: Callable[[Tables], Dataset]) -> None:
    data = make_dataset({"events": [event(1)], "items": [ITEM]})
    with pytest.raises(InputError, match="as_of must be after the first event"):
        build_snapshot(engine, data, AS_OF - 5)
