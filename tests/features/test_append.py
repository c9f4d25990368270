"""What comes later is added, once, under the same contract, and as if it had come at once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import features.assemble
from features.append import append, with_recorded
from features.contracts import CONTRACTS
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConflictError, InputError, NotFoundError
from features.ingest import IngestReport, ingest
from features.personal_policy import PersonalDataPolicy
from features.replace import replacing
from features.schema import DAY_MS
from features.snapshot import build_snapshot

AS_OF = 20_000 * DAY_MS
Rows = list[dict[str, Any]]

EVENTS: Rows = [
    {"event_id": f"e{n}", "user_id": f"u{n % 3}", "item_id": f"i{n % 4}", "event_type": "view", "ts": AS_OF - 9 - n}
    for n in range(20)
]
ITEMS: Rows = [{"item_id": f"i{n}", "valid_from": 0, "category": "c", "available": True} for n in range(4)]
USERS: Rows = [{"user_id": f"u{n}", "valid_from": 0, "gender": "f", "country": "x"} for n in range(3)]
SHOWN = {"surface": "home", "score": 0.5, "level": 3, "propensity": 0.25, "arm": "champion", "bundle_digest": "d"}
IMPRESSIONS: Rows = [
    {"request_id": request, "user_id": "u1", "item_id": f"i{rank}", "rank": rank, "ts": AS_OF - 5, **SHOWN}
    for request in ("r1", "r2")
    for rank in (1, 2)
]
NONE = pd.DataFrame()


@pytest.fixture(scope="module")
def data(make_dataset: Callable[[dict[str, Rows]], Dataset]) -> Dataset:
    return make_dataset({"events": EVENTS, "items": ITEMS, "users": USERS})


def ids(data: Dataset, table: str, *keys: str) -> list[Any]:
    return sorted(pq.read_table(data.folder / table, columns=list(keys)).to_pandas().itertuples(index=False))


def test_the_snapshot_sees_what_was_recorded(data: Dataset, engine: Engine, tmp_path: Path) -> None:
    recorded = pd.DataFrame(
        [
            {"event_id": "live1", "user_id": "u1", "item_id": "i3", "event_type": "purchase", "ts": AS_OF - 2},
            {"event_id": "live2", "user_id": "guest", "item_id": "fresh", "event_type": "view", "ts": AS_OF - 1},
            {"event_id": "live3", "user_id": "guest", "item_id": "fresh", "event_type": "view", "ts": AS_OF},
        ]
    )
    both = with_recorded(data, recorded, pd.DataFrame(IMPRESSIONS), tmp_path / "deep" / "out")
    before, after = build_snapshot(engine, data, AS_OF), build_snapshot(engine, both, AS_OF)
    assert both.attributes == data.attributes == ("gender", "country")
    assert set(after.user_matrix.index) - set(before.user_matrix.index) == {"guest"}
    assert set(after.item_matrix.index) - set(before.item_matrix.index) == {"fresh"}
    assert after.user_matrix["purchases_1d"].to_dict() == {"guest": 0, "u0": 0, "u1": 1, "u2": 0}
    assert after.user_matrix["impressions_1d"].to_dict() == {"guest": 0, "u0": 0, "u1": 4, "u2": 0}
    assert after.item_matrix["impressions_90d"].to_dict() == {"fresh": 0, "i0": 0, "i1": 2, "i2": 2, "i3": 0}
    assert after.item_matrix.loc["fresh", "views_1d"] == 1
    shown = both.impressions(engine)
    assert shown is not None
    columns = ["request_id", "rank", "level", "propensity", "bundle_digest"]
    rows = engine.to_pandas(shown.order_by(["request_id", "rank"])[columns]).to_dict("records")
    assert rows == [{name: row[name] for name in columns} for row in IMPRESSIONS]


def test_a_row_is_taken_once(data: Dataset, tmp_path: Path) -> None:
    """Most of what is appended is there already: no breach of the contract, whatever its share."""
    new = {"event_id": "new", "user_id": "u1", "item_id": "i0", "event_type": "view", "ts": AS_OF}
    first = with_recorded(data, pd.DataFrame([*EVENTS, new]), pd.DataFrame(IMPRESSIONS[:3]), tmp_path / "first")
    assert [one.event_id for one in ids(first, "events", "event_id")] == sorted([*(f"e{n}" for n in range(20)), "new"])
    second = with_recorded(first, pd.DataFrame([new]), pd.DataFrame(IMPRESSIONS), tmp_path / "second")
    assert ids(second, "events", "event_id") == ids(first, "events", "event_id")
    assert [tuple(one) for one in ids(second, "impressions", "request_id", "rank")] == [
        ("r1", 1),
        ("r1", 2),
        ("r2", 1),
        ("r2", 2),
    ]


def test_the_same_content_as_one_ingest(
    data: Dataset, make_dataset: Callable[[dict[str, Rows]], Dataset], tmp_path: Path
) -> None:
    half = make_dataset({"events": EVENTS[:10], "items": ITEMS, "users": USERS})
    assert with_recorded(half, pd.DataFrame(EVENTS[10:]), NONE, tmp_path / "out").digest == data.digest


def test_nothing_recorded_changes_nothing(data: Dataset, tmp_path: Path) -> None:
    same = with_recorded(data, NONE, NONE, tmp_path / "out")
    assert same.digest == data.digest and "impressions" not in same.info["tables"]


def test_own_impressions_stay(data: Dataset, tmp_path: Path) -> None:
    shown = with_recorded(data, NONE, pd.DataFrame(IMPRESSIONS), tmp_path / "shown")
    assert with_recorded(shown, NONE, NONE, tmp_path / "again").digest == shown.digest


def test_in_place(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = with_recorded(data, NONE, pd.DataFrame(IMPRESSIONS), out)
    assert with_recorded(first, NONE, pd.DataFrame(IMPRESSIONS), out).digest == first.digest


def test_data_without_order_stays_without(data: Dataset, tmp_path: Path) -> None:
    assert with_recorded(data, NONE, NONE, tmp_path / "ordered").order_within_session
    info = tmp_path / "ordered" / "dataset.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "order_within_session": False}))
    unordered = Dataset.open(tmp_path / "ordered")
    assert not with_recorded(unordered, pd.DataFrame(EVENTS[:1]), NONE, tmp_path / "out").order_within_session


def test_what_breaks_the_contract_is_refused(data: Dataset, tmp_path: Path) -> None:
    bad = pd.DataFrame([{**EVENTS[0], "event_id": "bad", "event_type": "teleport"}])
    with pytest.raises(InputError, match="event_type must be one of"):
        with_recorded(data, bad, NONE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


NOW = 1_000
ALL = frozenset({*(name for contract in CONTRACTS.values() for name in contract.columns), "colour", "country", "age"})
Tables = dict[str, Rows]


def deliver(folder: Path, tables: Tables, name: str = "") -> Path:
    """Tables as Parquet files of text, or with a name as one file of each table's folder; no rows are no file."""
    for table, rows in tables.items():
        if rows:
            path = folder / table / f"{name}.parquet" if name else folder / f"{table}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame = pd.DataFrame(rows)
            frame.astype(str).where(frame.notna(), "").to_parquet(path, index=False)
    return folder


