"""More rows for a data set: another delivery of the shop, or what the service recorded since."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ibis
import pandas as pd

from features.contracts import EVENTS, IMPRESSIONS
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import REFUSE, Delivery, IngestReport, take_in
from features.personal_policy import PersonalDataPolicy
from features.sources import Source, source
from features.staging import Progress


def append(
    dataset: Path,
    folder: Path,
    source_name: str = "tables",
    *,
    out: Path | None = None,
    max_reject_share: float = 0.01,
    now_ms: int | None = None,
    progress: Progress | None = None,
    personal_data: PersonalDataPolicy = REFUSE,
) -> IngestReport:
    """Add the rows of the files in ``folder`` to a data set.

    However rows are split into one ingest and any number of appends, in the order in which they come, the tables and
    the digest are those of one ingest of them all. A row whose key is in the data set already changes nothing: it is
    rejected as a duplicate, or as different, whatever the share of such rows. Earlier parts are read for their keys,
    and shared with the new data set instead of written again. As with ``ingest``, it is whole at any moment.

    Args:
        dataset: Folder of the data set.
        folder: As the source describes it.
        source_name: A name in ``features.sources.SOURCES``.
        out: Where to write the data set with both; ``dataset`` itself if absent.
        max_reject_share: Of a table's new rows that break the contract, from 0 to 1.
        now_ms: Events after this are in the future; the clock's time if absent.
        progress: Told about each batch.
        personal_data: What happens to personal data; give what the ingest was given, so that tokens are the same.

    Returns:
        The account of the new rows, and the instants and the digest of the data set with them.

    Raises:
        NotFoundError: The data set, the folder, one of its files or the source does not exist.
        InputError: A file is unreadable, lacks a column or rows, holds personal data that are refused, or too many rows
            break the contract.
        ConflictError: Another run is writing the data set.
        ConfigError: ``max_reject_share`` is no share, or nothing can be written there, or the disk is full.
    """
    delivery = Delivery(folder, source(source_name), max_reject_share, now_ms, progress, personal_data)
    return take_in(delivery, dataset if out is None else out, onto=dataset)


def with_recorded(dataset: Dataset, events: pd.DataFrame, impressions: pd.DataFrame, out: Path) -> Dataset:
    """The data set and recorded events and impressions as one data set, under the same contract.

    A row that is in both is taken once, by its key, as the data set has it.

    Args:
        dataset: Stays as it is, unless ``out`` is its folder.
        events, impressions: In the contract's columns; may be empty.
        out: Folder of the data set to write; replaced if there.

    Raises:
        InputError: Too many recorded rows break the contract.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        for name, rows in ((EVENTS.name, events), (IMPRESSIONS.name, impressions)):
            if len(rows):
                rows.to_parquet(Path(scratch) / f"{name}.parquet", index=False)
        # What somebody typed into a search box must not keep a shop from its features.
        delivery = Delivery(Path(scratch), _RECORDED, personal_data=PersonalDataPolicy.mildest())
        take_in(delivery, out, onto=dataset.folder)
    return Dataset.open(out)


def _read_recorded(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    tables = {}
    for contract in (EVENTS, IMPRESSIONS):
        if (folder / f"{contract.name}.parquet").exists():
            rows = engine.read_source(folder, f"{contract.name}.parquet", require=contract.required)
            tables[contract.name] = rows.mutate(reject=ibis.null("string"))
    return tables


_RECORDED = Source("recorded", "what the service recorded", {}, order_within_session=True, read=_read_recorded)

__all__ = ["append", "with_recorded"]
