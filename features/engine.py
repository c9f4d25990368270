"""The seam to the query engine: the only file that knows DuckDB.

Expressions are written in Ibis; an engine reads files into them, runs them and writes their results.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.operations import PhysicalTable

from features.csv_files import csv_to_parquet
from features.errors import ConfigError, InputError, NotFoundError

#: Columns that ``read_source`` adds: the file a row came from and its 1-based number there, not counting a CSV header.
SOURCE_FILE, SOURCE_ROW = "source_file", "source_row"

_SOURCE_PATH = "__source_path"


class Engine:
    """Runs Ibis expressions. Row order is undefined unless an expression sorts."""

    def __init__(self, backend: Backend, scratch: tempfile.TemporaryDirectory[str]) -> None:
        self._backend = backend
        self._scratch = scratch
        self._converted: dict[Path, Path] = {}
        self._read_from: dict[str, Path] = {}

    @classmethod
    def duckdb(
        cls, memory_limit_gb: float | None = None, threads: int | None = None, temp_dir: Path | None = None
    ) -> Self:
        """An engine inside this process, which spills to disk what does not fit into memory.

        Args:
            memory_limit_gb: At most this much memory for the engine; 80 % of the machine's if absent.
            threads: At least 1; all cores if absent.
            temp_dir: Where to spill; the system's temporary folder if absent.
        """
        if memory_limit_gb is not None and not memory_limit_gb > 0:
            raise ConfigError("memory_limit_gb", "must be above 0", memory_limit_gb)
        if threads is not None and threads < 1:
            raise ConfigError("threads", "must be at least 1", threads)
        scratch = tempfile.TemporaryDirectory(prefix="stellar-engine-", dir=temp_dir, ignore_cleanup_errors=True)
        settings: dict[str, Any] = {"preserve_insertion_order": False, "temp_directory": scratch.name}
        if memory_limit_gb is not None:
            settings["memory_limit"] = f"{round(memory_limit_gb * 1024)}MiB"
        if threads is not None:
            settings["threads"] = threads
        backend = ibis.duckdb.connect(**settings)
        backend.raw_sql("SET enable_progress_bar = false")
        return cls(backend, scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of memory and spill files; expressions made by this engine cannot run any more."""
        self._backend.disconnect()
        self._scratch.cleanup()

    def read(self, path: Path) -> ibis.Table:
        """The rows of a Parquet file, of a folder of Parquet files, or of a CSV file with a header, all as text.

        Raises:
            NotFoundError: Nothing is there.
            InputError: It is empty, truncated, not Parquet, or not UTF-8 CSV.
        """
        return self._scan(path, self._parts(path))

    def read_source(self, folder: Path, name: str, require: Sequence[str] = ()) -> ibis.Table:
        """As ``read(folder / name)``, for files from outside: where each row came from is added, and must have rows.

        Args:
            folder: What ``source_file`` is relative to.
            name: A file or a folder of Parquet files in ``folder``.
            require: Columns that every file must have.

        Raises:
            NotFoundError: Nothing is there.
            InputError: As in ``read``, or a required column is missing, or there are no rows.
        """
        parts = self._parts(folder / name)
        for part in parts:
            missing = [column for column in require if column not in part.columns]
            if missing:
                raise InputError(
                    f"{part.path}: column {missing[0]!r}",
                    "is missing",
                    f"columns {', '.join(part.columns)}",
                    f"add the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
                )
        if not any(part.rows for part in parts):
            raise InputError(str(folder / name), "has no rows", mend="export the table again, or remove the file")
        numbered = self._scan(folder / name, parts, filename=_SOURCE_PATH, file_row_number=True)
        origins = {str(part.parquet): part.path.relative_to(folder).as_posix() for part in parts}
        return numbered.mutate(
            numbered[_SOURCE_PATH].cases(*origins.items()).name(SOURCE_FILE),
            (numbered["file_row_number"] + 1).name(SOURCE_ROW),
        ).drop(_SOURCE_PATH, "file_row_number")

    def memtable(self, rows: pd.DataFrame | pa.Table) -> ibis.Table:
        """Rows that are already in memory, as an expression."""
        return ibis.memtable(rows)

    def as_json(self, value: ibis.Value) -> ibis.Value:
        """The value of each row as JSON text: a struct or a map becomes an object."""
        return value.cast("json").cast("string")

    def to_arrow(self, expr: ibis.Table) -> pa.Table:
        """All rows of ``expr``, with the Arrow types of its schema."""
        with self._running(expr):
            return self._backend.to_pyarrow(expr)

    def to_pandas(self, expr: ibis.Table) -> pd.DataFrame:
        """All rows of ``expr``; integers and flags stay exact (``Int64``, ``boolean``) where some are missing."""
        return to_frame(self.to_arrow(expr))

    def value(self, expr: ibis.Scalar) -> Any:
        """The one value of a scalar expression, as a plain Python value; None if missing."""
        with self._running(expr):
            return self._backend.to_pyarrow(expr).as_py()

    def batches(self, expr: ibis.Table, size: int = 500_000) -> Iterator[pa.RecordBatch]:
        """The rows of ``expr`` in batches of at most ``size``, so that memory stays bounded.

        The engine does nothing else before the iteration has ended or was closed.
        """
        with self._running(expr):
            reader = self._backend._to_duckdb_relation(expr).to_arrow_reader(size)
        schema = expr.schema().to_pyarrow()
        try:
            while True:
                with self._running(expr):
                    batch = next(reader, None)
                if batch is None:
                    return
                for start in range(0, batch.num_rows, size):
                    yield batch.slice(start, size).cast(schema)
        finally:
            reader.close()

    def write_parquet(self, expr: ibis.Table, path: Path) -> None:
        """Write the rows of ``expr`` to one zstd-compressed Parquet file, in order if ``expr`` sorts."""
        with self._running(expr):
            self._backend.to_parquet(expr, path, compression="zstd")

    def _scan(self, path: Path, parts: list[_Part], **options: Any) -> ibis.Table:
        table = self._backend.read_parquet([str(part.parquet) for part in parts], union_by_name=True, **options)
        self._read_from[table.get_name()] = path
        return table

    @contextmanager
    def _running(self, expr: ibis.Expr) -> Iterator[None]:
        """What damaged files and a full memory do to a query, in stellar's form; anything else is a defect."""
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            rule, mend = "must suffice for the query", "give the engine more"
            raise ConfigError("memory", rule, _first_line(error), mend) from None
        except duckdb.Error as error:
            # DuckDB raises its bare base class where the pages of a file make no sense.
            damaged = isinstance(error, duckdb.IOException) or type(error) is duckdb.Error
            if not damaged and "Failed to read file" not in str(error):
                raise
            tables = expr.op().find(PhysicalTable)
            files = sorted({str(self._read_from[table.name]) for table in tables if table.name in self._read_from})
            raise InputError(", ".join(files), "must be readable", _first_line(error), "copy it again") from None

    def _parts(self, path: Path) -> list[_Part]:
        if not path.exists():
            raise NotFoundError(str(path), "must exist", "nothing there", "check the spelling of the path")
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files:
            raise NotFoundError(str(path), "must hold *.parquet files", "none of them")
        return [self._part(file) for file in files]

    def _part(self, path: Path) -> _Part:
        try:
            if path.stat().st_size == 0:
                raise InputError(str(path), "must not be empty", "0 bytes", "export the table again")
            if path.suffix.lower() != ".csv":
                return _parquet_part(path, path)
            if path not in self._converted:
                self._converted[path] = Path(self._scratch.name) / f"csv-{len(self._converted)}.parquet"
                csv_to_parquet(path, self._converted[path])
            return _parquet_part(path, self._converted[path])
        except OSError as error:
            raise InputError(str(path), "must be readable", error.strerror or str(error)) from None


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of a table: as the caller knows it, and as Parquet."""

    path: Path
    parquet: Path
    rows: int
    columns: list[str] = field(default_factory=list)


def _parquet_part(path: Path, parquet: Path) -> _Part:
    try:
        metadata = pq.read_metadata(parquet)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            str(path), "must be a whole Parquet file", str(error), "it is truncated or something else; copy it again"
        ) from None
    return _Part(path, parquet, metadata.num_rows, metadata.schema.to_arrow_schema().names)


_NULLABLE: Mapping[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas without turning integers or flags into floats or objects where some are missing."""
    frame: pd.DataFrame = table.to_pandas()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and column.type in _NULLABLE:
            frame[name] = _NULLABLE[column.type].__from_arrow__(column)
    return frame


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


__all__ = ["SOURCE_FILE", "SOURCE_ROW", "Engine", "to_frame"]
