"""The events of a label window, as they may be read."""

from __future__ import annotations

import ibis.expr.types as ir

from features.consent import permitted
from features.dataset import Dataset
from features.engine import Engine
from features.identity import identities, resolved
from features.schema import Columns


def readable_window(engine: Engine, dataset: Dataset, start_ms: int, until_ms: int) -> ir.Table:
    """The events in ``[start_ms, until_ms)``.

    Identities and consents are those of the window's beginning, as for the features that are held against them.
    """
    events = dataset.events(engine)
    window = events.filter(events[Columns.TS] >= start_ms, events[Columns.TS] < until_ms)
    merged = identities(engine, events, start_ms)
    return permitted(engine, resolved(engine, window, merged), dataset.users(engine), start_ms, merged)


__all__ = ["readable_window"]
