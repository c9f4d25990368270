"""The plain counts of a card: rows, rejects, missing values, time range, users, items, popularity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from features.card.popularity import gini, popularity_curve, top_share
from features.card.tables import Tables
from features.dataset import Dataset
from features.engine import Engine
from features.instants import iso
from features.schema import DAY_MS, Columns, EventType

#: Users are grouped by how many interactions they have: from each bound up to the next, the last one open.
INTERACTION_BOUNDS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 1_000)

#: Days of one bar of the time line: the fewest that need no more than ``MAX_BARS`` bars.
BAR_DAYS = (1, 7, 28, 364)
MAX_BARS = 400


def figures(engine: Engine, dataset: Dataset, tables: Tables) -> dict[str, Any]:
    """JSON-able figures. Shares are from 0 to 1 and None where there is nothing to divide by.

    An *interaction* is a view, cart or purchase. ``rejected``, ``policy``, ``contract`` and ``added`` of a table are of
    the whole ingest, whatever the as-of instant; all else is of the rows in ``tables``.
    """
    interactions = tables.interactions
    n_users, n_items = engine.value(tables.user_ids.count()), engine.value(tables.item_ids.count())
    n_pairs = engine.value(interactions.select(Columns.USER_ID, Columns.ITEM_ID).distinct().count())
    per_user = counts(engine, interactions, Columns.USER_ID)
    per_item = counts(engine, interactions, Columns.ITEM_ID)
    popularity = np.pad(per_item, (0, n_items - len(per_item)))
    first_ms, last_ms = (
        engine.value(edge) for edge in (tables.events[Columns.TS].min(), tables.events[Columns.TS].max())
    )
    return {
        "source": dataset.info["source"],
        "digest": dataset.digest,
        "tables": {name: account(engine, rows, dataset.info["tables"][name]) for name, rows in tables.named.items()},
        "first": _exact(first_ms),
        "last": _exact(last_ms),
        "span_days": (last_ms - first_ms) / DAY_MS,
        "order_within_session": dataset.order_within_session,
        "users": n_users,
        "items": n_items,
        "attributes": list(dataset.attributes),
        "events_by_type": by_type(engine, tables.events),
        "events_per_user_median": float(np.median(counts(engine, tables.events, Columns.USER_ID))),
        "sparsity": 1 - n_pairs / (n_users * n_items) if n_items else None,
        "users_with_repeat_orders_share": _repeat_share(engine, tables),
        "cold_users": n_users - len(per_user),
        "cold_items": n_items - len(per_item),
        "users_by_interactions": grouped(np.pad(per_user, (0, n_users - len(per_user)))),
        "popularity_gini": gini(popularity),
        "popularity_top_1_percent_share": top_share(popularity),
        "popularity_curve": popularity_curve(popularity),
        "timeline": timeline(engine, tables.events, first_ms, last_ms),
    }


def account(engine: Engine, rows: ir.Table, ingested: Mapping[str, Any]) -> dict[str, Any]:
    """One table: rows, what ingest said about it, and the share of missing values per column."""
    missing = rows.agg([rows.count().name("__rows"), *(rows[name].isnull().sum().name(name) for name in rows.columns)])
    counted = engine.to_arrow(missing).to_pylist()[0]
    n = counted.pop("__rows")
    return {
        "rows": n,
        **ingested,
        "missing": {name: (count or 0) / n if n else None for name, count in counted.items()},
    }


def counts(engine: Engine, rows: ir.Table, key: str) -> NDArray[np.int64]:
    """(n,) rows of each value of ``key`` that has any, in falling order.

    Only how often each count occurs leaves the engine: that is small, however many users there are.
    """
    each = rows.filter(rows[key].notnull()).group_by(key).agg(n=ibis._.count())
    table = engine.to_arrow(each.group_by("n").agg(times=ibis._.count()).order_by(ibis.desc("n")))
    return np.repeat(table["n"].to_numpy(), table["times"].to_numpy()).astype(np.int64)


def by_type(engine: Engine, events: ir.Table) -> dict[str, int]:
    """Events of each type that occurs, in the order of the enumeration."""
    counted = engine.to_arrow(events.group_by(Columns.EVENT_TYPE).agg(n=events.count())).to_pylist()
    found = {row[Columns.EVENT_TYPE]: row["n"] for row in counted}
    return {event_type.value: found[event_type.value] for event_type in EventType if event_type.value in found}


def grouped(per_user: NDArray[np.int64]) -> list[dict[str, int | None]]:
    """``{"from", "to", "users"}`` for each group of ``INTERACTION_BOUNDS``, bounds included; the last ``to`` is None.

    >>> grouped(np.array([0, 4, 4]))[3]
    {'from': 3, 'to': 4, 'users': 2}
    """
    low = np.asarray(INTERACTION_BOUNDS)
    users = np.bincount(np.searchsorted(low, per_user, side="right") - 1, minlength=len(low))
    to = [*(low[1:] - 1).tolist(), None]
    return [{"from": int(a), "to": b, "users": int(n)} for a, b, n in zip(low, to, users, strict=True)]


def timeline(engine: Engine, events: ir.Table, first_ms: int, last_ms: int) -> dict[str, Any]:
    """Events and active users per bar of ``bar_days`` days (UTC), from the first event's midnight; empty bars too."""
    start_ms = first_ms // DAY_MS * DAY_MS
    days = (last_ms - start_ms) // DAY_MS + 1
    width = next((width for width in BAR_DAYS if days <= width * MAX_BARS), BAR_DAYS[-1])
    bar = ((events[Columns.TS] - start_ms) // (width * DAY_MS)).cast("int64")
    counted = events.group_by(bar=bar).agg(events=events.count(), users=events[Columns.USER_ID].nunique())
    found = {row.pop("bar"): row for row in engine.to_arrow(counted).to_pylist()}
    bars = [
        {"from": iso(start_ms + i * width * DAY_MS), **found.get(i, {"events": 0, "users": 0})}
        for i in range((days - 1) // width + 1)
    ]
    return {"bar_days": width, "bars": bars}


def _repeat_share(engine: Engine, tables: Tables) -> float | None:
    orders = counts(engine, tables.purchases.select(Columns.USER_ID, "order").distinct(), Columns.USER_ID)
    return float((orders > 1).mean()) if len(orders) else None


def _exact(instant_ms: int) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds")


__all__ = [
    "BAR_DAYS",
    "INTERACTION_BOUNDS",
    "MAX_BARS",
    "account",
    "by_type",
    "counts",
    "figures",
    "grouped",
    "timeline",
]
