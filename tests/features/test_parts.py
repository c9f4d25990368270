"""A log in parts: cut by time, sorted inside, read whole or in part."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import features.parts
from features.contracts import EVENTS
from features.dataset import Dataset
from features.engine import Engine
from features.errors import NotFoundError
from features.ingest import ingest
from features.parts import Part, write_parts


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features.parts, "PART_ROWS", 100)
    monkeypatch.setattr(features.parts, "GROUP_ROWS", 30)


def log(ts: list[int]) -> pa.Table:
    rows = [
        {"event_id": f"e{n}", "user_id": "u", "item_id": "i", "event_type": "view", "ts": t} for n, t in enumerate(ts)
    ]
    return pa.Table.from_pylist(rows, schema=EVENTS.arrow_schema())


def parts_of(engine: Engine, ts: list[int], folder: Path) -> list[Part]:
    return write_parts(engine, EVENTS, engine.memtable(log(ts)), folder / "events")


def test_parts_do_not_overlap_and_are_sorted_inside(engine: Engine, tmp_path: Path) -> None:
    ts = np.random.default_rng(0).integers(1, 10**12, 730).tolist()
    parts = parts_of(engine, ts, tmp_path)
    assert [part.name for part in parts] == [f"part-{n:05}" for n in range(len(parts))] and 8 <= len(parts) <= 10
    read = []
    for part in parts:
        rows = pq.read_table(part.path)
        order = list(zip(rows["ts"].to_pylist(), rows["event_id"].to_pylist(), strict=True))
        assert order == sorted(order)
        assert (len(order), order[0][0], order[-1][0]) == (part.rows, part.first_ms, part.last_ms)
        assert part.rows <= 100
        file = pq.ParquetFile(part.path)
        groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        assert [group.num_rows for group in groups[:-1]] == [30] * (len(groups) - 1)
        place = file.schema_arrow.get_field_index("ts")
        assert all(group.column(place).statistics.has_min_max for group in groups)
        read += order
    assert all(one.last_ms < other.first_ms for one, other in itertools.pairwise(parts))
    assert Counter(read) == Counter((t, f"e{n}") for n, t in enumerate(ts))


def test_what_shares_an_instant_shares_a_part(engine: Engine, tmp_path: Path) -> None:
    parts = parts_of(engine, [*[5] * 250, 6, *[7] * 99, 8], tmp_path)
    assert [(part.rows, part.first_ms, part.last_ms) for part in parts] == [(250, 5, 5), (100, 6, 7), (1, 8, 8)]
    assert parts_of(engine, [], tmp_path / "events") == []


def test_the_digest_is_the_same_in_one_part_or_in_many(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop").mkdir()
    pq.write_table(log(list(range(1, 400))), tmp_path / "shop" / "events.parquet")
    many = ingest(tmp_path / "shop", "tables", tmp_path / "many")
    monkeypatch.setattr(features.parts, "PART_ROWS", 1_000)
    one = ingest(tmp_path / "shop", "tables", tmp_path / "one")
    assert many.digest == one.digest
    again = ingest(tmp_path / "many", "tables", tmp_path / "again")  # a data set is a folder of tables, too
    assert again.digest == one.digest
    datasets = [Dataset.open(report.out) for report in (many, one, again)]
    assert [len(dataset.parts("events")) for dataset in datasets] == [4, 1, 1]
    assert (
        len({pd.util.hash_pandas_object(engine.to_pandas(d.events(engine).order_by("ts"))).sum() for d in datasets})
        == 1
    )


def test_parts_are_read_by_name(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    pq.write_table(log(list(range(1, 251))), tmp_path / "shop" / "events.parquet")
    dataset = Dataset.open(ingest(tmp_path / "shop", "tables", tmp_path / "out").out)
    first, second, third = dataset.parts("events")
    assert [(part.first_ms, part.last_ms) for part in (first, second, third)] == [(1, 84), (85, 168), (169, 250)]
    rows = dataset.read_parts(engine, "events", [third.name, first.name, third.name])
    assert sorted(engine.to_arrow(rows)["ts"].to_pylist()) == [*range(1, 85), *range(169, 251)]
    nothing = dataset.read_parts(engine, "events", [])
    assert nothing.schema() == dataset.events(engine).schema() and engine.value(nothing.count()) == 0
    assert dataset.parts("impressions") == () and dataset.impressions(engine) is None
    with pytest.raises(NotFoundError, match="part must be a part of events, received 'part-9'; choose from the 3 in"):
        dataset.read_parts(engine, "events", ["part-9"])
    with pytest.raises(NotFoundError, match="table must be a log, received 'items'"):
        dataset.parts("items")
