"""CSV to Parquet, once and strictly, so that everything behind it reads one format."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from features.errors import InputError


def csv_to_parquet(path: Path, target: Path) -> None:
    """Write the rows of a CSV file to a Parquet file in their order, all as text; an empty field is missing.

    Raises:
        InputError: The file is not UTF-8, has a row with too few or too many fields, an unclosed quote, or a column
            twice.
    """
    ragged: list[arrow_csv.InvalidRow] = []

    def remember(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    names = _csv_header(path)
    last: str | None = None
    try:
        with (
            arrow_csv.open_csv(
                path,
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=1 << 24),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=remember),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={name: pa.string() for name in names},
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                    null_values=[""],
                ),
            ) as reader,
            pq.ParquetWriter(target, reader.schema) as writer,
        ):
            for batch in reader:
                writer.write_batch(batch)
                last = batch.column(batch.num_columns - 1)[-1].as_py() if batch.num_rows else last
    except pa.ArrowInvalid as error:
        if ragged:
            row = ragged[0]
            received = f"{row.actual_columns} in row {row.number - 1}: {row.text}"
            raise InputError(str(path), f"must have {row.expected_columns} fields in each row", received) from None
        if "UTF8" in str(error):
            raise _not_utf8(path) from None
        raise InputError(str(path), "must be a CSV file with a header and commas", str(error)) from None
    if "\n" in (last or "") and not _ends_with_quote(path):
        # An unclosed quote swallows every row after it into one field; that must not pass as one short file.
        raise InputError(str(path), "must close each quote", last, "mend the row, or copy the file again")


def _ends_with_quote(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().rstrip().endswith(b'"')


def _csv_header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            names = next(csv.reader(lines), [])
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except csv.Error as error:
        raise InputError(str(path), "must be a CSV file with a header and commas", str(error)) from None
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(str(path), "must name each column once", f"{', '.join(sorted(twice))} twice")
    return names


def _not_utf8(path: Path) -> InputError:
    return InputError(str(path), "must be UTF-8 text", "other bytes", "save it as UTF-8, or convert it with iconv")


__all__ = ["csv_to_parquet"]
