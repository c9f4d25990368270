"""What a data set holds, in numbers: how many, from when to when, how sparse, how skewed, what is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import ibis
import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table

from features.dataset import Dataset
from features.engine import Engine
from features.schema import INTERACTIONS, Columns, EventType


def describe(dataset: Dataset) -> dict[str, Any]:
    """JSON-able figures of a data set.

    Shares are from 0 to 1 and None where there is nothing to divide by. An *interaction* is a view, cart or purchase;
    purchases of one user at one instant without an order id count as one order.
    """
    with Engine.duckdb() as engine:
        events, items, users = dataset.events(engine), dataset.items(engine), dataset.users(engine)
        interactions = events.filter(events[Columns.EVENT_TYPE].isin(INTERACTIONS))
        n_users, n_items = (
            engine.value(column.nunique()) for column in (users[Columns.USER_ID], items[Columns.ITEM_ID])
        )
        n_pairs = engine.value(interactions.select(Columns.USER_ID, Columns.ITEM_ID).distinct().count())
        popularity = _counts(engine, interactions, Columns.ITEM_ID)
        tables = {"events": events, "items": items, "users": users}
        impressions = dataset.impressions(engine)
        if impressions is not None:
            tables["impressions"] = impressions
        return {
            "source": dataset.info["source"],
            "digest": dataset.digest,
            "tables": {name: _table(engine, rows, dataset.info["tables"][name]) for name, rows in tables.items()},
            "first": _iso(dataset.first_ms),
            "last": _iso(dataset.last_ms),
            "order_within_session": dataset.order_within_session,
            "users": n_users,
            "items": n_items,
            "attributes": list(dataset.attributes),
            "events_by_type": _by_type(engine, events),
            "events_per_user_median": float(np.median(_counts(engine, events, Columns.USER_ID))),
            "sparsity": 1 - n_pairs / (n_users * n_items),
            "users_with_repeat_orders_share": _repeat_share(engine, events),
            "cold_items": n_items - len(popularity),
            "popularity_gini": gini(np.pad(popularity, (0, n_items - len(popularity)))),
            "popularity_top_1_percent_share": _top_share(popularity, n_items),
        }


def gini(counts: NDArray[np.int64]) -> float | None:
    """Gini coefficient of (n,) counts: 0 if all are equal, towards 1 if one has all; None if there is nothing to share.

    With counts sorted upwards, ``sum((2 i - n - 1) x_i) / (n sum(x))`` for i from 1 to n.

    >>> gini(np.array([1, 1, 1, 1]))
    0.0
    >>> gini(np.array([0, 0, 0, 4]))
    0.75
    """
    n, total = len(counts), int(counts.sum())
    if not total:
        return None
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * np.sort(counts)).sum() / (n * total))


def render(description: dict[str, Any]) -> RenderableType:
    """The figures of ``describe`` as tables for the terminal."""
    rows = Table("table", "rows", "rejected", "added", "missing values", title="Tables")
    reasons = Table("table", "why", "reason", "rows", title="Rejected rows")
    for name, table in description["tables"].items():
        missing = ", ".join(f"{column} {share:.0%}" for column, share in table["missing"].items() if share)
        rows.add_row(name, f"{table['rows']:,}", f"{table['rejected']:,}", f"{table['added']:,}", missing or "none")
        for kind in ("policy", "contract"):
            for reason, count in table[kind].items():
                reasons.add_row(name, kind, reason, f"{count:,}")
    figures = Table("figure", "value", title=f"{description['source']} {description['digest'][:12]}")
    for name, value in description.items():
        if name not in ("source", "digest", "tables", "events_by_type"):
            figures.add_row(name.replace("_", " "), _shown(value))
    for event_type, count in description["events_by_type"].items():
        figures.add_row(f"{event_type} events", f"{count:,}")
    return Group(rows, *([reasons] if reasons.row_count else []), figures)


def _table(engine: Engine, rows: ibis.Table, account: dict[str, Any]) -> dict[str, Any]:
    missing = rows.agg([rows.count().name("__rows"), *(rows[name].isnull().sum().name(name) for name in rows.columns)])
    counts = engine.to_arrow(missing).to_pylist()[0]
    n = counts.pop("__rows")
    shares = {name: (count or 0) / n if n else None for name, count in counts.items()}
    return {"rows": n, **account, "missing": shares}


def _counts(engine: Engine, rows: ibis.Table, key: str) -> NDArray[np.int64]:
    counts = rows.filter(rows[key].notnull()).group_by(key).agg(n=ibis._.count())
    return np.asarray(engine.to_arrow(counts)["n"].to_numpy(), dtype=np.int64)


def _by_type(engine: Engine, events: ibis.Table) -> dict[str, int]:
    counts = engine.to_arrow(events.group_by(Columns.EVENT_TYPE).agg(events.count().name("n"))).to_pylist()
    found = {row[Columns.EVENT_TYPE]: row["n"] for row in counts}
    return {event_type.value: found[event_type.value] for event_type in EventType if event_type.value in found}


def _repeat_share(engine: Engine, events: ibis.Table) -> float | None:
    bought = events.filter(events[Columns.EVENT_TYPE] == EventType.PURCHASE.value)
    order = bought[Columns.ORDER_ID].fill_null("@" + bought[Columns.TS].cast("string")).name("order")
    orders = _counts(engine, bought.select(Columns.USER_ID, order).distinct(), Columns.USER_ID)
    return float((orders > 1).mean()) if len(orders) else None


def _top_share(popularity: NDArray[np.int64], n_items: int) -> float | None:
    top = max(1, round(n_items / 100))
    return float(np.sort(popularity)[::-1][:top].sum() / popularity.sum()) if len(popularity) else None


def _iso(instant_ms: int) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


__all__ = ["describe", "gini", "render"]
