"""Data sets made of a few rows, for tests that know every one of them."""

from __future__ import annotations

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