def event(number: int, **values: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": 500, **values}


def content(engine: Engine, dataset: Dataset) -> dict[str, Any]:
    """All rows of all tables, sorted, as the engine sees them and column by column."""
    tables = {"events": dataset.events(engine), "items": dataset.items(engine), "users": dataset.users(engine)}
    impressions = dataset.impressions(engine)
    if impressions is not None:
        tables["impressions"] = impressions
    rows = {name: engine.to_arrow(table.order_by(CONTRACTS[name].key)) for name, table in tables.items()}
    return {name: (table.column_names, table.to_pylist()) for name, table in rows.items()}


def shown(request: int, rank: int, score: float) -> dict[str, Any]:
    own = {"request_id": f"r{request}", "user_id": "u1", "item_id": "i1", "rank": rank, "ts": 700 + request}
    return {**own, **SHOWN, "score": score}


ids_of = {kind: st.sampled_from([f"{kind}{n}" for n in range(4)]) for kind in "ui"}
events = st.builds(
    event,
    st.integers(0, 12),
    user_id=ids_of["u"],
    item_id=ids_of["i"],
    ts=st.sampled_from([1, 5, 5, 400, 900, NOW, NOW + 1]),
    event_type=st.sampled_from(["view", "view", "purchase", "search", "teleport"]),
)
items = st.fixed_dictionaries(
    {
        "item_id": ids_of["i"],
        "valid_from": st.sampled_from([0, 5, 400]),
        "category": st.sampled_from(["mugs", "unknown"]),
        "available": st.just("true"),
    },
    optional={"colour": st.sampled_from(["red", "blue"])},
)
users = st.fixed_dictionaries(
    {"user_id": ids_of["u"], "valid_from": st.sampled_from([0, 5, 400])},
    optional={"country": st.just("x"), "age": st.sampled_from(["1", "2"])},
)
impressions = st.builds(shown, st.integers(1, 3), st.integers(1, 2), st.sampled_from([0.5, 1e-7]))
deliveries = st.fixed_dictionaries(
    {
        "events": st.lists(events, min_size=1, max_size=8),
        "items": st.lists(items, max_size=3),
        "users": st.lists(users, max_size=3),
        "impressions": st.lists(impressions, max_size=3),
    }
)


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(log=st.lists(deliveries, min_size=2, max_size=3))
def test_any_split_of_a_log_is_the_same_data_set(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, log: list[Tables]
) -> None:
    """Late, repeated, contradicting and broken rows, items and users that are named before they are given."""
    folder = tmp_path_factory.mktemp("split")
    log[0]["events"].insert(0, event(99, ts=450))
    once, parted = folder / "once", folder / "parted"
    reports: list[IngestReport] = []
    # Nothing here looks personal, and searching for it takes longer than all the rest.
    options: dict[str, Any] = {"max_reject_share": 1, "now_ms": NOW, "personal_data": PersonalDataPolicy(allowed=ALL)}
    for number, tables in enumerate(log):
        deliver(folder / "all", tables, name=str(number))
        source = deliver(folder / f"day{number}", tables)
        reports.append(append(parted, source, **options) if number else ingest(source, "tables", parted, **options))
    whole = ingest(folder / "all", "tables", once, **options)
    one, many = Dataset.open(once), Dataset.open(parted)
    assert content(engine, many) == content(engine, one)
    assert many.digest == one.digest == whole.digest == reports[-1].digest
    assert (many.attributes, many.first_ms, many.last_ms) == (one.attributes, one.first_ms, one.last_ms)
    for report in [*reports, whole]:
        assert all(table.rows_in == table.accepted + table.rejected for table in report.tables.values())
        assert len(pq.read_table(report.rejects)) == sum(table.rejected for table in report.tables.values())
    for name, account in one.info["tables"].items():
        for count in ("rows_in", "accepted", "rejected", "added"):
            assert many.info["tables"][name][count] == account[count]
    shutil.rmtree(folder)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A data set whose item i2 and user u2 only the events name."""
    first = {
        "events": [event(1), event(2, user_id="u2", item_id="i2", ts=600)],
        "items": [{"item_id": "i1", "valid_from": 0, "category": "mugs", "available": "true"}],
        "users": [{"user_id": "u1", "valid_from": 0, "country": "x"}],
    }
    return ingest(deliver(tmp_path / "first", first), "tables", tmp_path / "shop", now_ms=NOW).out


def rows_of(engine: Engine, dataset: Path, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
    rows = getattr(Dataset.open(dataset), table)(engine)
    return [tuple(row.values()) for row in engine.to_arrow(rows.select(*names).order_by(*names)).to_pylist()]


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_is_there_already_changes_nothing(shop: Path, tmp_path: Path) -> None:
    before = Dataset.open(shop)
    again = deliver(tmp_path / "again", {"events": [event(1), event(2, user_id="u9", ts=1), event(1)]})
    report = append(shop, again, now_ms=NOW)
    account = report.tables["events"]
    assert account.policy == {"differs from the row that is there": 1, "duplicate": 2} and account.contract == {}
    assert (account.rows_in, account.accepted, account.rejected) == (3, 0, 3)
    assert report.digest == before.digest and Dataset.open(shop).parts("events") == before.parts("events")
    rejects = pq.read_table(report.rejects).to_pylist()
    assert report.rejects == shop / "rejects-00001.parquet"
    assert [(row["source_row"], row["reason"], row["received"]) for row in rejects] == [
        (1, "duplicate", None),
        (2, "differs from the row that is there", "e2"),
        (3, "duplicate", None),
    ]


def test_a_row_that_only_events_made_moves_with_them_and_stays_before_later_ones(
    shop: Path, tmp_path: Path, engine: Engine
) -> None:
    def held() -> list[list[tuple[Any, ...]]]:
        return [
            rows_of(engine, shop, "items", ["item_id", "valid_from", "category"]),
            rows_of(engine, shop, "users", ["user_id", "valid_from", "country"]),
        ]

    assert held() == [[("i1", 0, "mugs"), ("i2", 600, "unknown")], [("u1", 0, "x"), ("u2", 600, None)]]
    late = {"events": [event(3, user_id="u2", item_id="i2", ts=7), event(4, user_id="u2", item_id="i2", ts=800)]}
    report = append(shop, deliver(tmp_path / "late", late), now_ms=NOW)
    assert held() == [[("i1", 0, "mugs"), ("i2", 7, "unknown")], [("u1", 0, "x"), ("u2", 7, None)]]
    assert (report.tables["items"].added, report.tables["users"].added) == (1, 1)
    given = {
        "events": [event(5, user_id="u3")],
        "items": [{"item_id": "i2", "valid_from": 300, "category": "tea", "available": "true"}],
        "users": [{"user_id": "u2", "valid_from": 300, "country": "y"}],
    }
    report = append(shop, deliver(tmp_path / "given", given), now_ms=NOW)
    assert held() == [
        [("i1", 0, "mugs"), ("i2", 7, "unknown"), ("i2", 300, "tea")],
        [("u1", 0, "x"), ("u2", 7, None), ("u2", 300, "y"), ("u3", 500, None)],
    ]
    assert (report.tables["items"].added, report.tables["users"].added) == (1, 2)
    # What is given for the whole time leaves nothing to be made up.
    whole = {"items": [{"item_id": "i2", "valid_from": 7, "category": "pots", "available": "true"}]}
    append(shop, deliver(tmp_path / "whole", whole), now_ms=NOW)
    assert held()[0] == [("i1", 0, "mugs"), ("i2", 7, "pots"), ("i2", 300, "tea")]


def test_earlier_parts_are_shared_and_later_ones_added(shop: Path, tmp_path: Path, engine: Engine) -> None:
    before = [(part.path.stat().st_ino, part.digest) for part in Dataset.open(shop).parts("events")]
    for number in (3, 4):
        append(shop, deliver(tmp_path / f"day{number}", {"events": [event(number, ts=number)]}), now_ms=NOW)
    parts = Dataset.open(shop).parts("events")
    assert [(part.path.stat().st_ino, part.digest) for part in parts][:1] == before
    assert [(part.name, part.rows, part.first_ms) for part in parts] == [
        ("part-00000", 2, 500),
        ("part-00001", 1, 3),
        ("part-00002", 1, 4),
    ]
    assert (Dataset.open(shop).first_ms, Dataset.open(shop).last_ms) == (3, 600)
    assert names_in(shop) == [
        *("added.parquet", "dataset.json", "events"),
        *(f"events/part-0000{n}.parquet" for n in range(3)),
        *("items.parquet", "rejects-00001.parquet", "rejects-00002.parquet", "rejects.parquet", "users.parquet"),
    ]
    assert [entry["tables"]["events"]["accepted"] for entry in Dataset.open(shop).info["appended"]] == [1, 1]


def test_files_are_copied_where_they_cannot_be_shared(
    shop: Path, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = deliver(tmp_path / "day", {"events": [event(3)]})
    linked = append(shop, day, out=tmp_path / "linked", now_ms=NOW)

    def fail(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", fail)
    copied = append(shop, day, out=tmp_path / "copied", now_ms=NOW)
    assert copied.digest == linked.digest != Dataset.open(shop).digest
    assert content(engine, Dataset.open(copied.out)) == content(engine, Dataset.open(linked.out))


def test_an_append_that_dies_leaves_the_data_set_as_it_was(
    shop: Path, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, files = content(engine, Dataset.open(shop)), names_in(tmp_path)

    def die(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(features.assemble, "content_digest", die)
    day = deliver(tmp_path / "day", {"events": [event(3)]})
    with pytest.raises(KeyboardInterrupt):
        append(shop, day, now_ms=NOW)
    assert content(engine, Dataset.open(shop)) == before
    assert names_in(tmp_path) == sorted([*files, "day", "day/events.parquet"])


def test_one_append_at_a_time(shop: Path, tmp_path: Path) -> None:
    day = deliver(tmp_path / "day", {"events": [event(3)]})
    with replacing(shop, "dataset.json"), pytest.raises(ConflictError, match="must be written by one run at a time"):
        append(shop, day, now_ms=NOW)


def test_what_is_appended_to_nothing_or_is_nothing_is_refused(shop: Path, tmp_path: Path) -> None:
    day = deliver(tmp_path / "day", {"events": [event(3)]})
    with pytest.raises(NotFoundError, match="must be a data set"):
        append(tmp_path / "nowhere", day, now_ms=NOW)
    with pytest.raises(NotFoundError, match="must be a folder"):
        append(shop, tmp_path / "nowhere", now_ms=NOW)
    with pytest.raises(ConflictError, match="must not hold the files that are read"):
        append(shop, shop / "events", now_ms=NOW)
    assert not (tmp_path / "nowhere").exists()


def test_many_rows_at_once_find_their_few_repeats(tmp_path: Path, engine: Engine) -> None:
    """Keys that repeat at other times than in the data set are found too."""
    rng = np.random.default_rng(0)
    old = [event(n, ts=int(ts)) for n, ts in enumerate(rng.integers(1, NOW, 3_000))]
    new = [event(n, ts=int(ts)) for n, ts in zip(range(2_900, 5_000), rng.integers(1, NOW, 2_100), strict=True)]
    base = ingest(deliver(tmp_path / "old", {"events": old}), "tables", tmp_path / "shop", now_ms=NOW).out
    report = append(base, deliver(tmp_path / "new", {"events": new}), now_ms=NOW)
    same = sum(one["ts"] == other["ts"] for one, other in zip(old[2_900:], new, strict=False))
    account = report.tables["events"]
    assert sum(account.policy.values()) == 100 and account.policy.get("duplicate", 0) == same
    kept = {one["event_id"]: one["ts"] for one in [*new, *old]}
    assert dict(rows_of(engine, base, "events", ["event_id", "ts"])) == kept
