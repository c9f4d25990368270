"""One item that stands for whatever was bought, where the data says that something was, but not what."""

from __future__ import annotations

import ibis

from features.engine import SOURCE_ROW
from features.schema import Columns
from features.sources.published import origin

STAND_IN = "unknown-goods"


def stand_in_item(rows: ibis.Table) -> ibis.Table:
    """The row of ``items``, available from the beginning, so that an instant before the first purchase knows it."""
    first = rows.filter(rows[SOURCE_ROW] == 1)
    return first.select(
        **{
            Columns.ITEM_ID: ibis.literal(STAND_IN),
            Columns.VALID_FROM: ibis.literal(0, "int64"),
            Columns.CATEGORY: ibis.literal("unknown"),
            Columns.AVAILABLE: ibis.literal(True),
        },
        **origin(first),
    )


__all__ = ["STAND_IN", "stand_in_item"]
