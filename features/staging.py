"""Every row of every table is accepted or rejected, batch by batch, on disk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.check import check
from features.contracts import CONTRACTS, Contract
from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.rejects import RejectKind, Rejects
from features.repeats import RECEIVED, SAME, Repeats

#: Called while rows are read: (table, rows done, rows in all).
Progress = Callable[[str, int, int], None]

#: Why a row with a key that is there already is left out: it is the same, or it says something else.
DUPLICATE, DIFFERENT = "duplicate", "differs from the row that is there"

_BATCH_ROWS = 200_000

_ORIGIN = pa.schema([(SOURCE_FILE, pa.string()), (SOURCE_ROW, pa.int64())])


@dataclass(frozen=True, slots=True)
class TableReport:
    """What became of one table's rows: ``rows_in == accepted + rejected``.

    Attributes:
        policy: Reason to number of rejects by policy: the source's own, ``DUPLICATE`` and ``DIFFERENT``.
        contract: Reason to number of rejects by a rule of the contract.
        added: Rows that the data set has for items or users that only its events name; not among ``accepted``.
    """

    rows_in: int = 0
    accepted: int = 0
    rejected: int = 0
    policy: dict[str, int] = field(default_factory=dict)
    contract: dict[str, int] = field(default_factory=dict)
    added: int = 0

    def then(self, later: TableReport) -> TableReport:
        """The account of both these rows and those taken in later."""
        return TableReport(
            self.rows_in + later.rows_in,
            self.accepted + later.accepted,
            self.rejected + later.rejected,
            dict(sorted((Counter(self.policy) + Counter(later.policy)).items())),
            dict(sorted((Counter(self.contract) + Counter(later.contract)).items())),
            later.added,
        )


class Staging:
    """Sorts the rows of all tables into accepted and rejected.

    Args:
        engine: Runs the expressions.
        scratch: An empty folder for what is accepted so far.
        now_ms: Events after this are in the future.
        progress: Told about each batch.

    Attributes:
        rejects: The account of all rejects, readable after ``take_in``.
    """

    def __init__(self, engine: Engine, scratch: Path, now_ms: int, progress: Progress | None) -> None:
        self.engine = engine
        self.rejects = Rejects(scratch / "rejects.parquet")
        self._scratch, self._now_ms, self._progress = scratch, now_ms, progress
        self._repeats: defaultdict[str, list[ibis.Table]] = defaultdict(list)

    def take_in(
        self, tables: Mapping[str, ibis.Table], known: Mapping[str, ibis.Table] | None = None
    ) -> dict[str, TableReport]:
        """Check all rows of all tables, and account for each.

        Args:
            tables: Table name to rows as they came from files.
            known: Table name to accepted rows of earlier times, which hold their keys.
        """
        with self.rejects:
            rows_in = {name: self._check_rows(CONTRACTS[name], rows) for name, rows in tables.items()}
            for name in tables:
                self._check_keys(CONTRACTS[name], (known or {}).get(name))
        reports = {}
        for name, count in rows_in.items():
            policy, contract = (dict(sorted(self.rejects.counts[name, kind].items())) for kind in RejectKind)
            rejected = sum(policy.values()) + sum(contract.values())
            reports[name] = TableReport(count, count - rejected, rejected, policy, contract)
        return reports

    def accepted(self, contract: Contract) -> ibis.Table | None:
        """The accepted rows of a table that came: the contract's columns, then attributes."""
        return self._unrepeated(contract).drop(*_ORIGIN.names) if self._staged(contract).exists() else None

    def _check_rows(self, contract: Contract, rows: ibis.Table) -> int:
        own = [name for name in rows.columns if name not in (*_ORIGIN.names, "reject")]
        schema = contract.arrow_schema([name for name in own if name not in contract.columns])
        total = self.engine.value(rows.count()) if self._progress else 0
        done = 0
        # Written once and read a few times: fast matters more than small.
        fast = {"compression": "lz4", "use_dictionary": [SOURCE_FILE]}
        with pq.ParquetWriter(self._staged(contract), pa.unify_schemas([schema, _ORIGIN]), **fast) as writer:
            for batch in self.engine.batches(rows, _BATCH_ROWS):
                table = pa.Table.from_batches([batch])
                done += len(table)
                refused = table.filter(pc.is_valid(table["reject"])).select([*_ORIGIN.names, "reject"])
                self.rejects.add(contract.name, RejectKind.POLICY, refused.rename_columns([*_ORIGIN.names, "reason"]))
                table = table.filter(pc.is_null(table["reject"]))
                parsed, breaches = check(contract, table.select(own), self._now_ms)
                origin, broken = table.select(_ORIGIN.names), breaches["position"].to_numpy()
                self.rejects.add(contract.name, RejectKind.CONTRACT, _beside(origin.take(broken), breaches))
                good = np.ones(len(table), dtype=bool)
                good[broken] = False
                writer.write_table(_beside(parsed, origin).filter(good))
                if self._progress:
                    self._progress(contract.name, done, total)
        return done

    def _check_keys(self, contract: Contract, known: ibis.Table | None) -> None:
        """Rows there already stay, whatever comes later; a delivery that contradicts itself breaks the contract."""
        repeats, rule = Repeats(self.engine, self._scratch), contract.duplicate
        if known is not None:
            of_known = repeats.of_known(contract, self._unrepeated(contract), known)
            self._reject_repeats(contract, of_known, RejectKind.POLICY, DIFFERENT, None)
        among = repeats.among(contract, self._unrepeated(contract))
        self._reject_repeats(contract, among, RejectKind.CONTRACT, rule.reason, rule.field)

    def _reject_repeats(
        self, contract: Contract, repeats: ibis.Table | None, kind: RejectKind, reason: str, field: str | None
    ) -> None:
        """Reject repeats: those that say the same as duplicates, the others for ``reason``."""
        if repeats is None:
            return
        self._repeats[contract.name].append(repeats)
        for batch in self.engine.batches(repeats, _BATCH_ROWS):
            table, same = pa.Table.from_batches([batch]).drop_columns([SAME]), batch[SAME]
            duplicates, others = table.filter(same).drop_columns([RECEIVED]), table.filter(pc.invert(same))
            self.rejects.add(contract.name, RejectKind.POLICY, _with(duplicates, reason=DUPLICATE))
            self.rejects.add(contract.name, kind, _with(others, reason=reason, field=field))

    def _unrepeated(self, contract: Contract) -> ibis.Table:
        """What passed the checks of rows, but for the repeats found so far."""
        rows = self.engine.read(self._staged(contract))
        for repeats in self._repeats[contract.name]:
            rows = rows.anti_join(repeats, _ORIGIN.names)
        return rows

    def _staged(self, contract: Contract) -> Path:
        return self._scratch / f"staged-{contract.name}.parquet"


def _beside(left: pa.Table, right: pa.Table) -> pa.Table:
    """The columns of two tables with the same number of rows."""
    return pa.table([*left.columns, *right.columns], names=[*left.column_names, *right.column_names])


def _with(table: pa.Table, **texts: str | None) -> pa.Table:
    """The table with columns that hold the same text in all rows."""
    columns = [pa.array([text] * len(table), pa.string()) for text in texts.values()]
    return pa.table([*table.columns, *columns], names=[*table.column_names, *texts])


__all__ = ["DIFFERENT", "DUPLICATE", "Progress", "Staging", "TableReport"]
