"""A log on disk: Parquet files, each sorted, cut by time where many rows come at once, and never written again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from features.content import Content
from features.contracts import Contract
from features.engine import Engine
from features.schema import Columns

#: A part has no more rows than this, unless that many share one instant.
PART_ROWS = 5_000_000

#: Small enough for a time range to skip most of a part, large enough to compress well.
GROUP_ROWS = 250_000

#: Cuts fall between this many equal stretches of time.
_STRETCHES = 100_000

#: Few of these values repeat: a dictionary of them costs more than it saves.
_DISTINCT = (Columns.EVENT_ID, Columns.TS, Columns.RECEIVED_TS)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a log.

    Attributes:
        name: As in ``part-00000``; parts are numbered in the order in which they came.
        path: Where the file is.
        rows: How many; at least 1.
        first_ms, last_ms: Epoch milliseconds of its first and its last row; other parts may overlap.
        digest: Of its rows, whatever their order: ``Content.digest``.
    """

    name: str
    path: Path
    rows: int
    first_ms: int
    last_ms: int
    digest: str

    @property
    def content(self) -> Content:
        """What it adds to the content of its log."""
        return Content.parse(self.rows, self.digest)


def write_parts(engine: Engine, contract: Contract, rows: ibis.Table, folder: Path, number: int = 0) -> list[Part]:
    """Write rows that carry ``ts`` as parts that do not overlap, each sorted by ``ts`` and the contract's key.

    Args:
        engine: Runs the expressions.
        contract: Of the table.
        rows: The contract's columns.
        folder: Where the parts go; made if it is not there.
        number: Of the first part.
    """
    folder.mkdir(exist_ok=True)
    parts: list[Part] = []
    for first_ms, until_ms in _cuts(engine, rows):
        here = rows.filter(rows[Columns.TS] >= first_ms, rows[Columns.TS] < until_ms)
        path = folder / f"part-{number + len(parts):05}.parquet"
        ends = _write(engine, contract, here.order_by(Columns.TS, *contract.key), path)
        content = Content.of(engine, engine.read(path))
        parts.append(Part(path.stem, path, content.rows, *ends, content.digest))
    return parts


def _cuts(engine: Engine, rows: ibis.Table) -> Iterator[tuple[int, int]]:
    """Half-open spans of time that hold all rows: as few as fit, each with about as many rows."""
    ts = rows[Columns.TS]
    whole = engine.to_arrow(rows.agg(n=rows.count(), first=ts.min(), last=ts.max())).to_pylist()[0]
    if not whole["n"]:
        return
    since, held = whole["first"], 0
    if whole["n"] > PART_ROWS:
        share = whole["n"] / math.ceil(whole["n"] / PART_ROWS)
        width = (whole["last"] - since) // _STRETCHES + 1
        begin = (ts - ts % width).name("begin")
        counts = engine.to_arrow(rows.group_by(begin).agg(n=rows.count()).order_by("begin"))
        for stretch in counts.to_pylist():
            if held >= share or (held and held + stretch["n"] > PART_ROWS):
                yield since, stretch["begin"]
                since, held = stretch["begin"], 0
            held += stretch["n"]
    yield since, whole["last"] + 1


def _write(engine: Engine, contract: Contract, rows: ibis.Table, path: Path) -> tuple[int, int]:
    """Write sorted rows, of which there are some; the instants of the first and the last."""
    schema = contract.arrow_schema()
    repetitive = [name for name in schema.names if name not in _DISTINCT]
    ends: list[int] = []
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repetitive) as writer:
        group = schema.empty_table()
        for batch in engine.batches(rows.select(schema.names), GROUP_ROWS):
            group = pa.concat_tables([group, pa.Table.from_batches([batch])])
            ends = [*ends[:1], *(batch[Columns.TS][place].as_py() for place in (0, -1))]
            if len(group) >= GROUP_ROWS:
                writer.write_table(group.slice(0, GROUP_ROWS))
                group = group.slice(GROUP_ROWS)
        if len(group):
            writer.write_table(group)
    return ends[0], ends[-1]


__all__ = ["GROUP_ROWS", "PART_ROWS", "Part", "write_parts"]
