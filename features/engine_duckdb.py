"""The engine inside this process: DuckDB, which spills to disk what does not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
from ibis.backends.duckdb import Backend
from ibis.util import gen_name

from features.engine_backend import SOURCE_FILE, SOURCE_ROW, Failure

_SOURCE_PATH = "__source_path"


class DuckdbBackend:
    """Runs Ibis expressions on DuckDB.

    Args:
        scratch: Where to spill.
        memory_limit_gb: At most this much memory for the engine; 80 % of the machine's if absent.
        threads: All cores if absent.
    """

    def __init__(self, scratch: Path, memory_limit_gb: float | None, threads: int | None) -> None:
        settings: dict[str, Any] = {"preserve_insertion_order": False, "temp_directory": str(scratch)}
        if memory_limit_gb is not None:
            settings["memory_limit"] = f"{round(memory_limit_gb * 1024)}MiB"
        if threads is not None:
            settings["threads"] = threads
        self._backend: Backend = ibis.duckdb.connect(**settings)
        self._backend.raw_sql("SET enable_progress_bar = false")

    def close(self) -> None:
        """Let go of memory."""
        self._backend.disconnect()

    def scan(self, files: Sequence[Path], **options: Any) -> ibis.Table:
        """The rows of Parquet files, by column name."""
        return self._backend.read_parquet([str(file) for file in files], union_by_name=True, **options)

    def scan_numbered(self, origins: Mapping[Path, str]) -> ibis.Table:
        """The rows of Parquet files, each with its origin and number."""
        # DuckDB is given absolute paths and gives them back.
        names = {str(file.absolute()): origin for file, origin in origins.items()}
        rows = self.scan([Path(file) for file in names], filename=_SOURCE_PATH, file_row_number=True)
        return rows.mutate(
            rows[_SOURCE_PATH].cases(*names.items()).name(SOURCE_FILE),
            (rows["file_row_number"] + 1).name(SOURCE_ROW),
        ).drop(_SOURCE_PATH, "file_row_number")

    def keep(self, expr: ibis.Table) -> ibis.Table:
        """All rows, computed once, in a temporary table."""
        return self._backend.create_table(gen_name("kept"), obj=expr, temp=True)

    def to_arrow(self, expr: ibis.Table) -> pa.Table:
        """All rows, with the Arrow types of the expression's schema."""
        return self._backend.to_pyarrow(expr)

    def batches(self, expr: ibis.Table, size: int) -> Iterator[pa.RecordBatch]:
        """All rows in batches; the engine does nothing else before the iteration has ended or was closed."""
        reader = self._backend._to_duckdb_relation(expr).to_arrow_reader(size)
        schema = expr.schema().to_pyarrow()
        try:
            for batch in reader:
                for start in range(0, batch.num_rows, size):
                    yield batch.slice(start, size).cast(schema)
        finally:
            reader.close()

    def write_parquet(self, expr: ibis.Table, path: Path) -> None:
        """Write all rows to one zstd-compressed file."""
        self._backend.to_parquet(expr, path, compression="zstd")

    def failure(self, error: Exception) -> Failure | None:
        """Tell damaged files and a full memory from defects."""
        if not isinstance(error, duckdb.Error):
            return None
        out_of_memory = isinstance(error, duckdb.OutOfMemoryException)
        # DuckDB raises its bare base class where the pages of a file make no sense.
        damaged = isinstance(error, duckdb.IOException) or type(error) is duckdb.Error
        if out_of_memory or damaged or "Failed to read file" in str(error):
            return Failure(out_of_memory, str(error).splitlines()[0])
        return None


__all__ = ["DuckdbBackend"]
