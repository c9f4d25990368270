"""JSON lines to Parquet, once and strictly, so that everything behind it reads one format."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError

#: How names of such files end.
SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

_BATCH_ROWS = 50_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_json_lines(path: Path) -> bool:
    """Whether the file's name says that it holds JSON lines."""
    return path.name.lower().endswith(SUFFIXES)


def json_lines_to_parquet(path: Path, target: Path) -> None:
    """Write the objects of a JSON lines file to a Parquet file in their order, all as text.

    A key that an object lacks, ``null`` and empty text are missing; an object or a list inside becomes JSON text. A
    line of the file is a row: only at the end may lines be blank.

    Raises:
        InputError: The file is not whole, or a line of it is not one JSON object in UTF-8 with distinct keys and finite
            numbers, or keys differ only in case.
    """
    # The first pass checks every line and finds all keys; the second trusts them.
    names = dict.fromkeys(name for row in _checked(path) for name in row)
    if not names:
        raise InputError(str(path), "must hold a JSON object", "blank lines", "export the table again")
    _refuse_twins(path, names)
    schema = pa.schema([(name, pa.string()) for name in names])
    with _open(path) as lines, pq.ParquetWriter(target, schema) as writer:
        while batch := [json.loads(_unmarked(line).decode()) for line in islice(lines, _BATCH_ROWS) if line.strip()]:
            columns = {name: pa.array([_text(row.get(name)) for row in batch], pa.string()) for name in names}
            writer.write_table(pa.table(columns, schema))


def _checked(path: Path) -> Iterator[dict[str, Any]]:
    blank = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    blank = blank or number
                elif blank:
                    raise _refused(path, blank, "must be a JSON object", "a blank line")
                else:
                    yield _object(path, number, _unmarked(line))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(str(path), "must be a whole gzip file", str(error), "copy it again") from None


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _unmarked(line: bytes) -> bytes:
    return line.removeprefix(_BYTE_ORDER_MARK)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise _refused(path, number, "must be UTF-8 text", f"byte {line[error.start]:02X}") from None
    try:
        row = _STRICT.decode(text)
        if "\\u" in text:
            _COMPACT.encode(row).encode()
    except _BreachError as breach:
        raise _refused(path, number, *breach.args) from None
    except UnicodeEncodeError as error:
        half = f"half a character, U+{ord(error.object[error.start]):04X}"
        raise _refused(path, number, "must be Unicode text", half) from None
    except (ValueError, RecursionError):
        raise _refused(path, number, "must be a JSON object", text) from None
    if not isinstance(row, dict) or not row:
        raise _refused(path, number, "must be a JSON object with a key", text)
    return row


class _BreachError(Exception):
    """The rule that a line breaks, and what was received."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _BreachError("must name each key once", f"{next(key for key in keys if keys.count(key) > 1)!r} twice")
    return row


def _not_finite(text: str) -> NoReturn:
    raise _BreachError("must hold finite numbers", text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


# Made once: to make one takes longer than to use it.
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_STRICT = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_not_finite, parse_float=_finite)


def _refuse_twins(path: Path, names: Iterable[str]) -> None:
    """To the query engine, names that differ only in case are one column."""
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(name.lower(), name)
        if twin != name:
            raise InputError(str(path), "must not have keys that differ only in case", f"{twin!r} and {name!r}")


def _text(value: Any) -> str | None:
    if type(value) is str:
        return value or None
    return None if value is None else str(value) if type(value) is int else _COMPACT.encode(value)


def _refused(path: Path, number: int, rule: str, received: str) -> InputError:
    return InputError(f"{path} line {number}", rule, received, "write one object per line")


__all__ = ["SUFFIXES", "is_json_lines", "json_lines_to_parquet"]
