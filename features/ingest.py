"""From a shop's files to a data set: read, check row by row, account for every reject, and put in place in one step."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from features.assemble import assemble, write_json
from features.base import Base
from features.contracts import CONTRACTS, EVENTS, Contract
from features.dataset import INFO, REJECTS
from features.engine import Engine
from features.errors import ConfigError, ConflictError, InputError, NotFoundError
from features.personal_data import Guard
from features.personal_policy import PersonalDataPolicy
from features.rejects import Breach
from features.replace import is_replaceable, replacing
from features.sources import Source, source
from features.staging import Progress, Staging, TableReport

#: What a failed ingest leaves beside the rejects.
REPORT = "report.json"

#: Personal data are refused unless they are said to be hashed or dropped.
REFUSE = PersonalDataPolicy()

#: Memory of the engine, however large the files: what does not fit is spilled beside the data set.
_MEMORY_GB = 1.5


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What was taken in, and the data set that there is now.

    Attributes:
        source: Where the rows came from.
        out: Folder of the data set.
        tables: The account of the rows of each table.
        first_ms, last_ms: Epoch milliseconds of the data set's first and last event.
        digest: Of the data set.
        rejects: Every rejected row with its reason and its original content: ``features.rejects.REJECTS_SCHEMA``.
    """

    source: str
    out: Path
    tables: dict[str, TableReport]
    first_ms: int
    last_ms: int
    digest: str
    rejects: Path

    def to_json(self) -> dict[str, Any]:
        """As plain JSON-able content."""
        return {**asdict(self), "out": str(self.out), "rejects": str(self.rejects)}


@dataclass(frozen=True, slots=True)
class Delivery:
    """Files to be taken in, and on which terms: as the arguments of ``ingest``."""

    folder: Path
    reader: Source
    max_reject_share: float = 0.01
    now_ms: int | None = None
    progress: Progress | None = None
    personal_data: PersonalDataPolicy = REFUSE


def ingest(
    folder: Path,
    source_name: str,
    out: Path,
    *,
    max_reject_share: float = 0.01,
    now_ms: int | None = None,
    progress: Progress | None = None,
    personal_data: PersonalDataPolicy = REFUSE,
) -> IngestReport:
    """Read the files in ``folder`` and write the data set ``out``.

    ``out`` is a whole data set afterwards, or what it was before: a run that fails or is killed leaves it alone.
    Rejects by policies are expected: the source's own, and rows given twice alike. If the breaches of the contract are
    more than ``max_reject_share`` of a table's rows, or nothing is left of the events, the folder ``OUT.rejected`` with
    the rejects and a report is written instead. Temporary files are beside ``out``.

    Args:
        folder: As the source describes it.
        source_name: A name in ``features.sources.SOURCES``.
        out: A new or empty folder, or an earlier data set to be replaced.
        max_reject_share: From 0 to 1.
        now_ms: Events after this are in the future; the clock's time if absent.
        progress: Told about each batch.
        personal_data: What happens to columns and texts that look like names, addresses or numbers of people.

    Raises:
        NotFoundError: The folder, one of its files or the source does not exist.
        InputError: A file is unreadable, lacks a column or rows, holds personal data that are refused, or too many rows
            break the contract.
        ConflictError: ``out`` holds something that is not a data set, or holds what is to be read, or another run is
            writing it.
        ConfigError: ``max_reject_share`` is no share, or ``out`` cannot be written, or the disk is full.
    """
    return take_in(Delivery(folder, source(source_name), max_reject_share, now_ms, progress, personal_data), out)


