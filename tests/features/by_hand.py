"""Data sets written by hand, a part for each delivery: what ingest makes of good rows, in a tenth of its time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.added import ADDED, UNKNOWN
from features.contracts import CONTRACTS
from features.dataset import FORMAT, INFO, LOGS, Dataset

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]


def write(folder: Path, deliveries: Sequence[Tables], attributes: Sequence[str] = ()) -> Dataset:
    """A data set in a new folder.

    Args:
        deliveries: Table to rows that keep the contract; no two of all deliveries have the same key.
        attributes: Names of the users' attributes.
    """
    folder.mkdir()
    parts = {name: list(_parts(folder / name, [delivery.get(name, []) for delivery in deliveries])) for name in LOGS}
    events = [event for delivery in deliveries for event in delivery.get("events", [])]
    for name, extra in (("items", ()), ("users", attributes)):
        given = [row for delivery in deliveries for row in delivery.get(name, [])]
        rows = [*given, *added(name, given, events)]
        pq.write_table(_table(name, rows, extra), folder / f"{name}.parquet")
    pq.write_table(pa.table({"table": pa.array([], pa.string())}), folder / ADDED)
    times = [event["ts"] for event in events]
    info = {
        "format": FORMAT,
        "source": "by hand",
        "digest": "by hand",
        "tables": {},
        "order_within_session": True,
        "parts": parts,
        "attributes": list(attributes),
        "first_ms": min(times),
        "last_ms": max(times),
    }
    (folder / INFO).write_text(json.dumps(info), encoding="utf-8")
    return Dataset.open(folder)


def added(table: str, given: Rows, events: Rows) -> Rows:
    """Rows of items or users that events name before any given row of theirs holds."""
    key = CONTRACTS[table].key[0]
    first: dict[str, int] = {}
    for event in events:
        one = event.get(key)
        if one is not None:
            first[one] = min(event["ts"], first.get(one, event["ts"]))
    told = {one: min((row["valid_from"] for row in given if row[key] == one), default=None) for one in first}
    unknown = {"category": UNKNOWN, "brand": None, "price_cents": None, "available": True}
    values = unknown if table == "items" else {}
    return [{key: one, "valid_from": ts, **values} for one, ts in first.items() if told[one] is None or told[one] > ts]


def _parts(folder: Path, deliveries: Sequence[Rows]) -> Iterator[dict[str, Any]]:
    folder.mkdir()
    for number, rows in enumerate(delivery for delivery in deliveries if delivery):
        ordered = sorted(rows, key=lambda row: row["ts"])
        name = f"part-{number:05}"
        pq.write_table(_table(folder.name, ordered), folder / f"{name}.parquet")
        ends = {"first_ms": ordered[0]["ts"], "last_ms": ordered[-1]["ts"]}
        digest = hashlib.md5(json.dumps(ordered).encode()).hexdigest()
        yield {"name": name, "rows": len(rows), **ends, "digest": digest}


def _table(name: str, rows: Rows, attributes: Sequence[str] = ()) -> pa.Table:
    schema = CONTRACTS[name].arrow_schema(attributes)
    return pa.Table.from_pylist([{column: row.get(column) for column in schema.names} for row in rows], schema)
