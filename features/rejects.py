"""The account of rejected rows: each with its reason and as it was in its file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from features.engine import SOURCE_FILE, SOURCE_ROW, Engine


class RejectKind(StrEnum):
    """Why a row may be rejected: by the source's stated policy, which is expected, or by a breach of the contract."""

    POLICY = "policy"
    CONTRACT = "contract"


_STAGED = pa.schema(
    [
        ("table", pa.string()),
        (SOURCE_FILE, pa.string()),
        (SOURCE_ROW, pa.int64()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("field", pa.string()),
        ("received", pa.string()),
    ]
)

#: The rejects file: the row's table, file and 1-based number; kind and reason; the field and what it held where one
#: field is to blame; the original row as a JSON object.
REJECTS_SCHEMA = _STAGED.append(pa.field("row", pa.string()))


@dataclass(frozen=True, slots=True)
class Breach:
    """The first row of a table that broke the contract."""

    source_file: str
    source_row: int
    reason: str
    received: str | None


class Rejects:
    """Collects rejects on disk; a context manager, readable once it is closed.

    Attributes:
        counts: (table, kind) to reason to number of rows.
    """

    def __init__(self, staged: Path) -> None:
        self._staged = staged
        self._writer = pq.ParquetWriter(staged, _STAGED)
        self.counts: defaultdict[tuple[str, RejectKind], Counter[str]] = defaultdict(Counter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, table: str, kind: RejectKind, rows: pa.Table) -> None:
        """Add rows with ``source_file``, ``source_row`` and ``reason``, and if known ``field`` and ``received``."""
        if not len(rows):
            return
        fixed = {"table": table, "kind": kind.value}
        columns = [
            rows[name] if name in rows.column_names else pa.array([fixed.get(name)] * len(rows), pa.string())
            for name in _STAGED.names
        ]
        self._writer.write_table(pa.table(columns, schema=_STAGED))
        for reason in rows["reason"].value_counts().to_pylist():
            self.counts[table, kind][reason["values"]] += reason["counts"]

    def first_breach(self, engine: Engine, table: str) -> Breach:
        """Of the breaches of the contract in ``table``, the first by file and row."""
        rows = engine.read(self._staged)
        breaches = rows.filter(rows["table"] == table, rows["kind"] == RejectKind.CONTRACT.value)
        first = breaches.order_by(SOURCE_FILE, SOURCE_ROW).limit(1)
        return Breach(**engine.to_arrow(first.select(SOURCE_FILE, SOURCE_ROW, "reason", "received")).to_pylist()[0])

    def write(self, engine: Engine, folder: Path, path: Path, conceal: Callable[[ibis.Table], ibis.Table]) -> None:
        """Write all rejects, by file and row, each with its original row read again from ``folder``.

        Args:
            conceal: Takes what is personal out of the rows of a file.
        """
        rejects = engine.read(self._staged)
        files = engine.to_arrow(rejects.select(SOURCE_FILE).distinct().order_by(SOURCE_FILE))[SOURCE_FILE].to_pylist()
        with pq.ParquetWriter(path, REJECTS_SCHEMA, compression="zstd") as writer:
            for file in files:
                raw = engine.read_source(folder, file)
                here = rejects.filter(rejects[SOURCE_FILE] == file)
                # Most rows are not rejected: only those that are become text.
                rows = conceal(raw.semi_join(here, SOURCE_ROW))
                names = [name for name in rows.columns if name not in (SOURCE_FILE, SOURCE_ROW)]
                row = engine.as_json(ibis.struct({name: rows[name] for name in names})).name("row")
                original = rows.select(SOURCE_ROW, row)
                full = here.inner_join(original, SOURCE_ROW).order_by(SOURCE_ROW, "table")
                for batch in engine.batches(full.select(REJECTS_SCHEMA.names)):
                    writer.write_batch(batch)


__all__ = ["REJECTS_SCHEMA", "Breach", "RejectKind", "Rejects"]
