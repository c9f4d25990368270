"""A data set and what the service recorded since, as one data set."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pandas as pd

from features.dataset import Dataset, table_file
from features.ingest import ingest


def with_recorded(dataset: Dataset, events: pd.DataFrame, impressions: pd.DataFrame, out: Path) -> Dataset:
    """Ingest the data set's own tables together with recorded events and impressions, under the same contract.

    An event that is in both is taken once, by its id.

    Args:
        events, impressions: In the contract's columns; may be empty.
        out: Folder of the data set to write; replaced if there.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch)
        (folder / "events").mkdir()
        shutil.copyfile(table_file(dataset.folder, "events"), folder / "events" / "part-0.parquet")
        if len(events):
            events.to_parquet(folder / "events" / "part-1.parquet", index=False)
        for table in ("items", "users"):
            shutil.copyfile(table_file(dataset.folder, table), folder / f"{table}.parquet")
        if len(impressions):
            impressions.to_parquet(folder / "impressions.parquet", index=False)
        ingest(folder, "tables", out)
    return Dataset.open(out)


__all__ = ["with_recorded"]
