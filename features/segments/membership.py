"""Who belongs to which segment: all users at once through the query engine, or one user from a row."""

from __future__ import annotations

from collections.abc import Callable

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.engine import Engine
from features.schema import Columns
from features.segments.columns import Row
from features.segments.definitions import Segments


def memberships(
    engine: Engine, rows: pd.DataFrame | ir.Table, segments: Segments, *, key: str = Columns.USER_ID
) -> pd.DataFrame:
    """Who is a member of what. A condition that is missing makes nobody a member.

    Args:
        engine: Computes the conditions.
        rows: One row per user: a frame such as ``Snapshot.user_matrix``, or an expression with a ``key`` column.
        segments: Whose conditions read the columns of ``rows``.
        key: Of an expression: the column that becomes the index.

    Returns:
        (n users, n segments) bool, columns in the order of ``segments``; with the index and the order of a frame, or
        sorted by ``key``.

    Raises:
        InputError: A column is missing, or of another type than the segments were read against.
    """
    if isinstance(rows, pd.DataFrame):
        return _of_table(engine, *_numbered(engine, rows, segments), segments).set_axis(rows.index)
    return _of_table(engine, rows, key, segments)


def membership(row: Row, segments: Segments) -> set[str]:
    """The segments that the user of one row is a member of, as ``memberships`` would say; a moment's work.

    Raises:
        InputError: A value is of another type than its column.
    """
    return member_of(segments)(row)


def member_of(segments: Segments) -> Callable[[Row], set[str]]:
    """``membership`` for many rows: the conditions are compiled once."""
    conditions = [(name, segments[name].parent, segments[name].where.python()) for name in segments.parents_first]

    def function(row: Row) -> set[str]:
        found: set[str] = set()
        for name, parent, where in conditions:
            if (parent is None or parent in found) and where(row) is True:
                found.add(name)
        return found

    return function


def _numbered(engine: Engine, frame: pd.DataFrame, segments: Segments) -> tuple[ir.Table, str]:
    """The columns that are read, and one with the position of each row under a name that none of them has."""
    read = [column for column in segments.columns if column in frame.columns]
    position = "_".join(["position", *read])
    numbered = frame[read].assign(**{position: np.arange(len(frame))})
    return engine.memtable(numbered.reset_index(drop=True)), position


def _of_table(engine: Engine, table: ir.Table, key: str, segments: Segments) -> pd.DataFrame:
    # Columns go by number: a segment may have the name of the key.
    conditions = {
        f"_{at}": ibis.coalesce(segment.where.ibis(table), ibis.literal(False)) for at, segment in enumerate(segments)
    }
    found = engine.to_pandas(table.select(table[key].name("_key"), **conditions).order_by("_key")).set_index("_key")
    members = found.astype(bool).set_axis(list(segments.names), axis="columns").rename_axis(index=key)
    for name in segments.parents_first:
        parent = segments[name].parent
        if parent is not None:
            members[name] &= members[parent]
    return members


__all__ = ["member_of", "membership", "memberships"]
