"""A real shop as it is served, for rows that it can show."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.instants import parse_instant
from tests.capabilities.served import bundle_as_of
from training.bundle import Bundle


@pytest.fixture(scope="session")
def retail_data(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Online Retail, whole."""
    folder = tmp_path_factory.mktemp("online_retail") / "data"
    ingest(real_data / "online_retail", "online_retail", folder)
    return Dataset.open(folder)


@pytest.fixture(scope="session")
def retail_bundle(retail_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Online Retail as of a month before its end; only bestsellers rank for single users."""
    with Engine.duckdb(threads=1) as engine:
        as_of_ms = parse_instant("2011-11-09", retail_data, engine)
    return bundle_as_of(retail_data, as_of_ms, tmp_path_factory.mktemp("retail") / "bundle")
