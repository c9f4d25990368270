"""The numbers that say what a data set can teach: each is the ``figure`` of a need in ``features.card.questions``."""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir

from features.added import UNKNOWN
from features.card.power import detectable_difference, detectable_lift
from features.card.questions.need import CUT_SHARE, FREQUENT, NDCG_SD, REWARD_DAYS, TRAFFIC_DAYS
from features.card.tables import Tables, latest
from features.dataset import Dataset
from features.engine import Engine
from features.schema import DAY_MS, IDENTITY, MISSING, SESSION_GAP_S, Columns, EventType

#: How a source says in its policy on time that its times tell an order at most.
_NO_TIMES = ("is made up", "is unknown")

#: What the shop does or notes, not the user.
_NOT_ACTIVITY = (EventType.MESSAGE, EventType.REFUND, *IDENTITY)


def evidence(engine: Engine, dataset: Dataset, tables: Tables, end_ms: int) -> dict[str, Any]:
    """Name to number; None where there is nothing to count from.

    Args:
        end_ms: Every event is before it; the last ``TRAFFIC_DAYS`` end here.
    """
    cut_ms = cut(engine, tables.events)
    numbers: dict[str, Any] = {
        "cut_ms": cut_ms,
        "order_within_session": dataset.order_within_session,
        "times_are_real": not dataset.info["policies"].get("time", "").startswith(_NO_TIMES),
    }
    for part in (
        _events(engine, tables, end_ms),
        _users(engine, tables, cut_ms),
        _items(engine, tables, cut_ms),
        _orders(engine, tables),
        _visits(engine, tables),
        _descriptions(engine, tables),
        _groups(engine, dataset, tables),
        _impressions(engine, tables),
    ):
        numbers |= part
    messaged, known = numbers["users_messaged"], numbers["users_known_and_seen_again"]
    everybody = engine.value(tables.user_ids.count())
    # Where nobody left without buying, a share of buyers is no conversion rate.
    active = numbers["users_active"] if numbers["users_without_purchase"] else 0
    rate = numbers["users_converted"] / active if active else 0.0
    return numbers | {
        "users_without_message": everybody - messaged if messaged else 0,
        "detectable_ndcg": detectable_difference(known, NDCG_SD),
        "detectable_lift": detectable_lift(active, rate),
    }


def cut(engine: Engine, events: ir.Table) -> int:
    """The time of the first event after ``CUT_SHARE`` of all events."""
    place = int(engine.value(events.count()) * CUT_SHARE)
    return int(engine.value(events.order_by(Columns.TS).limit(1, offset=place)[Columns.TS].max()))


def _row(engine: Engine, aggregates: ir.Table) -> dict[str, Any]:
    """The one row of ``aggregates``; a sum of nothing is 0."""
    return {name: value or 0 for name, value in engine.to_arrow(aggregates).to_pylist()[0].items()}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _events(engine: Engine, tables: Tables, end_ms: int) -> dict[str, Any]:
    events = tables.events
    kind, ts, user = events[Columns.EVENT_TYPE], events[Columns.TS], events[Columns.USER_ID]
    bought, message = kind == EventType.PURCHASE.value, kind == EventType.MESSAGE.value
    lately = ts >= end_ms - TRAFFIC_DAYS * DAY_MS
    properties = events[Columns.PROPERTIES].fill_null("")
    drawn = message & (properties.contains('"propensity"') | properties.contains('"arm"'))
    row = _row(
        engine,
        events.aggregate(
            span_days=(ts.max() - ts.min()) / DAY_MS,
            views=events.count(where=kind.isin([EventType.VIEW.value, EventType.VISIT.value])),
            purchases=events.count(where=bought),
            priced=events.count(where=bought & events[Columns.UNIT_PRICE_CENTS].notnull()),
            users_active=user.nunique(where=lately & ~kind.isin([kind.value for kind in _NOT_ACTIVITY])),
            users_converted=user.nunique(where=lately & bought),
            users_messaged=user.nunique(where=message),
            users_drawn=user.nunique(where=drawn),
        ),
    )
    share = _share(row.pop("priced"), row["purchases"])
    return row | {"priced_share": share}


def _users(engine: Engine, tables: Tables, cut_ms: int) -> dict[str, Any]:
    events = tables.events
    kind, late = events[Columns.EVENT_TYPE], events[Columns.TS] >= cut_ms
    interaction = kind.isin([EventType.VIEW.value, EventType.ADD_TO_CART.value, EventType.PURCHASE.value])
    each = events.group_by(Columns.USER_ID).agg(
        before=events.count(where=interaction & ~late),
        after=events.count(where=interaction & late),
        bought=events.count(where=kind == EventType.PURCHASE.value),
        looked=events.count(where=kind.isin([EventType.VIEW.value, EventType.VISIT.value])),
    )
    return _row(
        engine,
        each.aggregate(
            users_on_both_sides=each.count(where=(each["before"] >= 2) & (each["after"] >= 2)),
            users_known_and_seen_again=each.count(where=(each["before"] >= 1) & (each["after"] >= 1)),
            users_without_purchase=each.count(where=(each["looked"] > 0) & (each["bought"] == 0)),
            buyers=each.count(where=each["bought"] > 0),
        ),
    )


