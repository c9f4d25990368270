"""Who ordered when and for how much: what the value of customers is learned from."""

from __future__ import annotations

import ibis
import pandas as pd

from features.dataset import Dataset
from features.engine import Engine
from features.schema import Columns, EventType
from features.window import readable

#: Columns of ``read_orders``, beside the user.
TS, CENTS = "ts", "cents"


def read_orders(engine: Engine, dataset: Dataset, at_ms: int, until_ms: int | None = None) -> pd.DataFrame:
    """The orders before ``until_ms``, under the identities and consents of ``at_ms``; refunds are no orders.

    An order is at the instant of its last line, as ``features.known`` has it, and costs what all of its lines do: units
    (one where none are told) at their price (nothing where it is not told). Of an order that goes on after ``at_ms``
    the lines before are one order and those after another: what is known at an instant does not depend on what follows.

    Args:
        until_ms: ``at_ms`` if it is absent.

    Returns:
        ``user_id``, ``ts`` and ``cents`` (int64), sorted.
    """
    events = dataset.events(engine)
    bought = events.filter(
        events[Columns.EVENT_TYPE] == EventType.PURCHASE.value,
        events[Columns.TS] < (at_ms if until_ms is None else until_ms),
    )
    lines = readable(engine, dataset, bought, at_ms)
    ts = lines[Columns.TS]
    named = lines.select(
        Columns.USER_ID,
        Columns.TS,
        order=("#" + lines[Columns.ORDER_ID]).fill_null("@" + ts.cast("string")),
        after=ts >= at_ms,
        paid=lines[Columns.QUANTITY].fill_null(1) * lines[Columns.UNIT_PRICE_CENTS].fill_null(0),
    )
    orders = named.group_by([Columns.USER_ID, "order", "after"]).aggregate(
        ts=ibis._[Columns.TS].max(), cents=ibis._["paid"].sum()
    )
    found = engine.to_pandas(orders.select(Columns.USER_ID, TS, CENTS))
    return found.astype({TS: "int64", CENTS: "int64"}).sort_values([Columns.USER_ID, TS, CENTS], ignore_index=True)


__all__ = ["CENTS", "TS", "read_orders"]
