"""Any folder with files in the contract's own columns."""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.datatypes as dt

from features.contracts import CONTRACTS, EVENTS, Contract
from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.errors import InputError, NotFoundError
from features.json_lines import SUFFIXES as JSON_LINES

DESCRIPTION = (
    "a folder with events, and if known items, users and impressions, "
    "each as NAME.parquet, NAME.csv, NAME.jsonl (or .ndjson, also .gz) or NAME/*.parquet, in the contract's own columns"
)
POLICIES = {
    "other columns": "of items and users are kept as text attributes; of events and impressions they are refused",
    "empty text": "counts as missing, so that CSV, JSON lines and Parquet mean the same",
    "duplicates": "the first row with a key is kept; a later one that is the same is a duplicate, another breaks the "
    "contract",
}
ORDER_WITHIN_SESSION = True


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """The tables that are there, as they are.

    Raises:
        NotFoundError: There is none of the tables.
        InputError: A table is there twice, or has a missing or an unknown column.
    """
    tables = {}
    for contract in CONTRACTS.values():
        name = _find(folder, contract.name)
        if name is not None:
            tables[contract.name] = _read(engine, folder, name, contract)
    if not tables:
        rule = "must hold events.parquet, events.csv, events.jsonl, events/*.parquet, or other tables by name"
        raise NotFoundError(str(folder), rule, _listing(folder), "add the events, or name another --source")
    return tables


def _find(folder: Path, table: str) -> str | None:
    endings = (".parquet", ".csv", *JSON_LINES, "")
    found = [f"{table}{ending}" for ending in endings if (folder / f"{table}{ending}").exists()]
    if len(found) > 1:
        raise InputError(str(folder), f"must hold {table} once", " and ".join(found), "remove all but one")
    return found[0] if found else None


def _read(engine: Engine, folder: Path, name: str, contract: Contract) -> ibis.Table:
    rows = engine.read_source(folder, name, require=contract.required)
    extra = [column for column in rows.columns if column not in (*contract.columns, SOURCE_FILE, SOURCE_ROW)]
    if extra and not contract.open:
        mend = "move it into properties" if contract is EVENTS else "remove it"
        where = f"{folder / name}: column {extra[0]!r}"
        raise InputError(where, f"is not a column of {contract.name}", f"unknown columns {', '.join(extra)}", mend)
    odd = [column for column in contract.columns if column in rows.columns and not _is_plain(rows[column].type())]
    texts = {column: _as_text(engine, rows[column]) for column in (*extra, *odd)}
    return rows.mutate(**texts, reject=ibis.null("string"))


def _is_plain(dtype: dt.DataType) -> bool:
    return isinstance(dtype, dt.String | dt.Numeric | dt.Boolean)


def _as_text(engine: Engine, column: ibis.Value) -> ibis.Value:
    return engine.as_json(column) if column.type().is_nested() else column.cast("string")


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "an empty folder"


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"]
