"""Spark gives what DuckDB gives: value by value, type by type, up to whole snapshots; and it leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.dataset import Dataset
from features.engine import SPARK_MASTER, Engine
from features.errors import ConfigError, InputError
from features.ingest import ingest
from features.schema import DAY_MS
from features.snapshot import Snapshot, build_snapshot

NAN = float("nan")

#: Missing values, negative ones, ties, NaN, empty texts, separators that mean something to regular expressions.
ROWS = pa.table(
    {
        "id": pa.array(range(7), pa.int64()),
        "key": ["a", "a", "b", "b", "c", None, "d"],
        "ts": pa.array([100, 300, -250, 86_400_000 * 20_000 - 1, 5, 7, 2**53 + 1], pa.int64()),
        "n": pa.array([1, None, 3, 4, None, -6, 2], pa.int64()),
        "small": pa.array([1, 2, -128, 127, 0, None, 3], pa.int8()),
        "flag": [True, False, None, True, False, True, None],
        "share": pa.array([1.5, None, 2.5, -0.5, NAN, float("inf"), 0.49], from_pandas=False),
        "path": ["a/b/c", "", "x", None, "q|/", "/z", "é.😀/ "],
        "json": [
            '{"k":"v","n":1,"o":{"p":2.5},"b":true}',
            '{"k":null,"l":[1,2]}',
            "{}",
            None,
            '{"n":-3,"b":"x"}',
            '{"k":"\\"w\\" 1"}',
            '{"k":12,"n":1.5,"o":{"p":1}}',
        ],
    }
)
NAMES = pa.table({"key": ["a", "b", "b", None], "name": ["A", "B", "B2", "none"], "from": pa.array([0, 0, 9, 0])})


def values(t: ir.Table, names: ir.Table) -> ir.Table:
    """What is computed from one row."""
    document, finite = t.json.cast("json"), t.share.isnull() | t.share.isnan() | t.share.isinf()
    share = finite.ifelse(0.0, t.share)
    return t.select(
        "id",
        floor=t.ts // 100,
        remainder=t.n % 4,
        by_zero=t.n / (t.n - 3).nullif(0),
        floor_by_zero=t.n // (t.n - 3).nullif(0),
        small=t.small,
        nearest=share.cast("int64"),
        rounded=share.round(),
        missing=t.share.isnull(),
        there=t.share.notnull(),
        nan=t.share.isnan(),
        infinite=t.share.isinf(),
        case=ibis.cases((t.key == "a", 1), (t.n > 2, 2), else_=0),
        filled=t.key.fill_null("@" + t.id.cast("string")),
        several=t.key.isin(["a", "c"]),
        more=ibis.greatest(t.n, t.id),
        first=t.path.split("/")[0],
        second=t.path.split("/")[1],
        last=t.path.split("/")[-1],
        parts=t.path.split("|").length(),
        dots=t.path.split(".")[0],
        word=t.path.re_extract(r"^([^/]*)/", 1),
        weight=ibis.array([16, 8, 4, 2])[t.id],
        text=document["k"].str,
        integer=document["n"].int,
        number=document["o"]["p"].float,
        truth=document["b"].bool,
        element=document["l"][1].int,
        raw=document["k"].cast("string"),
        object=ibis.struct({"key": t.key, "n": t.n, "flag": t.flag}).cast("json").cast("string"),
        hour=(t.id * 3_600_000).as_timestamp("ms").hour(),
        half_life=((ibis.literal(0.5) ** (t.id.cast("float64") / 14)) * (1 << 20)).round().cast("int64"),
        md5=t.key.hexdigest("md5"),
    )


def groups(t: ir.Table, names: ir.Table) -> ir.Table:
    """What is computed from the rows of a group; ``where`` also where it holds for none and where it is missing."""
    return t.group_by("key").agg(
        rows=t.count(),
        some=t.count(where=t.n > 1),
        distinct=t.flag.nunique(),
        distinct_where=t.id.nunique(where=t.flag),
        total=t.n.sum(where=t.flag),
        small=t.small.sum(),
        most=t.ts.max(where=t.n > 0),
        least=t.path.min(),
        mean=t.n.mean(),
        spread=t.n.std(how="pop"),
        middle=t.n.median(),
        any=t.flag.any(),
        latest=t.path.argmax(t.id),
        latest_where=t.path.argmax(t.id, where=t.flag),
    )


def windows(t: ir.Table, names: ir.Table) -> ir.Table:
    """What is computed from the rows around one."""
    in_time = ibis.window(group_by="key", order_by=[t.ts, t.id])
    return t.select(
        "id",
        previous=t.ts.lag().over(in_time),
        following=t.ts.lead().over(in_time),
        position=ibis.row_number().over(ibis.window(order_by=[t.n, t.id])),
        from_top=ibis.row_number().over(ibis.window(order_by=[ibis.desc(t.n), t.id])),
        rank=ibis.rank().over(ibis.window(order_by=t.key)),
        share=ibis.percent_rank().over(ibis.window(order_by=t.id)),
        fifth=ibis.ntile(5).over(ibis.window(order_by=t.id)),
        so_far=t.n.sum().over(ibis.window(group_by="flag", order_by=t.id, preceding=None, following=0)),
        counted=t.count(where=t.n > 1).over(ibis.window(group_by="flag")),
        near=t.n.sum().over(ibis.range_window(order_by=t.id, preceding=2, following=0)),
    )


def joins(t: ir.Table, names: ir.Table) -> ir.Table:
    """As of: of the rows that are not later, the last; and what no row matches."""
    pairs = t.join(names, [t.key == names.key, names["from"] <= t.id]).select("id", "name", "from")
    last = ibis.row_number().over(ibis.window(group_by="id", order_by=[ibis.desc(pairs["from"]), pairs["name"]]))
    known = pairs.mutate(place=last).filter(ibis._["place"] == 0).select("id", "name")
    rest = t.anti_join(names, "key").select("id", name=t.key)
    return ibis.union(known, rest)


def unnested(t: ir.Table, names: ir.Table) -> ir.Table:
    """More rows than there were."""
    return t.select("id", part=t.path.split("/").unnest())


def nothing(t: ir.Table, names: ir.Table) -> ir.Table:
    """Aggregates of no rows at all."""
    none = t.filter(t.id < 0)
    return none.agg(n=none.count(), some=none.count(where=none.flag), total=none.n.sum(), most=none.ts.max())


@pytest.mark.parametrize("compute", [values, groups, windows, joins, unnested, nothing], ids=lambda f: f.__name__)
def test_an_expression_gives_equal_rows(
    engine: Engine, spark: Engine, compute: Callable[[ir.Table, ir.Table], ir.Table]
) -> None:
    expected, received = (each.to_arrow(compute(each.memtable(ROWS), each.memtable(NAMES))) for each in (engine, spark))
    assert received.schema == expected.schema
    assert len(expected)
    pd.testing.assert_frame_equal(_in_order(received), _in_order(expected), check_exact=False, rtol=1e-12, atol=0)


def _in_order(rows: pa.Table) -> pd.DataFrame:
    """As Python values, so that no type hides a difference, sorted by what they read as."""
    return pd.DataFrame(sorted(rows.to_pylist(), key=str), dtype=object)


@pytest.mark.parametrize(
    "rows",
    [
        pa.table({"i": pa.array([2**53 + 1, None], pa.int64()), "b": pa.array([None, 1], pa.int8()), "s": ["é", None]}),
        pa.table({"i": pa.array([], pa.int8()), "s": pa.array([], pa.string())}),
        pd.DataFrame({"i": pd.array([2**53 + 1, None], dtype="Int64"), "f": [0.5, None], "s": ["a", None]}),
        pd.DataFrame({"t": pd.to_datetime([0, 1_500_000], unit="us"), "c": pd.Categorical(["x", "y"])}, index=[7, 9]),
    ],
    ids=["arrow", "empty", "pandas", "times"],
)
def test_rows_from_memory_come_back_as_they_were(engine: Engine, spark: Engine, rows: pa.Table | pd.DataFrame) -> None:
    assert spark.to_arrow(spark.memtable(rows)).equals(engine.to_arrow(engine.memtable(rows)))


def test_files_are_read_numbered_and_written_as_duckdb_does(engine: Engine, spark: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "a folder [1]"
    (folder / "events").mkdir(parents=True)
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), folder / "events" / "1.parquet")
    pq.write_table(pa.table({"b": ["z"], "a": pa.array([3], pa.int8()), "c": [3.5]}), folder / "events" / "2.parquet")
    (folder / "t.csv").write_text('v\n"two\nlines"\nlast\n')
    for name in ("events", "t.csv"):
        tables = [
            each.to_arrow(each.read_source(folder, name).order_by("source_file", "source_row"))
            for each in (engine, spark)
        ]
        assert tables[1].equals(tables[0])
    plain = [each.to_arrow(each.read(folder / "events").order_by("a")) for each in (engine, spark)]
    assert plain[1].equals(plain[0])
    spark.write_parquet(spark.read(folder / "events").order_by(ibis.desc("a")), tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {
        "a": [3, 2, 1],
        "b": ["z", "y", "x"],
        "c": [3.5, None, None],
    }
    assert pq.read_metadata(tmp_path / "out.parquet").row_group(0).column(0).compression == "ZSTD"


def test_a_file_that_spark_would_pass_over_is_refused(spark: Engine, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "_a.parquet")
    with pytest.raises(InputError, match=r"_a\.parquet must not begin with _ or \. to be read by Spark"):
        spark.read(tmp_path)


def test_batches_are_small_ordered_and_leave_no_files(spark: Engine) -> None:
    rows = spark.memtable(pa.table({"i": [(i * 7_919) % 30_000 for i in range(30_000)]}))
    batches = list(spark.batches(rows.order_by("i"), size=4_000))
    assert max(batch.num_rows for batch in batches) <= 4_000
    assert [value for batch in batches for value in batch["i"].to_pylist()] == list(range(30_000))
    abandoned = spark.batches(rows, size=10)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    kept = spark.keep(rows.filter(rows["i"] < 10))
    assert spark.value(kept["i"].sum()) == 45
    assert not list(Path(spark._scratch.name).glob("result-*"))


def test_a_damaged_file_is_named(spark: Engine, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [f"value {i}" for i in range(5_000)]}), path, compression="zstd")
    whole = path.read_bytes()
    path.write_bytes(whole[:400] + bytes(400) + whole[800:])
    with pytest.raises(InputError, match=r"t\.parquet must be readable") as raised:
        list(spark.batches(spark.read(path)))
    assert "\n" not in str(raised.value)


def assert_equal_snapshots(received: Snapshot, expected: Snapshot) -> None:
    """Integers and texts are equal, floats within 1e-9 of each other."""
    for name in ("user_matrix", "item_matrix"):
        pd.testing.assert_frame_equal(getattr(received, name), getattr(expected, name), rtol=1e-9, atol=0)
    for name in ("offsets", "items", "event_types", "ts"):
        np.testing.assert_array_equal(getattr(received.sequences, name), getattr(expected.sequences, name))


def test_snapshots_of_the_simulated_shop_are_equal(engine: Engine, spark: Engine, shop_data: Dataset) -> None:
    as_of_ms = shop_data.last_ms - 20 * DAY_MS
    assert_equal_snapshots(build_snapshot(spark, shop_data, as_of_ms), build_snapshot(engine, shop_data, as_of_ms))


def test_snapshots_of_online_retail_are_equal(engine: Engine, spark: Engine, real_data: Path, tmp_path: Path) -> None:
    ingest(real_data / "online_retail", "online_retail", tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    as_of_ms = data.last_ms - 90 * DAY_MS
    assert_equal_snapshots(build_snapshot(spark, data, as_of_ms), build_snapshot(engine, data, as_of_ms))


def test_only_one_spark_session_runs_in_a_process(spark: Engine) -> None:
    with pytest.raises(ConfigError, match="must be the only Spark session of its process"):
        Engine.spark()


def test_settings_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"memory_limit_gb must be at least 0\.5 for Spark, received 0\.1"):
        Engine.spark(memory_limit_gb=0.1)
    monkeypatch.delitem(sys.modules, "features.engine_spark", raising=False)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigError, match=r"needs the package pyspark.*pip install 'stellar\[spark\]'"):
        Engine.named("spark")


def _run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_of_spark_is_loaded_before_it_is_asked_for_and_a_missing_java_is_told(tmp_path: Path) -> None:
    code = """
