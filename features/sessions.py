"""Sessions: a user's events with gaps under ``session_gap_s``."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.schema import SESSION_GAP_S, Columns

SESSION_START = "session_start"


def with_session_starts(events: ir.Table, gap_s: int = SESSION_GAP_S) -> ir.Table:
    """``events`` with a boolean column ``session_start``: the user's first event, or the first after a long enough gap.

    Counting starts counts sessions, for any selection of whole sessions, without ever numbering them. A gap of exactly
    ``gap_s`` begins a new session.
    """
    in_order = ibis.window(group_by=Columns.USER_ID, order_by=[events[Columns.TS], events[Columns.EVENT_ID]])
    previous = events[Columns.TS].lag().over(in_order)
    starts = previous.isnull() | (events[Columns.TS] - previous >= gap_s * 1000)
    return events.mutate(**{SESSION_START: starts})


__all__ = ["SESSION_START", "with_session_starts"]
