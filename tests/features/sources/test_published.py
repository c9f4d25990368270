"""Columns of published files: kinds are checked by name, money and times are exact."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import ibis
import pytest

from features.engine import Engine
from features.errors import InputError
from features.sources.published import Kind, cents, epoch_ms, read_columns, stacked

_GOOD: dict[Kind, list[Any]] = {
    Kind.TEXT: ["a"],
    Kind.INTEGER: [1],
    Kind.NUMBER: [1.5, 1],
    Kind.FLAG: [True],
    Kind.DATE: [date(2020, 1, 1), datetime(2020, 1, 1)],
    Kind.TIME: [datetime(2020, 1, 1)],
    Kind.LIST: [[1, 2]],
}
_VALUES = ["a", 1, 1.5, True, date(2020, 1, 1), datetime(2020, 1, 1), [1, 2], ["a"]]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("value", _VALUES, ids=repr)
def test_a_column_of_another_kind_is_named(engine: Engine, tmp_path: Path, lay: Any, kind: Kind, value: Any) -> None:
    lay(tmp_path, "t.parquet", [{"v": value, "other": "x"}])
    if any(value == good and type(value) is type(good) for good in _GOOD[kind]):
        rows = read_columns(engine, tmp_path, "t.parquet", {"v": kind})
        assert rows.columns == ("v", "source_file", "source_row")
    else:
        with pytest.raises(InputError, match=f"t.parquet: column 'v' {kind.value[0]}, received '.*'; use the file as"):
            read_columns(engine, tmp_path, "t.parquet", {"v": kind})


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0.0, 0), (19.99, 1999), (2.5, 250), (-1.0, -100), (0.006, 1), (1e12, 10**14)]
    + [(bad, None) for bad in (float("nan"), float("inf"), -float("inf"), 1e300, None)],
)
def test_amounts_are_whole_cents_or_missing(engine: Engine, amount: float | None, expected: int | None) -> None:
    rows = ibis.memtable({"v": [amount]}, schema={"v": "float64"})
    assert engine.to_arrow(rows.select(v=cents(rows["v"])))["v"].to_pylist() == [expected]


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (datetime(1970, 1, 1), 0),
        (datetime(2019, 11, 24, 0, 1, 29, 788335), 1_574_553_689_788),
        (datetime(1969, 12, 31, 23, 59, 59, 500_000), -500),
        (None, None),
    ],
)
def test_times_are_epoch_milliseconds(engine: Engine, instant: datetime | None, expected: int | None) -> None:
    rows = ibis.memtable({"v": [instant]}, schema={"v": "timestamp"})
    assert engine.to_arrow(rows.select(v=epoch_ms(rows["v"])))["v"].to_pylist() == [expected]


def test_stacked_tables_have_nothing_where_one_lacks_a_column(engine: Engine) -> None:
    left, right = ibis.memtable({"a": [1], "b": ["x"]}), ibis.memtable({"b": ["y"], "c": [0.5]})
    assert engine.to_arrow(stacked(left, right).order_by("b")).to_pylist() == [
        {"a": 1, "b": "x", "c": None},
        {"a": None, "b": "y", "c": 0.5},
    ]
