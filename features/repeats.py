"""Rows whose key another row has already: who holds the key stays, and the others are told apart."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.contracts import Contract
from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.schema import Columns

#: Of a repeat: whether it is the same as the row that holds the key, and the key as text.
SAME, RECEIVED = "same", "received"

_HELD, _POSITION = "__held_", "__position"


class Repeats:
    """Finds repeats on disk.

    Args:
        engine: Runs the expressions.
        scratch: Where to keep what was found.
    """

    def __init__(self, engine: Engine, scratch: Path) -> None:
        self._engine, self._scratch = engine, scratch

    def of_known(self, contract: Contract, rows: ibis.Table, known: ibis.Table) -> ibis.Table | None:
        """Those of ``rows`` whose key one of the ``known`` has; None if there are none.

        Returns:
            ``SOURCE_FILE``, ``SOURCE_ROW``, ``SAME`` and ``RECEIVED`` of each.
        """
        key = list(contract.key)
        if Columns.TS in known.columns:
            # A log is long: keys and times alone are searched, whole rows are read only between the times found.
            found = self._kept(known.select(*key, Columns.TS).semi_join(rows, key), f"found-{contract.name}")
            first, last = (self._engine.value(ts) for ts in (found[Columns.TS].min(), found[Columns.TS].max()))
            if first is None:
                return None
            known = known.filter(known[Columns.TS].between(first, last))
        return self._kept(_beside(contract, rows, known.semi_join(rows, key)), f"known-{contract.name}")

    def among(self, contract: Contract, rows: ibis.Table) -> ibis.Table | None:
        """Those of ``rows`` whose key an earlier one by file and number has; None if there are none.

        Returns:
            As ``of_known``.
        """
        key = list(contract.key)
        repeated = rows.group_by(key).having(rows.count() > 1).agg()
        # Few keys repeat, if any; numbering the rows of those alone spares sorting the whole table.
        suspects = self._kept(rows.semi_join(repeated, key), f"suspects-{contract.name}")
        if not self._engine.value(suspects.count()):
            return None
        position = ibis.row_number().over(group_by=key, order_by=[SOURCE_FILE, SOURCE_ROW])
        numbered = suspects.mutate(position.name(_POSITION))
        first, later = numbered.filter(numbered[_POSITION] == 0), numbered.filter(numbered[_POSITION] > 0)
        holders = first.drop(SOURCE_FILE, SOURCE_ROW, _POSITION)
        return self._kept(_beside(contract, later.drop(_POSITION), holders), f"among-{contract.name}")

    def _kept(self, rows: ibis.Table, name: str) -> ibis.Table:
        path = self._scratch / f"{name}.parquet"
        self._engine.write_parquet(rows, path)
        return self._engine.read(path)


def _beside(contract: Contract, rows: ibis.Table, holders: ibis.Table) -> ibis.Table:
    """Each row against the one that holds its key; a column that one side lacks is missing there."""
    key = list(contract.key)
    held = holders.rename({f"{_HELD}{name}": name for name in holders.columns if name not in key})
    both = rows.inner_join(held, key)
    same = ibis.literal(True)
    for name in {*rows.columns, *holders.columns} - {*key, SOURCE_FILE, SOURCE_ROW}:
        mine, other = (both[side] if side in both.columns else ibis.null("string") for side in (name, _HELD + name))
        same &= mine.identical_to(other)
    received = ibis.literal(", ").join([both[name].cast("string") for name in key])
    return both.select(SOURCE_FILE, SOURCE_ROW, same.name(SAME), received.name(RECEIVED))


__all__ = ["RECEIVED", "SAME", "Repeats"]
