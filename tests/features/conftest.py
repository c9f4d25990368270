"""Data sets made of a few rows, for tests that know every one of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.contracts import CONTRACTS
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest

Rows = list[dict[str, Any]]
MakeDataset = Callable[[Mapping[str, Rows]], Dataset]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.duckdb(threads=1) as running:
        yield running


@pytest.fixture(scope="session")
def spark_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spark's own settings for queries so short that the slower of Java's two compilers and many parts do not pay."""
    if not shutil.which("java", path=_java_path()):
        pytest.skip("Java is not installed: tests of the Spark engine need a Java 17 runtime")
    folder = tmp_path_factory.mktemp("spark_settings")
    settings = {
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.shuffle.partitions": "2",
    }
    lines = [f"{name} {value}\n" for name, value in settings.items()]
    (folder / "spark-defaults.conf").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def spark(spark_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One Spark engine for the whole run, for starting it takes seconds."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SPARK_CONF_DIR", str(spark_settings))
        engine = Engine.spark("local[2]", memory_limit_gb=1, temp_dir=tmp_path_factory.mktemp("spark"))
    with engine:
        yield engine


def _java_path() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin") if home else os.environ.get("PATH", "")


@pytest.fixture(scope="module")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> MakeDataset:
    """Ingest tables given as rows; a row may leave out whatever the contract does not require."""

    def make(tables: Mapping[str, Rows]) -> Dataset:
        folder: Path = tmp_path_factory.mktemp("rows")
        for name, rows in tables.items():
            integers = {field.name: "Int64" for field in CONTRACTS[name].fields if field.kind.name == "INTEGER"}
            frame = pd.DataFrame(rows)
            frame.astype({column: dtype for column, dtype in integers.items() if column in frame}).to_parquet(
                folder / f"{name}.parquet", index=False
            )
        ingest(folder, "tables", folder / "out")
        return Dataset.open(folder / "out")

    return make
