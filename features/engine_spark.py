"""The engine beyond one machine: Spark, with a Java process of its own that ends with the engine."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import reduce
from itertools import count
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.util import gen_name
from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext, StorageLevel
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.logger import PySparkLogger
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.engine_backend import SOURCE_FILE, SOURCE_ROW, Failure
from features.engine_spark_dialect import SparkIbis
from features.errors import ConfigError, InputError

#: What makes Spark answer as DuckDB does, and keeps it from opening pages and from writing into the current folder.
_SETTINGS = {
    "spark.app.name": "stellar",
    # Without it, a query that runs out of memory may never end.
    "spark.driver.defaultJavaOptions": "-XX:+ExitOnOutOfMemoryError",
    "spark.driver.maxResultSize": "0",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.jsonGenerator.ignoreNullFields": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_ROWS_AT_A_TIME = 500_000
_DAMAGED = ("FAILED_READ_FILE", "CANNOT_READ_FILE_FOOTER", "Could not read footer")
_MEMORY = ("OutOfMemoryError", "UNABLE_TO_ACQUIRE_MEMORY")


class SparkBackend:
    """Runs Ibis expressions on Spark.

    Args:
        scratch: For results on their way, Spark's own files and its log.
        master: Any Spark master.
        memory_limit_gb: Memory of the driver and of each executor; Spark's default if absent.

    Raises:
        ConfigError: There is no Java, another Spark session runs, or the master cannot be used.
    """

    def __init__(self, scratch: Path, master: str, memory_limit_gb: float | None) -> None:
        if SparkContext._gateway is not None:
            rule, mend = "must be the only Spark session of its process", "close the other one first"
            raise ConfigError("engine spark", rule, "one that is open", mend)
        self._scratch, self._numbers = scratch, count()
        if not re.fullmatch(r"yarn|(local|spark://|k8s://).*", master):
            raise ConfigError("master", "must be local[N], spark://..., k8s://... or yarn", master)
        configuration, log = _configuration(scratch, master, memory_limit_gb), scratch / "spark.log"
        self._gateway = _start_java(configuration, log)
        try:
            SparkContext(conf=configuration, gateway=self._gateway)
            self._session = SparkSession.builder.getOrCreate()
        except (Py4JError, PySparkException, OSError) as error:
            try:
                reason = _reason(error)
            except (Py4JError, OSError):
                # Java's errors are told by Java, which may have ended.
                reason = _complaint(log)
            _end_java(self._gateway)
            mend = "check its address, and that it runs"
            raise ConfigError("master", f"must answer: {master}", reason, mend) from None
        SparkIbis.register_options()
        self._ibis: SparkIbis = SparkIbis().connect(self._session)

    def close(self) -> None:
        """End the session and its Java process."""
        # A query that ran out of memory has ended Java before.
        with suppress(Py4JError, OSError):
            self._session.stop()
        _end_java(self._gateway)

    def scan(self, files: Sequence[Path]) -> ibis.Table:
        """The rows of Parquet files, by column name."""
        alike: dict[pa.Schema, list[str]] = {}
        for file in files:
            alike.setdefault(pq.read_schema(file).remove_metadata(), []).append(_location(file))
        return self._table([self._session.read.parquet(*locations) for locations in alike.values()])

    def scan_numbered(self, origins: Mapping[Path, str]) -> ibis.Table:
        """The rows of Parquet files, each with its origin and number."""
        frames = [
            self._session.read.parquet(_location(file)).select(
                "*", F.lit(origin).alias(SOURCE_FILE), (F.col("_metadata.row_index") + 1).alias(SOURCE_ROW)
            )
            for file, origin in origins.items()
        ]
        rows = self._table(frames)
        added = (SOURCE_FILE, SOURCE_ROW)
        return rows.select(*(name for name in rows.columns if name not in added), *added)

    def keep(self, expr: ibis.Table) -> ibis.Table:
        """All rows, computed once, in memory and on disk where it does not suffice."""
        rows = self._frame(expr).persist(StorageLevel.MEMORY_AND_DISK)
        rows.count()
        return self._table([rows])

    def to_arrow(self, expr: ibis.Table) -> pa.Table:
        """All rows, with the Arrow types of the expression's schema."""
        return self._frame(expr).toArrow().cast(expr.schema().to_pyarrow())

    def batches(self, expr: ibis.Table, size: int) -> Iterator[pa.RecordBatch]:
        """All rows in batches, by way of the scratch folder."""
        schema = expr.schema().to_pyarrow()
        with self._written(expr) as parts:
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for batch in file.iter_batches(size):
                        yield batch.cast(schema)

    def write_parquet(self, expr: ibis.Table, path: Path) -> None:
        """Write all rows to one file: what Spark wrote in parts, one after the other."""
        schema = expr.schema().to_pyarrow()
        with self._written(expr) as parts, pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for batch in file.iter_batches(_ROWS_AT_A_TIME):
                        writer.write_batch(batch.cast(schema))

    def failure(self, error: Exception) -> Failure | None:
        """Tell damaged files and a full memory from defects."""
        if isinstance(error, Py4JError | OSError | EOFError | pa.ArrowException) and self._has_ended():
            return Failure(out_of_memory=True, reason="Spark's Java process ended")
        if isinstance(error, Py4JError | PySparkException):
            for out_of_memory, words in ((False, _DAMAGED), (True, _MEMORY)):
                if any(word in str(error) for word in words):
                    return Failure(out_of_memory, _reason(error))
        return None

    def _has_ended(self) -> bool:
        """Whether the Java process is gone; the connection to it breaks a moment before."""
        with suppress(TimeoutExpired):
            return self._gateway.proc is not None and self._gateway.proc.wait(timeout=1) is not None
        return False

    def _table(self, frames: list[DataFrame]) -> ibis.Table:
        name = gen_name("spark")
        rows = reduce(lambda above, below: above.unionByName(below, allowMissingColumns=True), frames)
        rows.createOrReplaceTempView(name)
        return self._ibis.table(name)

    def _frame(self, expr: ibis.Table) -> DataFrame:
        self._ibis._run_pre_execute_hooks(expr)
        return self._session.sql(self._ibis.compile(expr))

    @contextmanager
    def _written(self, expr: ibis.Table) -> Iterator[list[Path]]:
        """The rows of ``expr`` in Parquet files; their names' order is the rows' order."""
        folder = self._scratch / f"result-{next(self._numbers)}"
        try:
            self._frame(expr).write.parquet(folder.absolute().as_uri())
            yield sorted(folder.glob("part-*.parquet"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _configuration(scratch: Path, master: str, memory_limit_gb: float | None) -> SparkConf:
    settings = {
        **_SETTINGS,
        "spark.master": master,
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
    }
    if master.startswith("local"):
        # One machine needs neither its name resolved nor a port that others can reach.
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if memory_limit_gb is not None:
        memory = f"{round(memory_limit_gb * 1024)}m"
        settings |= {"spark.driver.memory": memory, "spark.executor.memory": memory}
    return SparkConf().setAll(list(settings.items()))


def _start_java(configuration: SparkConf, log: Path) -> Any:
    """The Java process that Spark's driver runs in; what it says goes to ``log``."""
    # PySpark prints each error as JSON beside raising it.
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)
    with log.open("wb") as said:
        try:
            return launch_gateway(configuration, popen_kwargs={"stdout": said, "stderr": said})
        except (PySparkException, OSError):
            reason = _complaint(log)
    mend = "install a Java 17 runtime, for example openjdk-17-jre-headless, or set JAVA_HOME"
    raise ConfigError("engine spark", "needs Java 17 or newer", reason, mend)


def _end_java(gateway: Any) -> None:
    """End the Java process, so that the next engine starts one with its own memory and folders."""
    with suppress(Py4JError, OSError):
        gateway.shutdown()
    if gateway.proc is not None:
        # The process ends when nobody can speak to it any more.
        gateway.proc.stdin.close()
        try:
            gateway.proc.wait(timeout=10)
        except TimeoutExpired:
            gateway.proc.kill()
            gateway.proc.wait()
    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None


def _complaint(log: Path) -> str:
    """The first line in the log that is worse than a warning."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    harmless = re.compile(r"(WARNING:|Using |Setting |To adjust |\S+ \S+ (INFO|WARN) )")
    complaint = next((line for line in lines if line.strip() and not harmless.match(line)), "no answer")
    return re.sub(r"^\S+/spark-class: line \d+: ", "", complaint)


def _location(file: Path) -> str:
    """A file as Spark names it: on the file system, with nothing in it that stands for many files.

    Raises:
        InputError: Spark would pass over the file without a word.
    """
    if file.name.startswith(("_", ".")):
        raise InputError(str(file), "must not begin with _ or . to be read by Spark", mend="rename it")
    return "file:" + re.sub(r"([\[\]{}*?\\])", r"\\\1", str(file.absolute()))


def _reason(error: Exception) -> str:
    """What Java said, without where it said so."""
    lines = [line.strip(" :") for line in str(error).splitlines()]
    return next((line for line in lines if line and "An error occurred while calling" not in line), str(error))


__all__ = ["SparkBackend"]
