"""Every row of every table is accepted or rejected, batch by batch, on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

#: Called while rows are read: (table, rows done, rows in all).
Progress = Callable[[str, int, int], None]

_BATCH_ROWS = 200_000

_ORIGIN = pa.schema([(SOURCE_FILE, pa.string()), (SOURCE_ROW, pa.int64())])


@dataclass(frozen=True, slots=True)
class TableReport:
    """What became of one table's rows: ``rows_in == accepted + rejected``.

    Attributes:
        policy: Reason to number of rejects by the source's own stated policies.
        contract: Reason to number of rejects by a rule of the contract.
        added: Rows made for items or users that only the events name; not among ``accepted``.
    """

    rows_in: int
    accepted: int
    rejected: int
    policy: dict[str, int]
    contract: dict[str, int]
    added: int = 0


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
        self._duplicates: dict[str, ibis.Table] = {}

    def take_in(self, tables: Mapping[str, ibis.Table]) -> dict[str, TableReport]:
        """Check all rows of all tables, and account for each."""
        with self.rejects:
            rows_in = {name: self._check_rows(CONTRACTS[name], rows) for name, rows in tables.items()}
            for name in tables:
                self._find_duplicates(CONTRACTS[name])
        reports = {}
        for name, count in rows_in.items():
            policy, contract = (dict(sorted(self.rejects.counts[name, kind].items())) for kind in RejectKind)
            rejected = sum(policy.values()) + sum(contract.values())
            reports[name] = TableReport(count, count - rejected, rejected, policy, contract)
        return reports

    def accepted(self, contract: Contract) -> ibis.Table:
        """The accepted rows: the contract's columns, then attributes."""
        rows = self.engine.read(self._staged(contract.name))
        if contract.name in self._duplicates:
            rows = rows.anti_join(self._duplicates[contract.name], _ORIGIN.names)
        return rows.drop(*_ORIGIN.names)

    def _check_rows(self, contract: Contract, rows: ibis.Table) -> int:
        own = [name for name in rows.columns if name not in (*_ORIGIN.names, "reject")]
        schema = contract.arrow_schema([name for name in own if name not in contract.columns])
        total = self.engine.value(rows.count()) if self._progress else 0
        done = 0
        with pq.ParquetWriter(self._staged(contract.name), pa.unify_schemas([schema, _ORIGIN])) as writer:
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

    def _find_duplicates(self, contract: Contract) -> None:
        """Of rows with the same key the first by file and row stays."""
        key = list(contract.key)
        staged = self.engine.read(self._staged(contract.name))
        repeated = staged.group_by(key).having(staged.count() > 1).agg()
        # Few keys repeat, if any; numbering the rows of those alone spares sorting the whole table.
        suspects = staged.semi_join(repeated, key)
        position = ibis.row_number().over(group_by=key, order_by=_ORIGIN.names)
        later = suspects.mutate(position.name("position")).filter(lambda rows: rows["position"] > 0)
        received = ibis.literal(", ").join([later[name].cast("string") for name in key])
        rule = contract.duplicate
        found = later.select(
            *_ORIGIN.names,
            ibis.literal(rule.reason).name("reason"),
            ibis.literal(rule.field).name("field"),
            received.name("received"),
        )
        path = self._scratch / f"duplicates-{contract.name}.parquet"
        self.engine.write_parquet(found, path)
        duplicates = self.engine.read(path)
        for batch in self.engine.batches(duplicates, _BATCH_ROWS):
            self.rejects.add(contract.name, RejectKind.CONTRACT, pa.Table.from_batches([batch]))
        if self.rejects.counts[contract.name, RejectKind.CONTRACT][rule.reason]:
            self._duplicates[contract.name] = duplicates

    def _staged(self, table: str) -> Path:
        return self._scratch / f"staged-{table}.parquet"


def _beside(left: pa.Table, right: pa.Table) -> pa.Table:
    """The columns of two tables with the same number of rows."""
    return pa.table([*left.columns, *right.columns], names=[*left.column_names, *right.column_names])


__all__ = ["Progress", "Staging", "TableReport"]
