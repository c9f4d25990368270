"""The files of a published benchmark: checked before anything is learned from them, and what is not used is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.dataset import Dataset
from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.errors import InputError
from features.ingest import ingest
from features.sources.published import Kind, read_columns

#: A larger share of rows that break the contract is no published data.
MOST_BROKEN = 0.01

#: Why how many rows are not used.
LeftOut = dict[str, int]


def read_published(folder: Path, name: str, kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """The columns of ``kinds`` of one file, in the order of its rows.

    Raises:
        NotFoundError: The file is not there.
        InputError: It is unreadable or has no rows, or a column is missing, of another kind, or lacks values.
    """
    with Engine.duckdb() as engine:
        rows = read_columns(engine, folder, name, kinds).order_by(SOURCE_FILE, SOURCE_ROW)
        table = engine.to_arrow(rows.select(*kinds))
    for column in kinds:
        lacking = _lacking(table[column])
        if lacking:
            mend = "use the file as it was published"
            raise InputError(f"{folder / name}: column {column!r}", "must have no missing values", lacking, mend)
    return table.to_pandas()


def _lacking(column: pa.ChunkedArray) -> int:
    """The values that are not there, in lists as well."""
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    return column.null_count + (pc.list_flatten(column).null_count if is_list else 0)


def ingest_published(folder: Path, source: str, out: Path) -> tuple[Dataset, LeftOut]:
    """The data set ``out`` of what a source reads from ``folder``, and the rows that were rejected.

    Raises:
        NotFoundError: A file is not there.
        InputError: A file is unreadable or breaks the contract in more than ``MOST_BROKEN`` of its rows.
    """
    report = ingest(folder, source, out, max_reject_share=1.0)
    left_out: LeftOut = {}
    for name, table in report.tables.items():
        broken = sum(table.contract.values())
        if broken > MOST_BROKEN * table.rows_in:
            told = f"{broken} of {table.rows_in} that do not: {', '.join(table.contract)}"
            mend = f"see each with `stellar data ingest {folder} --source {source} --out FOLDER`"
            raise InputError(
                f"{folder}: {name}", f"must keep the contract in all but {MOST_BROKEN:.0%} of rows", told, mend
            )
        for reason, count in (table.policy | table.contract).items():
            left_out[f"{name}: {reason}"] = count
    return Dataset.open(out), left_out


__all__ = ["MOST_BROKEN", "LeftOut", "ingest_published", "read_published"]