import sys
from features.engine import Engine
assert "pyspark" not in sys.modules
for settings in ({"master": "mesos://there"}, {}):
    try:
        Engine.spark(**settings)
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = _run(code, tmp_path, JAVA_HOME="/no_java")
    master, java = done.stdout.splitlines()
    assert master.startswith("ConfigError master must be local[N], spark://..., k8s://... or yarn")
    assert java.startswith("ConfigError engine spark needs Java 17 or newer, received")
    assert "/no_java/bin/java: No such file or directory" in java
    assert java.endswith("or set JAVA_HOME")
    assert done.stderr == ""


def test_a_program_goes_on_after_a_wrong_master_and_is_quiet_and_leaves_nothing(
    spark_settings: Path, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "scratch").mkdir()
    code = """
from features.engine import Engine
from pathlib import Path
import pyarrow as pa
try:
    Engine.spark("local[x]")
except Exception as error:
    print(error)
with Engine.named("spark", memory_limit_gb=0.5, temp_dir=Path("../scratch")) as engine:
    rows = engine.memtable(pa.table({"text": ["1", "x"]}))
    try:
        engine.to_arrow(rows.mutate(rows.text.cast("int64").name("number")))
    except Exception as error:
        print("CAST_INVALID_INPUT" in str(error))
"""
    done = _run(code, tmp_path / "work", **{SPARK_MASTER: "local[1]", "SPARK_CONF_DIR": str(spark_settings)})
    refused = """master must answer: local[x], received "org.apache.spark.SparkException: Could not parse Master URL"""
    assert done.stdout.startswith(refused)
    assert done.stdout.endswith("\nTrue\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "work").iterdir()) == []
    assert list((tmp_path / "scratch").iterdir()) == []
