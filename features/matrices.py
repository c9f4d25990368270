"""From declarations to numbers: the user matrix and the item matrix as of an instant, as expressions of the engine."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import pandas as pd

from features.definitions import (
    ITEM_FEATURES,
    ITEM_RATES,
    USER_FEATURES,
    Feature,
    Measure,
    Rate,
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
    """The row of each item or user that holds at ``as_of_ms``: the latest with ``valid_from <= as_of_ms``."""
    known = rows.filter(rows[Columns.VALID_FROM] <= as_of_ms)
    latest = ibis.row_number().over(ibis.window(group_by=key, order_by=ibis.desc(known[Columns.VALID_FROM])))
    return known.mutate(_age=latest).filter(ibis._["_age"] == 0).drop("_age")


def decay(ts: ir.IntegerValue, as_of_ms: int, half_life_days: int) -> ir.IntegerValue:
    """Weight of an event, in units of ``1 / FIXED_POINT``: halves every ``half_life_days`` whole days."""
    age_days = (ibis.literal(as_of_ms, "int64") - ts) // DAY_MS
    weight = ibis.literal(0.5) ** (age_days.cast("float64") / half_life_days) * FIXED_POINT
    return weight.round().cast("int64")


def measure(feature: Feature, events: ir.Table, as_of_ms: int) -> ir.Scalar:
    """The aggregate over ``events`` (all before ``as_of_ms``) that the declaration asks for."""
    selected = events[Columns.EVENT_TYPE].isin([event_type.value for event_type in feature.events])
    ts = events[Columns.TS]
    if feature.window_days is not None:
        selected = selected & (ts >= as_of_ms - feature.window_days * DAY_MS)
    match feature.measure:
        case Measure.COUNT:
            return events.count(where=selected)
        case Measure.SESSIONS:
            return events.count(where=selected & events[SESSION_START])
        case Measure.ORDERS:
            return events[Columns.ORDER_ID].nunique(where=selected)
        case Measure.USERS:
            return events[Columns.USER_ID].nunique(where=selected)
        case Measure.ITEMS:
            return events[Columns.ITEM_ID].nunique(where=selected)
        case Measure.MONEY_CENTS:
            paid = events[Columns.QUANTITY].fill_null(1) * events[Columns.UNIT_PRICE_CENTS].fill_null(0)
            return paid.sum(where=selected).fill_null(0).cast("int64")
        case Measure.DAYS_SINCE_LAST:
            return (as_of_ms - ts.max(where=selected)) // DAY_MS
        case Measure.DAYS_SINCE_FIRST:
            return (as_of_ms - ts.min(where=selected)) // DAY_MS
        case Measure.DECAYED_COUNT:
            assert feature.half_life_days is not None, f"{feature.name} declares no half-life"
            return decay(ts, as_of_ms, feature.half_life_days).sum(where=selected).fill_null(0)


def _aggregate(events: ir.Table, key: str, features: Sequence[Feature], as_of_ms: int) -> ir.Table:
    return events.group_by(key).aggregate(**{f.name: measure(f, events, as_of_ms) for f in features})


def _with_rates(matrix: pd.DataFrame, rates: Sequence[Rate]) -> pd.DataFrame:
    for rate in rates:
        top, bottom = matrix[rate.numerator], matrix[rate.denominator]
        mean = float(top.sum()) / max(float(bottom.sum()), 1.0)
        matrix[rate.name] = (top + rate.strength * mean) / (bottom + rate.strength)
    return matrix


def user_matrix(
    engine: Engine, events: ir.Table, users: ir.Table, items: ir.Table, attributes: Sequence[str], as_of_ms: int
) -> pd.DataFrame:
    """(n users) rows indexed by ``user_id``, sorted: attributes, every declared user feature, category affinities.

    Args:
        events: Only those before ``as_of_ms``.
        users: Rows with ``valid_from``.
        items: Rows with ``valid_from``, for the categories of what was interacted with.
        attributes: Names of the demographic attributes; a missing value reads ``MISSING``.
    """
    computed = engine.to_pandas(_aggregate(with_session_starts(events), Columns.USER_ID, USER_FEATURES, as_of_ms))
    known = engine.to_pandas(valid_rows(users, Columns.USER_ID, as_of_ms)[[Columns.USER_ID, *attributes]])
    matrix = known.merge(computed, on=Columns.USER_ID, how="outer").set_index(Columns.USER_ID).sort_index()
    for name in attributes:
        matrix[name] = matrix[name].astype(object).where(matrix[name].notna(), MISSING).astype(str)
        matrix.loc[matrix[name] == "", name] = MISSING
    matrix = _typed(matrix, USER_FEATURES)
    # Of users without interactions no affinity is known: it stays missing.
    return matrix.join(_category_affinities(engine, events, items, as_of_ms))


def item_matrix(engine: Engine, events: ir.Table, items: ir.Table, as_of_ms: int) -> pd.DataFrame:
    """(n items) rows indexed by ``item_id``, sorted: the catalogue as it stood, every declared item feature and
    rate."""
    rows = valid_rows(items, Columns.ITEM_ID, as_of_ms)
    catalogue = engine.to_pandas(rows.drop(Columns.VALID_FROM))
    firsts = engine.to_pandas(items.group_by(Columns.ITEM_ID).aggregate(listed=items[Columns.VALID_FROM].min()))
    bought = engine.to_pandas(_aggregate(events, Columns.ITEM_ID, ITEM_FEATURES, as_of_ms))
    matrix = catalogue.merge(firsts, on=Columns.ITEM_ID, how="left").merge(bought, on=Columns.ITEM_ID, how="left")
    matrix["age_days"] = (as_of_ms - matrix.pop("listed")) // DAY_MS
    return _with_rates(_typed(matrix.set_index(Columns.ITEM_ID).sort_index(), ITEM_FEATURES), ITEM_RATES)


def _typed(matrix: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Counts of rows without events are 0; "days since" of what never happened is missing, not large."""
    for feature in features:
        if feature.measure in (Measure.DAYS_SINCE_FIRST, Measure.DAYS_SINCE_LAST):
            matrix[feature.name] = matrix[feature.name].astype("Int64")
        else:
            matrix[feature.name] = matrix[feature.name].fillna(0).astype("int64")
    return matrix


def _category_affinities(engine: Engine, events: ir.Table, items: ir.Table, as_of_ms: int) -> pd.DataFrame:
    """Columns ``affinity:<top category>``: the share of a user's decayed, weighted interactions in each category."""
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
    kept = totals.index[:AFFINITY_CATEGORIES]
    wide = sums.pivot_table(
        index=Columns.USER_ID, columns=Columns.CATEGORY, values="points", aggfunc="sum", fill_value=0
    )
    shares = wide.div(wide.sum(axis=1), axis=0)[sorted(kept)]
    return shares.rename(columns=lambda category: f"affinity:{category}")
