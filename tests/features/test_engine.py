"""The engine seam: what goes in comes out, exactly, and broken files are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.errors import ConfigError, InputError, NotFoundError, StellarError


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine.duckdb(threads=2) as engine:
        yield engine


def test_csv_is_text_and_empty_means_missing(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffa,b\r\n001,"x, ""y""\nz"\r\n,""\r\n1.50,é\r\n'.encode())
    rows = engine.to_arrow(engine.read(tmp_path / "t.csv")).to_pylist()
    assert rows == [{"a": "001", "b": 'x, "y"\nz'}, {"a": None, "b": None}, {"a": "1.50", "b": "é"}]


def test_a_folder_is_the_union_of_its_files_by_column_name(engine: Engine, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": [2], "c": [3.5]}), tmp_path / "2.parquet")
    rows = engine.to_arrow(engine.read(tmp_path).order_by("a")).to_pylist()
    assert rows == [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": "y", "c": 3.5}]


def test_rows_of_a_relative_folder_know_where_they_came_from(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user names it, from the folder above."""
    (tmp_path / "shop").mkdir()
    pd.DataFrame({"v": [7, 8]}).to_parquet(tmp_path / "shop" / "t.parquet")
    monkeypatch.chdir(tmp_path)
    rows = engine.to_arrow(engine.read_source(Path("shop"), "t.parquet").order_by(SOURCE_ROW)).to_pylist()
    assert rows == [
        {"v": 7, SOURCE_FILE: "t.parquet", SOURCE_ROW: 1},
        {"v": 8, SOURCE_FILE: "t.parquet", SOURCE_ROW: 2},
    ]


