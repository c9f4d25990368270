"""A data set: what ``ingest`` wrote and ``append`` adds to, and everything later is computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa

from features.added import ADDED
from features.contracts import CONTRACTS, EVENTS, IMPRESSIONS, ITEMS, USERS
from features.engine import Engine
from features.errors import InputError, NotFoundError
from features.parts import Part
from features.schema import Columns

#: The file that makes a folder a data set, and the version of the format that it states.
INFO = "dataset.json"
FORMAT = 2

REJECTS = "rejects.parquet"

#: The tables that grow and are kept in parts: folders, not files.
LOGS = (EVENTS.name, IMPRESSIONS.name)


@dataclass(frozen=True)
class Dataset:
    """A folder with ``events``, ``items``, ``users`` and perhaps ``impressions``, checked against the contract.

    Attributes:
        folder: Where it is.
        info: The parsed ``dataset.json``.
        unread: Users whose rows are left out of all tables.
    """

    folder: Path
    info: Mapping[str, Any]
    unread: tuple[str, ...] = ()

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
        dataset = cls(folder, info)
        try:
            files = dataset.files()
        except (KeyError, TypeError, AttributeError):
            raise InputError(str(folder / INFO), "must list the parts of the logs", mend=ingest_first) from None
        for path in files:
            if not path.is_file():
                raise InputError(str(path), "is missing from the data set", mend=ingest_first)
        return dataset

    def events(self, engine: Engine) -> ibis.Table:
        """All contract columns; sorted by ts and event_id in each part."""
        return self._read(engine, table_file(self.folder, EVENTS.name))

    def items(self, engine: Engine) -> ibis.Table:
        """All contract columns and text attributes; at least one row for every item of the events."""
        return engine.read(table_file(self.folder, "items"))

    def users(self, engine: Engine) -> ibis.Table:
        """All contract columns and text attributes; at least one row for every user of the events."""
        return self._read(engine, table_file(self.folder, "users"))

    def impressions(self, engine: Engine) -> ibis.Table | None:
        """All contract columns, if there are any rows; sorted by ts and the key in each part."""
        return self._read(engine, table_file(self.folder, IMPRESSIONS.name)) if self.parts(IMPRESSIONS.name) else None

    def parts(self, table: str) -> tuple[Part, ...]:
        """The parts of ``events`` or ``impressions``, in the order in which they came; their times may overlap.

        Raises:
            NotFoundError: There is no such log.
        """
        if table not in LOGS:
            raise NotFoundError("table", "must be a log", table, f"choose one of {', '.join(LOGS)}")
        return tuple(
            Part(path=table_file(self.folder, table) / f"{part['name']}.parquet", **part)
            for part in self.info["parts"].get(table, ())
        )

    def read_parts(self, engine: Engine, table: str, names: Sequence[str]) -> ibis.Table:
        """The rows of some parts, as ``events`` or ``impressions`` has them; no names are no rows.

        Raises:
            NotFoundError: There is no such log or part.
        """
        paths = {part.name: part.path for part in self.parts(table)}
        for name in names:
            if name not in paths:
                rule, mend = f"must be a part of {table}", f"choose from the {len(paths)} in {self.folder}"
                raise NotFoundError("part", rule, name, mend)
        if not names:
            return engine.memtable(CONTRACTS[table].arrow_schema().empty_table())
        return ibis.union(*(engine.read(paths[name]) for name in dict.fromkeys(names)))

    def without(self, users: Sequence[str]) -> Dataset:
        """The same as if nothing had been known of some users but their ids."""
        return replace(self, unread=tuple(users))

    def _read(self, engine: Engine, path: Path) -> ibis.Table:
        rows = engine.read(path)
        if not self.unread:
            return rows
        unread = engine.memtable(pa.table({"unread_id": pa.array(self.unread, pa.string())}))
        return rows.anti_join(unread, rows[Columns.USER_ID] == unread["unread_id"])

    def files(self) -> list[Path]:
        """Every file that the tables are made of."""
        logs = [part.path for table in LOGS for part in self.parts(table)]
        return [*logs, *(table_file(self.folder, table) for table in (ITEMS.name, USERS.name)), self.folder / ADDED]

    @property
    def digest(self) -> str:
        """sha256 of the tables' content: equal whatever the files, the parts and the order in which the rows came."""
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
    """Where a data set keeps a table: a Parquet file, or a folder of them for a log."""
    return folder / table if table in LOGS else folder / f"{table}.parquet"


__all__ = ["FORMAT", "INFO", "LOGS", "REJECTS", "Dataset", "table_file"]
