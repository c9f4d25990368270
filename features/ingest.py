"""From a shop's files to a data set: read, check row by row, account for every reject, and put in place in one step."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ibis

from features.contracts import CONTRACTS, EVENTS, ITEMS, USERS, Contract
from features.dataset import FORMAT, INFO, REJECTS, content_digest, table_file
from features.engine import Engine
from features.errors import ConfigError, ConflictError, InputError, NotFoundError
from features.rejects import Breach
from features.replace import is_replaceable, replacing
from features.schema import Columns
from features.sources import Source, source
from features.staging import Progress, Staging, TableReport

#: What a failed ingest leaves beside the rejects.
REPORT = "report.json"

#: The category of an item that only the events name.
UNKNOWN = "unknown"

_ORDER = {
    "events": (Columns.TS, Columns.EVENT_ID),
    "items": (Columns.ITEM_ID, Columns.VALID_FROM),
    "users": (Columns.USER_ID, Columns.VALID_FROM),
    "impressions": (Columns.TS, Columns.REQUEST_ID, Columns.SURFACE, Columns.RANK),
}


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What ``ingest`` did: per table, and the instants of the first and the last event in epoch milliseconds."""

    source: str
    out: Path
    tables: dict[str, TableReport]
    first_ms: int
    last_ms: int
    digest: str

    @property
    def rejects(self) -> Path:
        """Every rejected row with its reason and its original content: ``features.rejects.REJECTS_SCHEMA``."""
        return self.out / REJECTS

    def to_json(self) -> dict[str, Any]:
        """As plain JSON-able content."""
        return {**asdict(self), "out": str(self.out)}


