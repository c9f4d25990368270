"""A data set: what ``ingest`` wrote, and everything later is computed from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.engine import Engine
from features.errors import InputError, NotFoundError

#: The file that makes a folder a data set, and the version of the format that it states.
INFO = "dataset.json"
FORMAT = 1

REJECTS = "rejects.parquet"


@dataclass(frozen=True)
class Dataset:
    """A folder with ``events``, ``items``, ``users`` and perhaps ``impressions``, checked against the contract.

    Attributes:
        folder: Where it is.
        info: The parsed ``dataset.json``.
    """

    folder: Path
    info: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Read what the folder says about itself.

        Raises:
            NotFoundError: The folder does not exist or holds no data set.
            InputError: It is damaged or of another format.
        """
        ingest_first = "run `stellar data ingest DIR --source NAME --out DATASET` and give its folder"
        if not folder.is_dir():
            raise NotFoundError(str(folder), "must be a data set", "nothing there", ingest_first)
        if not (folder / INFO).is_file():
            raise NotFoundError(str(folder), "must be a data set", f"a folder without {INFO}", ingest_first)
        try:
            info = json.loads((folder / INFO).read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(str(folder / INFO), "must be JSON", str(error), ingest_first) from None
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            found = info.get("format") if isinstance(info, dict) else info
            raise InputError(str(folder / INFO), f"must be of format {FORMAT}", found, ingest_first)
        for table in info["tables"]:
            if not table_file(folder, table).is_file():
                raise InputError(str(table_file(folder, table)), "is missing from the data set", mend=ingest_first)
        return cls(folder, info)

    def events(self, engine: Engine) -> ibis.Table:
        """All contract columns, sorted by ts and event_id in the file."""
        return engine.read(table_file(self.folder, "events"))

    def items(self, engine: Engine) -> ibis.Table:
        """All contract columns and text attributes; at least one row for every item of the events."""
        return engine.read(table_file(self.folder, "items"))

    def users(self, engine: Engine) -> ibis.Table:
        """All contract columns and text attributes; at least one row for every user of the events."""
        return engine.read(table_file(self.folder, "users"))

    def impressions(self, engine: Engine) -> ibis.Table | None:
        """All contract columns, if the source had impressions."""
        return engine.read(table_file(self.folder, "impressions")) if "impressions" in self.info["tables"] else None

    @property
    def digest(self) -> str:
        """sha256 of the tables' content: equal whatever the file format and the row order of the source."""
        return str(self.info["digest"])

    @property
    def attributes(self) -> tuple[str, ...]:
        """The demographic attributes on users, in the source's order."""
        return tuple(self.info["attributes"])

    @property
    def first_ms(self) -> int:
        """Epoch milliseconds of the first event."""
        return int(self.info["first_ms"])

    @property
    def last_ms(self) -> int:
        """Epoch milliseconds of the last event."""
        return int(self.info["last_ms"])

    @property
    def order_within_session(self) -> bool:
        """Whether the times tell the order of events inside one visit."""
        return bool(self.info["order_within_session"])


def table_file(folder: Path, table: str) -> Path:
    """Where a data set keeps a table."""
    return folder / f"{table}.parquet"


def content_digest(folder: Path, tables: Iterable[str]) -> str:
    """sha256 over the tables' names, columns, types and values in the files' order, whatever the files' bytes."""
    whole = hashlib.sha256()
    for table in sorted(tables):
        with pq.ParquetFile(table_file(folder, table)) as file:
            names = sorted(file.schema_arrow.names)
            parts = {name: _ColumnDigest() for name in names}
            for batch in file.iter_batches():
                for name in names:
                    parts[name].add(batch[name])
        for name in names:
            whole.update(f"{table}.{name}:{file.schema_arrow.field(name).type}:{parts[name].hexdigest()}\n".encode())
    return whole.hexdigest()


class _ColumnDigest:
    """Missing flags, lengths and values are hashed apart, so that the cuts between batches leave no trace."""

    def __init__(self) -> None:
        self._missing, self._lengths, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def add(self, column: pa.Array) -> None:
        self._missing.update(pc.is_null(column).to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_string(column.type):
            filled = column.fill_null("")
            self._lengths.update(pc.binary_length(filled).to_numpy().astype("<i4").tobytes())
            self._values.update(_characters(filled))
        else:
            values = column.fill_null(pa.scalar(0).cast(column.type)).to_numpy(zero_copy_only=False)
            self._values.update(values.astype(values.dtype.newbyteorder("<")).tobytes())

    def hexdigest(self) -> str:
        return "".join(part.hexdigest() for part in (self._missing, self._lengths, self._values))


def _characters(texts: pa.StringArray) -> bytes:
    """The UTF-8 bytes of all texts in a row."""
    _, offsets, characters = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return b"" if characters is None or not len(texts) else characters[int(bounds[0]) : int(bounds[-1])].to_pybytes()


__all__ = ["FORMAT", "INFO", "REJECTS", "Dataset", "content_digest", "table_file"]
