"""Snapshots of published tables that have no times."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from features.dataset import Dataset
from features.engine import Engine
from features.home import home
from features.ingest import ingest
from features.snapshot import Snapshot, build_snapshot
from features.sources.made_times import END_MS


def snapshot_of(table: pd.DataFrame, file: str, source: str) -> Snapshot:
    """What is known when all of ``table`` has happened, which ``source`` reads from a Parquet file of this name."""
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        files, out = Path(scratch) / "files", Path(scratch) / "data"
        files.mkdir()
        table.to_parquet(files / file, index=False)
        ingest(files, source, out)
        return build_snapshot(engine, Dataset.open(out), END_MS + 1)


__all__ = ["snapshot_of"]
