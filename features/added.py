"""Items and users that events name before any row of the shop holds: each has a row from its first event on.

It stays when the shop gives a later row: what was known of a past instant must not depend on what was told afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from features.contracts import CONTRACTS, Contract
from features.engine import Engine
from features.schema import Columns

#: The category of an item that only the events name.
UNKNOWN = "unknown"

#: The file that tells these rows from those that a shop gave.
ADDED = "added.parquet"

_SCHEMA = pa.schema([("table", pa.string()), ("id", pa.string()), (Columns.VALID_FROM, pa.int64())])


def only_in_events(
    contract: Contract, events: ibis.Table | None, given: ibis.Table | None, earlier: ibis.Table | None
) -> ibis.Table:
    """Rows for the ids that events name before any given row holds.

    Args:
        contract: Of ``items`` or ``users``.
        events: The contract's columns.
        given: The rows that the shop gave; their columns are the result's, else the contract's own.
        earlier: What was found in other events; there are those or ``events`` or both.
    """
    key, since = contract.key
    found = [] if earlier is None else [earlier.select(key, since)]
    if events is not None:
        found.append(events.filter(events[key].notnull()).select(key, events[Columns.TS].name(since)))
    named = ibis.union(*found)
    first = named.group_by(key).agg(named[since].min().name(since))
    if given is not None:
        listed = given.group_by(key).agg(given[since].min().name("listed"))
        beside = first.left_join(listed, key)
        first = beside.filter(beside["listed"].isnull() | (beside["listed"] > beside[since])).select(key, since)
    values = {Columns.CATEGORY: ibis.literal(UNKNOWN), Columns.AVAILABLE: ibis.literal(True)}
    schema = ibis.Schema.from_pyarrow(contract.arrow_schema()) if given is None else given.schema()
    return first.select(
        first[name] if name in first.columns else values.get(name, ibis.null(dtype)).name(name)
        for name, dtype in schema.items()
    )


def write_added(engine: Engine, added: Mapping[str, ibis.Table], path: Path) -> dict[str, int]:
    """Write which rows were added, as the table's name and the row's key; the number of rows by table."""
    counts = dict.fromkeys(added, 0)
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for table, rows in added.items():
            for batch in engine.batches(rows.select(CONTRACTS[table].key)):
                writer.write_table(pa.table([pa.repeat(table, len(batch)), batch[0], batch[1]], schema=_SCHEMA))
                counts[table] += len(batch)
    return counts


def read_added(engine: Engine, path: Path, contract: Contract) -> ibis.Table:
    """The keys of the rows that were added to a table, in columns named as the contract's."""
    rows = engine.read(path)
    return rows.filter(rows["table"] == contract.name).select(rows["id"].name(contract.key[0]), Columns.VALID_FROM)


__all__ = ["ADDED", "UNKNOWN", "only_in_events", "read_added", "write_added"]
