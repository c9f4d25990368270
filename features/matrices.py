"""From declarations to numbers: the user matrix and the item matrix as of an instant, as expressions of the engine."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.definitions import (
    ITEM_FEATURES,
    ITEM_RATES,
    USER_FEATURES,
    Feature,
    Measure,
    Rate,
    Table,
)
from features.engine import Engine
from features.schema import DAY_MS, MISSING, Columns, EventType
from features.sessions import SESSION_START, with_session_starts

#: Decayed sums are sums of integers, 2**20 standing for one: their order cannot change the result.
FIXED_POINT = 1 << 20

#: What an interaction says about a category, and how many days halve it.
AFFINITY_WEIGHTS = {EventType.VIEW: 1, EventType.ADD_TO_CART: 3, EventType.PURCHASE: 5}
AFFINITY_HALF_LIFE_DAYS = 30
AFFINITY_CATEGORIES = 50


def valid_rows(rows: ir.Table, key: str, as_of_ms: int) -> ir.Table:
    """The row of each item or user that holds just before ``as_of_ms``: the latest with ``valid_from < as_of_ms``.

    Users and items that only the events name hold from their first event on: were the border readable, an event at
    ``as_of_ms`` would show.
    """
    known = rows.filter(rows[Columns.VALID_FROM] < as_of_ms)
    latest = ibis.row_number().over(ibis.window(group_by=key, order_by=ibis.desc(known[Columns.VALID_FROM])))
    return known.mutate(_age=latest).filter(ibis._["_age"] == 0).drop("_age")


def decay(ts: ir.IntegerValue, as_of_ms: int, half_life_days: int) -> ir.IntegerValue:
    """Weight of an event, in units of ``1 / FIXED_POINT``: halves every ``half_life_days`` whole days."""
    age_days = (ibis.literal(as_of_ms, "int64") - ts) // DAY_MS
    weight = ibis.literal(0.5) ** (age_days.cast("float64") / half_life_days) * FIXED_POINT
    return weight.round().cast("int64")


def measure(feature: Feature, rows: ir.Table, as_of_ms: int) -> ir.Scalar:
    """The aggregate that the declaration asks for, over rows of its table that are all before ``as_of_ms``."""
    ts = rows[Columns.TS]
    selected = ts.notnull()
    if feature.table is Table.EVENTS:
        selected = rows[Columns.EVENT_TYPE].isin([event_type.value for event_type in feature.events])
    if feature.window_days is not None:
        selected = selected & (ts >= as_of_ms - feature.window_days * DAY_MS)
    match feature.measure:
        case Measure.COUNT:
            return rows.count(where=selected)
        case Measure.SESSIONS:
            return rows.count(where=selected & rows[SESSION_START])
        case Measure.ORDERS:
            return rows[Columns.ORDER_ID].fill_null("@" + ts.cast("string")).nunique(where=selected)
        case Measure.USERS:
            return rows[Columns.USER_ID].nunique(where=selected)
        case Measure.ITEMS:
            return rows[Columns.ITEM_ID].nunique(where=selected)
        case Measure.MONEY_CENTS:
            paid = rows[Columns.QUANTITY].fill_null(1) * rows[Columns.UNIT_PRICE_CENTS].fill_null(0)
            return paid.sum(where=selected).fill_null(0).cast("int64")
        case Measure.DAYS_SINCE_LAST:
            return (as_of_ms - ts.max(where=selected)) // DAY_MS
        case Measure.DAYS_SINCE_FIRST:
            return (as_of_ms - ts.min(where=selected)) // DAY_MS
        case Measure.DECAYED_COUNT:
            assert feature.half_life_days is not None, f"{feature.name} declares no half-life"
            return decay(ts, as_of_ms, feature.half_life_days).sum(where=selected).fill_null(0)


def _measured(
    engine: Engine, table: Table, rows: ir.Table, key: str, features: Sequence[Feature], as_of_ms: int
) -> pd.DataFrame:
    """Those of ``features`` that are read from ``table``, indexed by ``key``."""
    wanted = {f.name: measure(f, rows, as_of_ms) for f in features if f.table is table}
    return engine.to_pandas(rows.group_by(key).aggregate(**wanted)).dropna(subset=[key]).set_index(key)


def _with_rates(matrix: pd.DataFrame, rates: Sequence[Rate]) -> pd.DataFrame:
    for rate in rates:
        top, bottom = matrix[rate.numerator], matrix[rate.denominator]
        total = int(bottom.sum())
        mean = int(top.sum()) / total if total else np.nan
        matrix[rate.name] = (top + rate.strength * mean) / (bottom + rate.strength)
    return matrix


def user_matrix(
    engine: Engine,
    events: ir.Table,
    impressions: ir.Table,
    users: ir.Table,
    items: ir.Table,
    attributes: Sequence[str],
    as_of_ms: int,
) -> pd.DataFrame:
    """(n users) rows indexed by ``user_id``, sorted: attributes, every declared user feature, category affinities.

    Args:
        events, impressions: Only those before ``as_of_ms``. Being shown something makes nobody a known user.
        users: Rows with ``valid_from``.
        items: Rows with ``valid_from``, for the categories of what was interacted with.
        attributes: Names of the demographic attributes; a missing value reads ``MISSING``.
    """
    key = Columns.USER_ID
    known = engine.to_pandas(valid_rows(users, key, as_of_ms)[[key, *attributes]]).set_index(key)
    done = _measured(engine, Table.EVENTS, with_session_starts(events), key, USER_FEATURES, as_of_ms)
    shown = _measured(engine, Table.IMPRESSIONS, impressions, key, USER_FEATURES, as_of_ms)
    matrix = known.join(done, how="outer").join(shown).sort_index()
    for name in attributes:
        matrix[name] = matrix[name].astype(object).where(matrix[name].notna(), MISSING).astype(str)
        matrix.loc[matrix[name] == "", name] = MISSING
    matrix = _typed(matrix, USER_FEATURES)
    # Of users without interactions no affinity is known: it stays missing.
    return matrix.join(_category_affinities(engine, events, items, as_of_ms))


def item_matrix(
    engine: Engine, events: ir.Table, impressions: ir.Table, items: ir.Table, as_of_ms: int
) -> pd.DataFrame:
    """(n items) rows indexed by ``item_id``, sorted: the catalogue as it stood, and every declared feature and rate.

    ``age_days`` counts from the item's first listing.
    """
    key = Columns.ITEM_ID
    catalogue = engine.to_pandas(valid_rows(items, key, as_of_ms).drop(Columns.VALID_FROM)).set_index(key)
    listed = engine.to_pandas(items.group_by(key).aggregate(listed=items[Columns.VALID_FROM].min())).set_index(key)
    done = _measured(engine, Table.EVENTS, events, key, ITEM_FEATURES, as_of_ms)
    shown = _measured(engine, Table.IMPRESSIONS, impressions, key, ITEM_FEATURES, as_of_ms)
    matrix = catalogue.join(listed).join(done).join(shown).sort_index()
    matrix["age_days"] = (as_of_ms - matrix.pop("listed")) // DAY_MS
    return _with_rates(_typed(matrix, ITEM_FEATURES), ITEM_RATES)


def _typed(matrix: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Counts of rows without events are 0; "days since" of what never happened is missing, not large."""
    for feature in features:
        if feature.measure in (Measure.DAYS_SINCE_FIRST, Measure.DAYS_SINCE_LAST):
            matrix[feature.name] = matrix[feature.name].astype("Int64")
        else:
            matrix[feature.name] = matrix[feature.name].fillna(0).astype("int64")
    return matrix


