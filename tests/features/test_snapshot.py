"""What a snapshot holds, that the future never shows in it, and that only what was saved is loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError, NotFoundError
from features.ingest import ingest
from features.schema import DAY_MS, IDENTITY, INTERACTIONS, EventType
from features.snapshot import Snapshot, build_snapshot

AS_OF = 20_000 * DAY_MS
Rows = list[dict[str, Any]]
Tables = dict[str, Rows]
MakeDataset = Callable[[Tables], Dataset]

#: What may be read of anybody who said nothing, and says nothing of who somebody is.
KINDS = [kind.value for kind in EventType if kind is not EventType.SEARCH and kind not in IDENTITY]
SHOWN = {"surface": "home", "rank": 1, "score": 0.5, "level": 1, "propensity": 1.0, "arm": "a", "bundle_digest": "d"}


def random_tables(seed: int = 0) -> Tables:
    rng = np.random.default_rng(seed)
    events = [
        {
            "event_id": f"e{number:03}",
            "user_id": f"u{rng.integers(9)}",
            "item_id": f"i{rng.integers(6)}",
            "event_type": str(rng.choice(KINDS)),
            "ts": AS_OF - 1 - int(rng.integers(0, 40)) * 3_600_000,
            "unit_price_cents": 100,
        }
        for number in range(120)
    ]
    items = [
        {"item_id": f"i{item}", "valid_from": 0, "category": f"c{item % 2}", "price_cents": item, "available": True}
        for item in range(5)
    ]
    users = [{"user_id": f"u{user}", "valid_from": 0, "country": f"x{user % 3}"} for user in range(3, 12)]
    impressions = [
        {"request_id": f"r{number}", "user_id": "u1", "item_id": "i1", "ts": AS_OF - 1 - number, **SHOWN}
        for number in range(5)
    ]
    return {"events": events, "items": items, "users": users, "impressions": impressions}


def test_sequences_and_interactions_against_a_loop(engine: Engine, make_dataset: MakeDataset) -> None:
    tables = random_tables()
    # i5 was seen before it was listed: of this instant it is an item of which nothing else is known.
    tables["items"].append({"item_id": "i5", "valid_from": AS_OF, "category": "c", "available": True})
    snapshot = build_snapshot(engine, make_dataset(tables), AS_OF)
    users, items = list(snapshot.user_matrix.index), list(snapshot.item_matrix.index)
    assert users == sorted(f"u{user}" for user in range(12)) and items == [f"i{item}" for item in range(6)]
    assert snapshot.item_matrix.loc["i5", "category"] == "unknown"
    sequences = snapshot.sequences
    assert sequences.user_ids.tolist() == users
    assert set(sequences.as_of_ms) == set(sequences.snapshot_ms) == {AS_OF}
    assert sequences.attributes["country"].tolist() == snapshot.user_matrix["country"].tolist()
    cells: Counter[tuple[int, int]] = Counter()
    for row, user in enumerate(users):
        mine = sorted(
            (event for event in tables["events"] if event["user_id"] == user and event["item_id"] in items),
            key=lambda event: (event["ts"], EventType(event["event_type"]).code, event["item_id"]),
        )
        numbers = [items.index(event["item_id"]) for event in mine]
        span = slice(sequences.offsets[row], sequences.offsets[row + 1])
        assert sequences.items[span].tolist() == numbers
        assert sequences.event_types[span].tolist() == [EventType(event["event_type"]).code for event in mine]
        assert sequences.ts[span].tolist() == [event["ts"] for event in mine]
        shows = [event["event_type"] in INTERACTIONS for event in mine]
        cells.update((row, number) for number, is_one in zip(numbers, shows, strict=True) if is_one)
    assert any(event["item_id"] == "i5" for event in tables["events"])
    found = snapshot.interactions.todok()
    assert {cell: int(count) for cell, count in found.items()} == dict(cells)
    assert snapshot.interactions.shape == (12, 6) and snapshot.interactions.dtype == np.int32


def test_the_future_leaves_no_trace(engine: Engine, make_dataset: MakeDataset) -> None:
    tables = random_tables()
    before = build_snapshot(engine, make_dataset(tables), AS_OF)
    event = {"item_id": "i1", "unit_price_cents": 10**6, "anonymous_id": "u2"}
    for number, event_type in enumerate(EventType):
        for shift in (0, 1, 40 * DAY_MS):
            planted = {**event, "event_id": f"f{number}-{shift}", "event_type": event_type.value, "ts": AS_OF + shift}
            tables["events"] += [{**planted, "user_id": "u1"}]
            tables["events"] += [
                {**planted, "event_id": f"g{number}-{shift}", "user_id": "new", "item_id": "brand new"}
            ]
    for item in ("i1", "new"):
        row = {"valid_from": AS_OF, "category": "canary", "price_cents": 1, "available": False}
        tables["items"].append({"item_id": item, **row})
    for user in ("u4", "newer"):
        tables["users"].append({"user_id": user, "valid_from": AS_OF, "country": "canary"})
    for user in ("u1", "newest"):
        tables["impressions"].append({"request_id": user, "user_id": user, "item_id": "i1", "ts": AS_OF, **SHOWN})
    data = make_dataset(tables)
    after = build_snapshot(engine, data, AS_OF)
    pd.testing.assert_frame_equal(after.user_matrix, before.user_matrix)
    pd.testing.assert_frame_equal(after.item_matrix, before.item_matrix)
    for name in ("user_ids", "offsets", "items", "event_types", "ts"):
        np.testing.assert_array_equal(getattr(after.sequences, name), getattr(before.sequences, name))
    assert after.digest == before.digest and after.source_digest != before.source_digest
    # The canaries are not mute: a little later they all show.
    later = build_snapshot(engine, data, AS_OF + 41 * DAY_MS)
    assert later.item_matrix.loc["i1", "category"] == "canary" and "brand new" in later.items
    assert {"new", "newer"} <= set(later.user_matrix.index) and later.user_matrix.loc["u4", "country"] == "canary"
    assert later.user_matrix.loc["u1", "impressions_90d"] == 6


def test_the_digest_is_of_the_content(engine: Engine, make_dataset: MakeDataset, tmp_path: Path) -> None:
    tables = random_tables()
    digest = build_snapshot(engine, make_dataset(tables), AS_OF).digest
    assert build_snapshot(engine, make_dataset(tables), AS_OF).digest == digest
    rng = np.random.default_rng(1)
    for name, rows in tables.items():
        shuffled = [rows[at] for at in rng.permutation(len(rows))]
        pd.DataFrame(shuffled).to_csv(tmp_path / f"{name}.csv", index=False)
    ingest(tmp_path, "tables", tmp_path / "out")
    assert build_snapshot(engine, Dataset.open(tmp_path / "out"), AS_OF).digest == digest
    with Engine.duckdb(threads=2) as other:
        assert build_snapshot(other, Dataset.open(tmp_path / "out"), AS_OF).digest == digest


def changeable() -> Tables:
    tables = random_tables()
    tables["events"][0] |= {"item_id": "i2", "event_type": "purchase"}
    return tables


@pytest.fixture(scope="module")
def unchanged(engine: Engine, make_dataset: MakeDataset) -> str:
    return build_snapshot(engine, make_dataset(changeable()), AS_OF).digest


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("events", {"ts": AS_OF - 2}),
        ("events", {"event_type": "exit_intent"}),
        ("users", {"country": "y"}),
        ("items", {"price_cents": 77}),
        ("impressions", {"ts": AS_OF - 8 * DAY_MS}),
    ],
)
def test_one_change_changes_the_digest(
    engine: Engine, make_dataset: MakeDataset, unchanged: str, table: str, change: dict[str, Any]
) -> None:
    tables = changeable()
    tables[table][0] |= change
    assert build_snapshot(engine, make_dataset(tables), AS_OF).digest != unchanged


@pytest.fixture(scope="module")
def built(shop_data: Dataset, engine: Engine) -> Snapshot:
    return build_snapshot(engine, shop_data, shop_data.first_ms + 60 * DAY_MS)


def test_save_and_load(built: Snapshot, tmp_path: Path) -> None:
    built.save(tmp_path / "snapshot")
    loaded = Snapshot.load(tmp_path / "snapshot")
    assert (loaded.as_of_ms, loaded.source_digest) == (built.as_of_ms, built.source_digest)
    assert loaded.attributes == built.attributes
    pd.testing.assert_frame_equal(loaded.user_matrix, built.user_matrix)
    pd.testing.assert_frame_equal(loaded.item_matrix, built.item_matrix)
    for name in ("user_ids", "as_of_ms", "snapshot_ms", "offsets", "items", "event_types", "ts"):
        mine, other = getattr(loaded.sequences, name), getattr(built.sequences, name)
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype
    for name, values in built.sequences.attributes.items():
        np.testing.assert_array_equal(loaded.sequences.attributes[name], values)
    assert loaded.digest == built.digest
    assert (loaded.interactions != built.interactions).nnz == 0


def other_ts(folder: Path) -> None:
    with np.load(folder / "sequences.npz") as arrays:
        np.savez(folder / "sequences.npz", **{**arrays, "ts": arrays["ts"] + 1})


def other_price(folder: Path) -> None:
    frame = pd.read_parquet(folder / "item_matrix.parquet")
    frame.assign(price_cents=frame["price_cents"] + 1).to_parquet(folder / "item_matrix.parquet")


def other_about(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        about = json.loads((folder / "snapshot.json").read_text())
        (folder / "snapshot.json").write_text(json.dumps({**about, **values}))

    return change


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


@pytest.mark.parametrize(
    "tamper",
    [
        other_ts,
        other_price,
        other_about(as_of_ms=1),
        other_about(attributes=[]),
        other_about(digest="0" * 64),
        truncate("snapshot.json"),
        truncate("user_matrix.parquet"),
        truncate("sequences.npz"),
        lambda folder: (folder / "item_matrix.parquet").unlink(),
    ],
    ids=[*["ts", "price", "as_of", "attributes", "digest"], "cut json", "cut parquet", "cut npz", "gone"],
)
def test_what_was_not_saved_is_refused(built: Snapshot, tmp_path: Path, tamper: Callable[[Path], None]) -> None:
    built.save(tmp_path)
    tamper(tmp_path)
    with pytest.raises(InputError, match="build the snapshot again"):
        Snapshot.load(tmp_path)


def test_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="stellar features build"):
        Snapshot.load(tmp_path)
