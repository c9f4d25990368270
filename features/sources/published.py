"""Columns of a published file: those that a source names, each of the kind that the publisher wrote."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import ibis
import ibis.expr.datatypes as dt

from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.errors import InputError

#: Amounts from here on are no longer exact in cents.
MOST_MONEY = 1e13


class Kind(Enum):
    """What a column must hold: the rule in words, and the types that keep it."""

    TEXT = "must be text", dt.String
    INTEGER = "must be whole numbers", dt.Integer
    NUMBER = "must be numbers", dt.Numeric
    FLAG = "must be true or false", dt.Boolean
    DATE = "must be dates", dt.Date | dt.Timestamp
    TIME = "must be times", dt.Timestamp
    LIST = "must be lists of whole numbers", dt.Array


def read_columns(engine: Engine, folder: Path, name: str, kinds: Mapping[str, Kind]) -> ibis.Table:
    """As ``Engine.read_source``, but only the columns of ``kinds``: what else the file holds is not looked at.

    Raises:
        NotFoundError: Nothing is there.
        InputError: The file is unreadable or has no rows, or a column is missing or of another kind.
    """
    rows = engine.read_source(folder, name, require=list(kinds))
    for column, kind in kinds.items():
        rule, types = kind.value
        found = rows[column].type()
        if not isinstance(found, types) or (
            isinstance(found, dt.Array) and not isinstance(found.value_type, dt.Integer)
        ):
            mend = "use the file as it was published"
            raise InputError(f"{folder / name}: column {column!r}", rule, str(found), mend)
    return rows.select(*kinds, SOURCE_FILE, SOURCE_ROW)


def origin(rows: ibis.Table, reject: ibis.Value | None = None) -> dict[str, ibis.Value]:
    """Where each row came from and the policy that refuses it, if one does."""
    return {
        SOURCE_FILE: rows[SOURCE_FILE],
        SOURCE_ROW: rows[SOURCE_ROW],
        "reject": ibis.null("string") if reject is None else reject,
    }


def first_of_each(rows: ibis.Table, key: str) -> ibis.Table:
    """Of rows with the same ``key`` the first in the file: what a join may be made with."""
    position = ibis.row_number().over(group_by=rows[key], order_by=rows[SOURCE_ROW])
    return rows.mutate(position=position).filter(lambda numbered: numbered["position"] == 0).drop("position")


def stacked(*tables: ibis.Table) -> ibis.Table:
    """The rows of all tables, with nothing in the columns that a table lacks."""
    types = {name: dtype for table in tables for name, dtype in table.schema().items()}
    return ibis.union(
        *(
            table.select(
                (table[name] if name in table.columns else ibis.null(dtype)).cast(dtype).name(name)
                for name, dtype in types.items()
            )
            for table in tables
        )
    )


def cents(amount: ibis.Value) -> ibis.Value:
    """Whole cents of an amount in the main unit; missing for what is no amount of money: NaN, infinite, astronomic."""
    known = ibis.ifelse(amount.abs() < MOST_MONEY, amount, ibis.null("float64"))
    return (known * 100).round().cast("int64")


def epoch_ms(instant: ibis.Value) -> ibis.Value:
    """Epoch milliseconds of a time without a zone, taken for UTC."""
    whole = instant.truncate("s").epoch_seconds().cast("int64") * 1000
    return whole + instant.millisecond()


__all__ = ["Kind", "cents", "epoch_ms", "first_of_each", "origin", "read_columns", "stacked"]