def _category_affinities(engine: Engine, events: ir.Table, items: ir.Table, as_of_ms: int) -> pd.DataFrame:
    """Columns ``affinity:<top category>``: the share of a user's decayed, weighted interactions in each category.

    Only the ``AFFINITY_CATEGORIES`` categories that have most of them get a column.
    """
    rows = valid_rows(items, Columns.ITEM_ID, as_of_ms)
    top = rows.select(Columns.ITEM_ID, category=rows[Columns.CATEGORY].split("/")[0])
    weight = ibis.cases(
        *((events[Columns.EVENT_TYPE] == event_type.value, points) for event_type, points in AFFINITY_WEIGHTS.items()),
        else_=0,
    )
    points = events.mutate(_points=weight * decay(events[Columns.TS], as_of_ms, AFFINITY_HALF_LIFE_DAYS))
    joined = points.filter(points["_points"] > 0).join(top, Columns.ITEM_ID)
    sums = engine.to_pandas(
        joined.group_by([Columns.USER_ID, Columns.CATEGORY]).aggregate(points=joined["_points"].sum())
    )
    totals = sums.groupby(Columns.CATEGORY)["points"].sum().sort_index().sort_values(ascending=False, kind="stable")
    sums["share"] = sums["points"] / sums.groupby(Columns.USER_ID)["points"].transform("sum")
    # Wide only after the cut: a shop may have as many top categories as items.
    kept = sums[sums[Columns.CATEGORY].isin(totals.index[:AFFINITY_CATEGORIES])]
    shares = kept.pivot(index=Columns.USER_ID, columns=Columns.CATEGORY, values="share").sort_index(axis=1)
    shares = shares.reindex(pd.unique(sums[Columns.USER_ID])).fillna(0.0)
    return shares.rename(columns=lambda category: f"affinity:{category}")
