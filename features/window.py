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
    return readable(engine, dataset, window, start_ms)


def readable(engine: Engine, dataset: Dataset, rows: ir.Table, at_ms: int) -> ir.Table:
    """Those of ``rows``, events of the data set, that may be read under the identities and consents of an instant."""
    merged = identities(engine, dataset.events(engine), at_ms)
    return permitted(engine, resolved(engine, rows, merged), dataset.users(engine), at_ms, merged)


__all__ = ["readable", "readable_window"]