def test_source_rows_are_numbered_from_one_in_each_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    for name, values in (("a", ["p", "q"]), ("b", ["r"])):
        pq.write_table(pa.table({"v": values}), tmp_path / "events" / f"{name}.parquet")
    (tmp_path / "t.csv").write_text('v\n"two\nlines"\nlast\n')
    numbered = engine.read_source(tmp_path, "events").order_by("v")
    assert [tuple(row.values()) for row in engine.to_arrow(numbered).to_pylist()] == [
        ("p", "events/a.parquet", 1),
        ("q", "events/a.parquet", 2),
        ("r", "events/b.parquet", 1),
    ]
    csv = engine.to_arrow(engine.read_source(tmp_path, "t.csv").order_by(SOURCE_ROW))
    assert csv[SOURCE_ROW].to_pylist() == [1, 2]
    assert csv[SOURCE_FILE].to_pylist() == ["t.csv", "t.csv"]
    assert csv["v"].to_pylist() == ["two\nlines", "last"]


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("t.parquet", None, NotFoundError, "must exist"),
        ("t.csv", None, NotFoundError, "must exist"),
        ("t.parquet", b"", InputError, "0 bytes"),
        ("t.csv", b"", InputError, "0 bytes"),
        ("t.csv", b"a,b\n", InputError, "has no rows"),
        ("t.parquet", b"a,b\n1,2\n", InputError, "must be a whole Parquet file"),
        ("t.csv", b"a,b\n1,\xe9\n", InputError, "must be UTF-8"),
        ("t.csv", b"a,\xe9\n1,2\n", InputError, "must be UTF-8"),
        ("t.csv", b"a,b\n1,2\n3\n", InputError, "must have 2 fields in each row, received '1 in row 2: 3'"),
        ("t.csv", b'a,b\n1,"2\n3,4\n5,6\n', InputError, "must close each quote"),
        ("t.csv", b"a,a\n1,2\n", InputError, "must name each column once"),
        ("t.csv", b"a,c\n1,2\n", InputError, "t.csv: column 'b' is missing, received 'columns a, c'"),
    ],
)
def test_broken_files_are_told_apart_in_one_line(
    engine: Engine, tmp_path: Path, name: str, content: bytes | None, error: type[StellarError], words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error) as raised:
        engine.read_source(tmp_path, name, require=("a", "b"))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("harm", [lambda b: b[: len(b) // 2], lambda b: b[:400] + bytes(400) + b[800:]])
def test_a_truncated_and_a_damaged_parquet_file(engine: Engine, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [f"value {i}" for i in range(5_000)]}), path, compression="zstd")
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(InputError, match=r"t\.parquet must be"):
        list(engine.batches(engine.read(path)))


def test_a_folder_without_parquet_files(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"must hold \*\.parquet files"):
        engine.read(tmp_path)


def test_batches_hold_all_rows_once_and_leave_the_engine_free(engine: Engine) -> None:
    rows = engine.memtable(pa.table({"i": list(range(10_000))}))
    batches = list(engine.batches(rows, size=3_000))
    assert max(batch.num_rows for batch in batches) <= 3_000
    assert sorted(value for batch in batches for value in batch["i"].to_pylist()) == list(range(10_000))
    abandoned = engine.batches(rows, size=10)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    assert engine.value(rows.count()) == 10_000


def test_results_have_the_types_of_the_expression(engine: Engine) -> None:
    rows = engine.memtable(pa.table({"k": ["a", "a", "b"], "i": pa.array([2**53 + 1, None, 1], pa.int64())}))
    sums = rows.group_by("k").agg(total=rows["i"].sum()).order_by("k")
    assert next(engine.batches(sums)).schema == pa.schema([("k", pa.string()), ("total", pa.int64())])
    frame = engine.to_pandas(rows.order_by("k", ibis.desc("i")))
    assert frame["i"].dtype == pd.Int64Dtype()
    assert frame["i"].dropna().tolist() == [2**53 + 1, 1]
    assert engine.to_pandas(sums)["total"].dtype == "int64"
    assert engine.value(rows["i"].max()) == 2**53 + 1


def test_written_rows_keep_their_order_and_are_compressed(engine: Engine, tmp_path: Path) -> None:
    rows = engine.memtable(pa.table({"i": [(i * 7_919) % 300_000 for i in range(300_000)]}))
    engine.write_parquet(rows.order_by("i"), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet")["i"].to_pylist() == list(range(300_000))
    assert pq.read_metadata(tmp_path / "t.parquet").row_group(0).column(0).compression == "ZSTD"


def test_spills_into_the_given_folder_and_cleans_up(tmp_path: Path) -> None:
    with Engine.duckdb(memory_limit_gb=0.5, threads=1, temp_dir=tmp_path) as engine:
        (tmp_path / "t.csv").write_text("a\n1\n")
        engine.read(tmp_path / "t.csv")
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_what_does_not_fit_into_the_stated_memory_spills(tmp_path: Path) -> None:
    n = 1_000_000
    keys = np.random.default_rng(0).permutation(n)
    texts = [f"some text that takes its space {key}" for key in keys.tolist()]
    pq.write_table(pa.table({"key": keys, "text": texts}), tmp_path / "t.parquet")
    spilled, sorted_keys = False, []
    with Engine.duckdb(memory_limit_gb=0.04, threads=1, temp_dir=tmp_path) as engine:
        rows = engine.read(tmp_path / "t.parquet")
        for batch in engine.batches(rows.order_by("key"), 100_000):
            spilled |= any(tmp_path.rglob("duckdb_temp*.tmp"))
            sorted_keys.append(batch["key"].to_numpy())
        assert engine.value(rows.group_by("text").agg(n=rows.count()).count()) == n
    assert spilled
    assert (np.concatenate(sorted_keys) == np.arange(n)).all()


def test_a_memory_too_small_to_spill_from_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": np.random.default_rng(0).permutation(1_000_000)}), tmp_path / "t.parquet")
    told = pytest.raises(ConfigError, match=r"memory must suffice for the query.*give the engine more")
    with Engine.duckdb(memory_limit_gb=0.002, threads=1, temp_dir=tmp_path) as engine, told:
        engine.to_arrow(engine.read(tmp_path / "t.parquet").order_by("key"))


def test_the_engine_is_chosen_by_name() -> None:
    with Engine.named("duckdb", memory_limit_gb=0.5) as engine:
        assert engine.value(engine.memtable(pa.table({"i": [1, 2]}))["i"].sum()) == 3
    with pytest.raises(ConfigError, match="engine must be one of duckdb, spark, received 'polars'"):
        Engine.named("polars")


@pytest.mark.parametrize("settings", [{"memory_limit_gb": 0.0}, {"memory_limit_gb": -1.0}, {"threads": 0}])
def test_settings_that_cannot_be(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Engine.duckdb(**settings)  # type: ignore[arg-type]