def take_in(delivery: Delivery, out: Path, onto: Path | None = None) -> IngestReport:
    """Write the data set ``out`` from a delivery and, if there is one, the data set in ``onto``; see ``ingest``."""
    folder, share = delivery.folder, delivery.max_reject_share
    if not 0 <= share <= 1:
        raise ConfigError("--max-reject-share", "must be from 0 to 1", share)
    if not folder.is_dir():
        raise NotFoundError(str(folder), "must be a folder", mend="give the folder that holds the shop's files")
    if folder.resolve().is_relative_to(out.resolve()):
        raise ConflictError(str(out), "must not hold the files that are read", mend="choose another --out")
    now_ms = time.time_ns() // 1_000_000 if delivery.now_ms is None else delivery.now_ms
    with (
        replacing(out, INFO) as work,
        tempfile.TemporaryDirectory(dir=work) as temporary,
        Engine.duckdb(_MEMORY_GB, temp_dir=Path(temporary)) as engine,
    ):
        scratch = Path(temporary)
        base = None if onto is None else Base.pin(onto, scratch / "base")
        rejects = work / (REJECTS if base is None else base.hand_on(work))
        staging = Staging(engine, scratch, now_ms, delivery.progress)
        guard = Guard(engine, delivery.personal_data, scratch)
        tables = guard.protect(delivery.reader.read(engine, folder))
        accounts = staging.take_in(tables, None if base is None else base.known(engine))
        staging.rejects.write(engine, folder, rejects, guard.conceal)
        refusal = _refusal(staging, accounts, delivery, _failed(out) / REJECTS, base is None)
        if refusal is not None:
            _leave_account(delivery, accounts, refusal, rejects, _failed(out))
            raise refusal
        info = assemble(staging, delivery.reader, accounts, guard.to_json(), base, scratch, work)
    if is_replaceable(_failed(out), REPORT):
        shutil.rmtree(_failed(out))
    came = (info["appended"] or [info])[-1]["tables"]
    return IngestReport(
        source=delivery.reader.name,
        out=out,
        tables={name: TableReport(**account) for name, account in came.items()},
        first_ms=info["first_ms"],
        last_ms=info["last_ms"],
        digest=info["digest"],
        rejects=out / rejects.name,
    )


def _failed(out: Path) -> Path:
    return out.absolute().with_name(f"{out.absolute().name}.rejected")


def _leave_account(
    delivery: Delivery, accounts: Mapping[str, TableReport], refusal: InputError, rejects: Path, failed: Path
) -> None:
    """What there is to know about rows of which no data set is made."""
    content = {
        "source": delivery.reader.name,
        "tables": {name: asdict(account) for name, account in accounts.items()},
        "error": str(refusal),
    }
    with replacing(failed, REPORT) as folder:
        shutil.copyfile(rejects, folder / REJECTS)
        write_json(folder / REPORT, content)


def _refusal(
    staging: Staging, accounts: Mapping[str, TableReport], delivery: Delivery, rejects: Path, is_first: bool
) -> InputError | None:
    """Why no data set is made of these rows, if so."""
    for name, account in accounts.items():
        if sum(account.contract.values()) > delivery.max_reject_share * account.rows_in:
            return _too_many(CONTRACTS[name], account, staging.rejects.first_breach(staging.engine, name), rejects)
    events = accounts.get(EVENTS.name, TableReport())
    if is_first and not events.accepted:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in (events.policy | events.contract).items())
        return InputError("events", "must have a row that can be used", reasons, f"see {rejects}")
    return None


def _too_many(contract: Contract, account: TableReport, first: Breach, rejects: Path) -> InputError:
    broken = sum(account.contract.values())
    rule = next(rule for rule in contract.rules() if rule.reason == first.reason)
    enough = math.ceil(broken / account.rows_in * 1000) / 1000
    return InputError(
        f"{contract.name}.{rule.field}",
        rule.text,
        first.received or "nothing",
        f"first in {first.source_file} row {first.source_row}, {broken} of {account.rows_in} rows break the contract, "
        f"see {rejects}; {rule.mend}, or go on without them with --max-reject-share {enough:g}",
    )


__all__ = ["REFUSE", "REPORT", "Delivery", "IngestReport", "Progress", "TableReport", "ingest", "take_in"]
