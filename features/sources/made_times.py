"""Times for data that tells an order but no time, or not even an order.

Lists end together: the last item of every list is at ``END_MS``, the one before it a step earlier, and so on. A split
at an instant then holds out the same number of last items of everyone, which is what leave-one-out does, and no time
tells how many of a user's items are still to come. Were the beginnings together, a user's pause would say that the
list is over.
"""

from __future__ import annotations

import ibis

from features.engine import SOURCE_FILE, SOURCE_ROW
from features.schema import Columns

#: 2020-01-01T00:00:00Z, an instant in the past like any other.
END_MS = 1_577_836_800_000

#: What ``items_in_order`` refuses, and why.
AGAIN, NO_ITEMS = "listed again", "no items"


def items_in_order(lists: ibis.Table, key: str, step_ms: int) -> ibis.Table:
    """One row per entry of the array ``items``, ``step_ms`` apart.

    Args:
        lists: ``read_columns`` with ``key`` and ``items``, both of whole numbers.
        key: Whose list it is.

    Returns:
        ``event_id``, the key and ``item_id`` as text, ``ts``, ``source_file``, ``source_row`` and ``reject``: ``AGAIN``
        for all of a key's second list, ``NO_ITEMS`` for an empty one, which stays as one row.
    """
    listed = lists.mutate(
        again=ibis.row_number().over(group_by=lists[key], order_by=lists[SOURCE_ROW]) > 0,
        length=lists["items"].length().fill_null(0),
    )
    rows = listed.unnest("items", offset="position", keep_empty=True)
    from_end = (rows["length"] - 1 - rows["position"].fill_null(0)).cast("int64")
    return rows.select(
        # The list's row keeps ids apart even where a key is listed twice.
        (rows[SOURCE_ROW].cast("string") + "-" + (rows["position"] + 1).cast("string")).name(Columns.EVENT_ID),
        rows[key].cast("string").name(key),
        rows["items"].cast("string").name(Columns.ITEM_ID),
        (END_MS - from_end * step_ms).name(Columns.TS),
        *(SOURCE_FILE, SOURCE_ROW),
        ibis.cases((rows["again"], AGAIN), (rows["length"] == 0, NO_ITEMS)).name("reject"),
    )


__all__ = ["AGAIN", "END_MS", "NO_ITEMS", "items_in_order"]