def ingest(
    folder: Path,
    source_name: str,
    out: Path,
    *,
    max_reject_share: float = 0.01,
    now_ms: int | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Read the files in ``folder`` and write the data set ``out``.

    ``out`` is a whole data set afterwards, or what it was before: a run that fails or is killed leaves it alone.
    Rejects by the source's policies are expected. If the breaches of the contract are more than ``max_reject_share`` of
    a table's rows, or nothing is left of the events, the folder ``OUT.rejected`` with the rejects and a report is
    written instead.

    Args:
        folder: As the source describes it.
        source_name: A name in ``features.sources.SOURCES``.
        out: A new or empty folder, or an earlier data set to be replaced.
        max_reject_share: From 0 to 1.
        now_ms: Events after this are in the future; the clock's time if absent.
        progress: Told about each batch.

    Raises:
        NotFoundError: The folder, one of its files or the source does not exist.
        InputError: A file is unreadable, lacks a column or rows, or too many rows break the contract.
        ConflictError: ``out`` holds something that is not a data set, or holds what is to be read.
    """
    reader = source(source_name)
    if not 0 <= max_reject_share <= 1:
        raise ConfigError("--max-reject-share", "must be from 0 to 1", max_reject_share)
    if not folder.is_dir():
        raise NotFoundError(str(folder), "must be a folder", mend="give the folder that holds the shop's files")
    if folder.resolve().is_relative_to(out.resolve()):
        raise ConflictError(str(out), "must not hold the files that are read", mend="choose another --out")
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    with (
        replacing(out, INFO) as work,
        tempfile.TemporaryDirectory(dir=work) as scratch,
        Engine.duckdb(temp_dir=Path(scratch)) as engine,
    ):
        staging = Staging(engine, Path(scratch), now_ms, progress)
        tables = staging.take_in(reader.read(engine, folder))
        staging.rejects.write(engine, folder, work / REJECTS)
        refusal = _refusal(staging, tables, max_reject_share, _failed(out) / REJECTS)
        if refusal is not None:
            with replacing(_failed(out), REPORT) as failed:
                shutil.copyfile(work / REJECTS, failed / REJECTS)
                account = {name: asdict(table) for name, table in tables.items()}
                _write_json(failed / REPORT, {"source": source_name, "tables": account, "error": str(refusal)})
            raise refusal
        report = _write(staging, reader, work, tables, out)
    if is_replaceable(_failed(out), REPORT):
        shutil.rmtree(_failed(out))
    return report


def _failed(out: Path) -> Path:
    return out.absolute().with_name(f"{out.absolute().name}.rejected")


def _refusal(
    staging: Staging, tables: Mapping[str, TableReport], max_reject_share: float, rejects: Path
) -> InputError | None:
    """Why no data set is made of these rows, if so."""
    for name, table in tables.items():
        if sum(table.contract.values()) > max_reject_share * table.rows_in:
            return _too_many(CONTRACTS[name], table, staging.rejects.first_breach(staging.engine, name), rejects)
    events = tables["events"]
    if not events.accepted:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in (events.policy | events.contract).items())
        return InputError("events", "must have a row that can be used", reasons, f"see {rejects}")
    return None


def _too_many(contract: Contract, table: TableReport, first: Breach, rejects: Path) -> InputError:
    broken = sum(table.contract.values())
    rule = next(rule for rule in contract.rules() if rule.reason == first.reason)
    enough = math.ceil(broken / table.rows_in * 1000) / 1000
    return InputError(
        f"{contract.name}.{rule.field}",
        rule.text,
        first.received or "nothing",
        f"first in {first.source_file} row {first.source_row}, {broken} of {table.rows_in} rows break the contract, "
        f"see {rejects}; {rule.mend}, or go on without them with --max-reject-share {enough:g}",
    )


def _write(staging: Staging, reader: Source, work: Path, tables: Mapping[str, TableReport], out: Path) -> IngestReport:
    """Write the accepted rows in order, and what the data set says about itself."""
    engine, events = staging.engine, staging.accepted(EVENTS)
    written = {contract.name: staging.accepted(contract) for contract in CONTRACTS.values() if contract.name in tables}
    added = {}
    for contract in (ITEMS, USERS):
        missing = _only_in_events(contract, events, written.get(contract.name))
        added[contract.name] = engine.value(missing.count())
        written[contract.name] = missing.union(written[contract.name]) if contract.name in written else missing
    for name, rows in written.items():
        engine.write_parquet(rows.order_by(_ORDER[name]), table_file(work, name))
    nothing = TableReport(0, 0, 0, {}, {})
    final = {name: replace(tables.get(name, nothing), added=added.get(name, 0)) for name in written}
    first_ms, last_ms = (engine.value(instant) for instant in (events[Columns.TS].min(), events[Columns.TS].max()))
    report = IngestReport(reader.name, out, final, first_ms, last_ms, content_digest(work, written))
    info = {
        **report.to_json(),
        "format": FORMAT,
        "description": reader.description,
        "policies": dict(reader.policies),
        "order_within_session": reader.order_within_session,
        "attributes": [name for name in written["users"].columns if name not in USERS.columns],
    }
    del info["out"]
    _write_json(work / INFO, info)
    return report


def _only_in_events(contract: Contract, events: ibis.Table, known: ibis.Table | None) -> ibis.Table:
    """Rows for the items or users that only the events name; they hold from their first event on."""
    key = contract.key[0]
    named = events.filter(events[key].notnull())
    if known is not None:
        named = named.anti_join(known, key)
    first = named.group_by(key).agg(named[Columns.TS].min().name(Columns.VALID_FROM))
    values = {Columns.CATEGORY: ibis.literal(UNKNOWN), Columns.AVAILABLE: ibis.literal(True)}
    schema = ibis.Schema.from_pyarrow(contract.arrow_schema()) if known is None else known.schema()
    return first.select(
        first[name] if name in first.columns else values.get(name, ibis.null(dtype)).name(name)
        for name, dtype in schema.items()
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


__all__ = ["REPORT", "UNKNOWN", "IngestReport", "Progress", "TableReport", "ingest"]