def _items(engine: Engine, tables: Tables, cut_ms: int) -> dict[str, Any]:
    interactions = tables.interactions
    each = interactions.group_by(Columns.ITEM_ID).agg(n=interactions.count(), first=interactions[Columns.TS].min())
    row = _row(
        engine,
        each.aggregate(
            items_new=each.count(where=each["first"] >= cut_ms),
            items_frequent=each.count(where=each["n"] >= FREQUENT),
            n=each["n"].sum(),
            frequent=each["n"].sum(where=each["n"] >= FREQUENT),
        ),
    )
    share = _share(row.pop("frequent"), row.pop("n"))
    return row | {"frequent_items_share": share}


def _orders(engine: Engine, tables: Tables) -> dict[str, Any]:
    purchases = tables.purchases
    orders = purchases.group_by(Columns.USER_ID, "order").agg(items=purchases[Columns.ITEM_ID].nunique())
    buyers = orders.group_by(Columns.USER_ID).agg(orders=orders.count())
    baskets = orders.aggregate(orders=orders.count(), baskets_of_several=orders.count(where=orders["items"] >= 2))
    return _row(engine, baskets) | _row(
        engine, buyers.aggregate(repeat_buyers=buyers.count(where=buyers["orders"] >= 2))
    )


def _visits(engine: Engine, tables: Tables) -> dict[str, Any]:
    interactions = tables.interactions
    ts = interactions[Columns.TS]
    in_order = ibis.window(group_by=Columns.USER_ID, order_by=[ts, interactions[Columns.EVENT_ID]])
    steps = interactions.select(gap_ms=ts - ts.lag().over(in_order))
    inside = (steps["gap_ms"] > 0) & (steps["gap_ms"] < SESSION_GAP_S * 1000)
    return _row(engine, steps.aggregate(steps_in_visits=steps.count(where=inside)))


def _descriptions(engine: Engine, tables: Tables) -> dict[str, Any]:
    items = latest(tables.items, Columns.ITEM_ID)
    bare = (Columns.ITEM_ID, Columns.VALID_FROM, Columns.CATEGORY, Columns.PRICE_CENTS, Columns.AVAILABLE)
    told = [items[name].notnull() for name in items.columns if name not in bare]
    described = ibis.or_(items[Columns.CATEGORY] != UNKNOWN, *told)
    row = _row(
        engine,
        items.aggregate(
            n=items.count(),
            described=items.count(where=described),
            titled=items.count(where=items[Columns.TITLE].notnull()),
        ),
    )
    return {
        "items_described_share": _share(row["described"], row["n"]),
        "items_titled_share": _share(row["titled"], row["n"]),
    }


def _groups(engine: Engine, dataset: Dataset, tables: Tables) -> dict[str, Any]:
    """Of the attributes, the one whose second largest group has most users: two groups can be told apart by it."""
    users = latest(tables.users, Columns.USER_ID)
    n_users = engine.value(users.count())
    best: dict[str, Any] = {"attribute": None, "attribute_coverage": None, "users_in_second_group": 0}
    for name in dataset.attributes:
        known = users.filter(users[name].notnull(), ~users[name].isin(["", MISSING]))
        groups = known.group_by(name).agg(n=known.count())
        largest = groups.mutate(known=groups["n"].sum().over()).order_by(ibis.desc("n")).limit(2)
        rows = engine.to_arrow(largest).to_pylist()
        second = rows[1]["n"] if len(rows) > 1 else 0
        if best["attribute"] is None or second > best["users_in_second_group"]:
            coverage = _share(rows[0]["known"] if rows else 0, n_users)
            best = {"attribute": name, "attribute_coverage": coverage, "users_in_second_group": second}
    return best


def _impressions(engine: Engine, tables: Tables) -> dict[str, Any]:
    shown = tables.impressions
    if shown is None:
        return {"impressions": 0, "impressions_drawn": 0, "impressions_rewarded": 0}
    rewards = tables.interactions
    rewarded = shown.semi_join(
        rewards,
        [
            shown[Columns.USER_ID] == rewards[Columns.USER_ID],
            shown[Columns.ITEM_ID] == rewards[Columns.ITEM_ID],
            rewards[Columns.TS] >= shown[Columns.TS],
            rewards[Columns.TS] < shown[Columns.TS] + REWARD_DAYS * DAY_MS,
        ],
    )
    drawn = shown.aggregate(impressions=shown.count(), impressions_drawn=shown.count(where=shown["propensity"] < 1))
    return _row(engine, drawn) | {"impressions_rewarded": engine.value(rewarded.count())}


__all__ = ["cut", "evidence"]
