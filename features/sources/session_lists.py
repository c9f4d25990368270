"""Click sessions of the session papers: anonymous lists of items in the order of the clicks, without a time."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import Engine
from features.schema import Columns, EventType
from features.sources.made_times import AGAIN, NO_ITEMS, items_in_order
from features.sources.published import Kind, read_columns

DESCRIPTION = "click sessions: session_idx, items in the order of the clicks; file train_sequences.parquet"

#: Between two clicks: well below the gap that ends a session.
STEP_MS = 60_000

POLICIES = {
    "test.parquet": "is not read: its targets are held-out labels without a time",
    "users": "nobody is known: each session is a user of its own, without attributes",
    "clicks": "are views, repeated ones too: a target is often in its own prefix, so seen items must stay candidates",
    "time": "is made up from the order: every session's last click is at 2020-01-01T00:00:00Z, each earlier one "
    f"{STEP_MS // 1000} seconds before the next; neither dates nor which session was first mean anything",
    AGAIN: "the second list of a session is rejected",
    NO_ITEMS: "an empty session is rejected",
    "items": "have no attributes; the category is unknown",
}
ORDER_WITHIN_SESSION = True


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Events, one per click; items and users follow from them."""
    kinds = {"session_idx": Kind.INTEGER, "items": Kind.LIST}
    clicks = items_in_order(read_columns(engine, folder, "train_sequences.parquet", kinds), "session_idx", STEP_MS)
    events = clicks.mutate(
        clicks["session_idx"].name(Columns.USER_ID), ibis.literal(EventType.VIEW.value).name(Columns.EVENT_TYPE)
    )
    return {"events": events.rename({Columns.SESSION_ID: "session_idx"})}


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "STEP_MS", "read"]
