"""From accepted rows to a data set, new or with more rows than before; the same for the same rows however they came."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ibis

from features.added import ADDED, only_in_events, write_added
from features.base import Base
from features.content import Content, content_digest
from features.contracts import CONTRACTS, EVENTS, IMPRESSIONS, ITEMS, USERS, Contract
from features.dataset import FORMAT, INFO, table_file
from features.parts import Part, write_parts
from features.sources import Source
from features.staging import Staging, TableReport


def assemble(
    staging: Staging,
    reader: Source,
    accounts: Mapping[str, TableReport],
    personal_data: Mapping[str, Any],
    base: Base | None,
    scratch: Path,
    work: Path,
) -> dict[str, Any]:
    """Write the tables, ``ADDED`` and ``INFO`` of a data set.

    Args:
        staging: Has the accepted rows.
        reader: Where they came from.
        accounts: Of the rows of each table that came.
        personal_data: The account of what was done with personal data.
        base: The data set that they are added to, if there is one.
        scratch: For temporary files.
        work: Folder of the data set.

    Returns:
        What ``INFO`` says.
    """
    engine = staging.engine
    logs = {contract.name: _write_log(staging, contract, base, work) for contract in (EVENTS, IMPRESSIONS)}
    contents = {
        name: (CONTRACTS[name].arrow_schema(), sum((part.content for part in parts), Content()))
        for name, parts in logs.items()
    }
    added = {}
    for contract in (ITEMS, USERS):
        given = _given(staging, contract, base)
        earlier = None if base is None else base.added(engine, contract)
        found = only_in_events(contract, staging.accepted(EVENTS), given, earlier)
        kept = scratch / f"added-{contract.name}.parquet"
        engine.write_parquet(found, kept)
        added[contract.name] = engine.read(kept)
        rows = added[contract.name] if given is None else given.union(added[contract.name])
        engine.write_parquet(rows.order_by(contract.key), table_file(work, contract.name))
        written = engine.read(table_file(work, contract.name))
        contents[contract.name] = (written.schema().to_pyarrow(), Content.of(engine, written))
    counts = write_added(engine, added, work / ADDED)
    came = {
        name: replace(accounts.get(name, TableReport()), added=counts.get(name, 0))
        for name in CONTRACTS
        if name in {**accounts, **counts}
    }
    info = {
        **_origin(reader, base, came, personal_data),
        "format": FORMAT,
        "digest": content_digest(contents),
        "first_ms": min(part.first_ms for part in logs[EVENTS.name]),
        "last_ms": max(part.last_ms for part in logs[EVENTS.name]),
        "attributes": [name for name in written.columns if name not in USERS.columns],
        "parts": {name: [_stated(part) for part in parts] for name, parts in logs.items() if parts},
    }
    write_json(work / INFO, info)
    return info


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that people can read, too."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_log(staging: Staging, contract: Contract, base: Base | None, work: Path) -> list[Part]:
    """The parts that there were, which are there already, and those of the accepted rows."""
    earlier = [] if base is None else [*base.dataset.parts(contract.name)]
    rows = staging.accepted(contract)
    folder = table_file(work, contract.name)
    return earlier if rows is None else earlier + write_parts(staging.engine, contract, rows, folder, len(earlier))


def _given(staging: Staging, contract: Contract, base: Base | None) -> ibis.Table | None:
    """The rows of items or users that the shop ever gave; an attribute that was not given then is missing there."""
    new = staging.accepted(contract)
    if base is None:
        return new
    old = base.given(staging.engine, contract)
    if new is None:
        return old
    names = list(dict.fromkeys([*old.columns, *new.columns]))
    return _with_columns(old, names).union(_with_columns(new, names))


def _with_columns(rows: ibis.Table, names: list[str]) -> ibis.Table:
    return rows.select(rows[name] if name in rows.columns else ibis.null("string").name(name) for name in names)


def _origin(
    reader: Source, base: Base | None, came: Mapping[str, TableReport], personal_data: Mapping[str, Any]
) -> dict[str, Any]:
    """Where all rows came from, and the accounts of them: in all, and of each time that rows were added."""
    accounts = {name: asdict(account) for name, account in came.items()}
    if base is None:
        return {
            "source": reader.name,
            "description": reader.description,
            "policies": dict(reader.policies),
            "order_within_session": reader.order_within_session,
            "personal_data": personal_data,
            "tables": accounts,
            "appended": [],
        }
    before = base.dataset.info
    total = {name: TableReport(**account) for name, account in before["tables"].items()}
    total |= {name: total.get(name, TableReport()).then(account) for name, account in came.items()}
    return {
        **{name: before[name] for name in ("source", "description", "policies", "personal_data")},
        # Data carries an order inside a visit only if all of it does.
        "order_within_session": before["order_within_session"] and reader.order_within_session,
        "tables": {name: asdict(total[name]) for name in CONTRACTS if name in total},
        "appended": [*before["appended"], {"source": reader.name, "personal_data": personal_data, "tables": accounts}],
    }


def _stated(part: Part) -> dict[str, Any]:
    return {name: value for name, value in asdict(part).items() if name != "path"}


__all__ = ["assemble", "write_json"]
