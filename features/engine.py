"""The seam to the query engines. Expressions are written in Ibis; an engine reads files into them, runs them and writes
their results, equally on DuckDB (inside this process, the default) and on Spark (any number of machines).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ibis
import pandas as pd
import pyarrow as pa
from ibis.expr.operations import PhysicalTable

from features.engine_backend import SOURCE_FILE, SOURCE_ROW, Backend
from features.engine_duckdb import DuckdbBackend
from features.engine_files import TableFiles
from features.errors import ConfigError, InputError

#: Environment variable with the Spark master to use where none is named.
SPARK_MASTER = "STELLAR_SPARK_MASTER"


class EngineName(StrEnum):
    """The engines, by the name that the command line gives them."""

    DUCKDB = "duckdb"
    SPARK = "spark"


class Engine:
    """Runs Ibis expressions. Row order is undefined unless an expression sorts.

    Args:
        connect: Starts the library that runs them; is given a scratch folder, which goes when the engine is closed.
        temp_dir: Where to make the scratch folder; the system's temporary folder if absent.
    """

    def __init__(self, connect: Callable[[Path], Backend], temp_dir: Path | None = None) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="stellar-engine-", dir=temp_dir, ignore_cleanup_errors=True)
        self._files = TableFiles(Path(self._scratch.name))
        self._read_from: dict[str, Path] = {}
        try:
            self._backend = connect(Path(self._scratch.name))
        except BaseException:
            self._scratch.cleanup()
            raise

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
        return cls(lambda scratch: DuckdbBackend(scratch, memory_limit_gb, threads), temp_dir)

    @classmethod
    def spark(
        cls, master: str | None = None, memory_limit_gb: float | None = None, temp_dir: Path | None = None
    ) -> Self:
        """An engine on a Spark cluster, or on this machine with ``local[N]``; one at a time in a process.

        Whatever else Spark can be told comes from its own ``spark-defaults.conf``.

        Args:
            master: Any Spark master; the environment's ``STELLAR_SPARK_MASTER`` if absent, else all cores of this
                machine.
            memory_limit_gb: Memory of the driver and of each executor, at least 0.5; Spark's default if absent.
            temp_dir: For results on their way and converted files; a cluster's machines must share it. The system's
                temporary folder if absent.

        Raises:
            ConfigError: PySpark or Java is not there, another Spark session runs in this process, or the master
                cannot be used.
        """
        if memory_limit_gb is not None and not memory_limit_gb >= 0.5:
            raise ConfigError("memory_limit_gb", "must be at least 0.5 for Spark", memory_limit_gb)
        try:
            from features.engine_spark import SparkBackend
        except ModuleNotFoundError as error:
            rule, mend = "needs the package pyspark", "install stellar with its extra: pip install 'stellar[spark]'"
            raise ConfigError("engine spark", rule, str(error), mend) from None
        chosen = master or os.environ.get(SPARK_MASTER) or "local[*]"
        return cls(lambda scratch: SparkBackend(scratch, chosen, memory_limit_gb), temp_dir)

    @classmethod
    def named(cls, name: str, memory_limit_gb: float | None = None, temp_dir: Path | None = None) -> Self:
        """The engine of that ``EngineName``, at its defaults for all that is not stated.

        Raises:
            ConfigError: There is no engine of that name, or as in ``duckdb`` and ``spark``.
        """
        if name == EngineName.SPARK:
            return cls.spark(memory_limit_gb=memory_limit_gb, temp_dir=temp_dir)
        if name == EngineName.DUCKDB:
            return cls.duckdb(memory_limit_gb=memory_limit_gb, temp_dir=temp_dir)
        raise ConfigError("engine", f"must be one of {', '.join(EngineName)}", name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of memory and spill files; expressions made by this engine cannot run any more."""
        self._backend.close()
        self._scratch.cleanup()

    def read(self, path: Path) -> ibis.Table:
        """The rows of a Parquet file, of a folder of Parquet files, or of a CSV file with a header, all as text.

        Raises:
            NotFoundError: Nothing is there.
            InputError: It is empty, truncated, not Parquet, or not UTF-8 CSV.
        """
        return self._known(path, self._backend.scan([part.parquet for part in self._files.parts(path)]))

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
        parts = self._files.parts(folder / name)
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
        origins = {part.parquet: part.path.relative_to(folder).as_posix() for part in parts}
        return self._known(folder / name, self._backend.scan_numbered(origins))

    def memtable(self, rows: pd.DataFrame | pa.Table) -> ibis.Table:
        """Rows that are already in memory, as an expression."""
        return ibis.memtable(
            pa.Table.from_pandas(rows, preserve_index=False) if isinstance(rows, pd.DataFrame) else rows
        )

    def as_json(self, value: ibis.Value) -> ibis.Value:
        """The value of each row as JSON text: a struct or a map becomes an object."""
        return value.cast("json").cast("string")

    def keep(self, expr: ibis.Table) -> ibis.Table:
        """The rows of ``expr``, computed once and kept until the engine closes; on disk what memory does not hold."""
        with self._running(expr):
            return self._backend.keep(expr)

    def to_arrow(self, expr: ibis.Table) -> pa.Table:
        """All rows of ``expr``, with the Arrow types of its schema."""
        with self._running(expr):
            return self._backend.to_arrow(expr)

    def to_pandas(self, expr: ibis.Table) -> pd.DataFrame:
        """All rows of ``expr``; integers and flags stay exact (``Int64``, ``boolean``) where some are missing."""
        return to_frame(self.to_arrow(expr))

    def value(self, expr: ibis.Scalar) -> Any:
        """The one value of a scalar expression, as a plain Python value; None if missing."""
        return self.to_arrow(expr.as_table())[0][0].as_py()

    def batches(self, expr: ibis.Table, size: int = 500_000) -> Iterator[pa.RecordBatch]:
        """The rows of ``expr`` in batches of at most ``size``, so that memory stays bounded.

        The engine does nothing else before the iteration has ended or was closed.
        """
        with self._running(expr):
            yield from self._backend.batches(expr, size)

    def write_parquet(self, expr: ibis.Table, path: Path) -> None:
        """Write the rows of ``expr`` to one zstd-compressed Parquet file, in order if ``expr`` sorts."""
        with self._running(expr):
            self._backend.write_parquet(expr, path)

    def _known(self, path: Path, table: ibis.Table) -> ibis.Table:
        """``table``, whose errors will name ``path``."""
        self._read_from |= {op.name: path for op in table.op().find(PhysicalTable)}
        return table

    @contextmanager
    def _running(self, expr: ibis.Expr) -> Iterator[None]:
        """What damaged files and a full memory do to a query, in stellar's form; anything else is a defect."""
        try:
            yield
        except Exception as error:
            failure = self._backend.failure(error)
            if failure is None:
                raise
            if failure.out_of_memory:
                rule, mend = "must suffice for the query", "give the engine more"
                raise ConfigError("memory", rule, failure.reason, mend) from None
            tables = expr.op().find(PhysicalTable)
            files = sorted({str(self._read_from[table.name]) for table in tables if table.name in self._read_from})
            raise InputError(", ".join(files), "must be readable", failure.reason, "copy it again") from None


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


__all__ = ["SOURCE_FILE", "SOURCE_ROW", "SPARK_MASTER", "Engine", "EngineName", "to_frame"]
