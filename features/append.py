"""A data set and what the service recorded since, as one data set."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from features.contracts import EVENTS, IMPRESSIONS, Contract
from features.dataset import INFO, Dataset, table_file
from features.ingest import ingest


def with_recorded(dataset: Dataset, events: pd.DataFrame, impressions: pd.DataFrame, out: Path) -> Dataset:
    """Ingest the data set's own tables together with recorded events and impressions, under the same contract.

    A row that is in both is taken once, by its key, as the data set has it.

    Args:
        events, impressions: In the contract's columns; may be empty.
        out: Folder of the data set to write; replaced if there.

    Raises:
        InputError: Too many recorded rows break the contract.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch)
        for contract, recorded in ((EVENTS, events), (IMPRESSIONS, impressions)):
            _lay_beside(dataset, contract, recorded, folder / contract.name)
        for table in ("items", "users"):
            shutil.copyfile(table_file(dataset.folder, table), folder / f"{table}.parquet")
        ingest(folder, "tables", out)
    return _as_ordered(out, dataset.order_within_session)


def _lay_beside(dataset: Dataset, contract: Contract, recorded: pd.DataFrame, folder: Path) -> None:
    """The data set's own table, and in a second file the recorded rows that it lacks."""
    own = table_file(dataset.folder, contract.name) if contract.name in dataset.info["tables"] else None
    key = list(contract.key)
    if own is not None and len(recorded):
        there = pq.read_table(own, columns=key, filters=[(key[0], "in", list(recorded[key[0]]))]).to_pandas()
        known = pd.MultiIndex.from_frame(there)
        recorded = recorded[~pd.MultiIndex.from_frame(recorded[key]).isin(known)]
    if own is None and recorded.empty:
        return
    folder.mkdir()
    if own is not None:
        shutil.copyfile(own, folder / "part-0.parquet")
    if len(recorded):
        recorded.to_parquet(folder / "part-1.parquet", index=False)


def _as_ordered(folder: Path, order_within_session: bool) -> Dataset:
    """The data set, which carries an order inside a visit only if all of it does."""
    dataset = Dataset.open(folder)
    info = {**dataset.info, "order_within_session": order_within_session}
    part = folder / f"{INFO}.part"
    part.write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, folder / INFO)
    return Dataset.open(folder)


__all__ = ["with_recorded"]
