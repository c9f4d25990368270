"""Folders of a few rows each, and what a source reads from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.engine import Engine
from features.sources import source

Rows = list[dict[str, Any]]

#: (folder, file name, rows): write the rows as a Parquet file.
Lay = Callable[[Path, str, Rows], None]

#: (source, folder, table): its rows by file, number and event type, without missing values and without their origin.
Read = Callable[[str, Path, str], Rows]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine.duckdb(threads=1) as running:
        yield running


@pytest.fixture(scope="session")
def lay() -> Lay:
    def write(folder: Path, name: str, rows: Rows) -> None:
        pq.write_table(pa.Table.from_pylist(rows), folder / name)

    return write


@pytest.fixture(scope="session")
def read(engine: Engine) -> Read:
    def rows_of(name: str, folder: Path, table: str) -> Rows:
        rows = engine.to_arrow(source(name).read(engine, folder)[table]).to_pylist()
        assert {row["reject"] for row in rows} <= {None, *source(name).policies}, "a reject must name a policy"
        rows.sort(key=lambda row: (row.pop("source_file"), row.pop("source_row"), row.get("ts") or 0))
        return [{name: value for name, value in row.items() if value is not None} for row in rows]

    return rows_of
