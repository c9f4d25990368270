"""Features, declared once, as data. Everything that computes, masks or documents a feature reads its declaration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from features.schema import INTERACTIONS, EventType, Level


class Table(StrEnum):
    """Where a feature's rows are read from. An impression is never an interaction."""

    EVENTS = "events"
    IMPRESSIONS = "impressions"


class Measure(StrEnum):
    """What is taken from the rows that a declaration selects. Counts and money are integers.

    Purchases of one user at one instant without an order id are one order.
    """

    COUNT = "count"
    SESSIONS = "sessions"
    ORDERS = "orders"
    USERS = "users"
    ITEMS = "items"
    MONEY_CENTS = "money_cents"
    DAYS_SINCE_FIRST = "days_since_first"
    DAYS_SINCE_LAST = "days_since_last"
    DECAYED_COUNT = "decayed_count"


class Entity(StrEnum):
    """Whose row a feature stands in."""

    USER = "user"
    ITEM = "item"


class Origin(StrEnum):
    """Whether the user told us, or we saw it."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Feature:
    """One number per user or item, as of an instant.

    Attributes:
        name: Column of the matrix.
        entity: Row of the matrix.
        measure: What is taken from the selected rows.
        events: Only these event types are read; impressions have none.
        window_days: Lookback; events in ``[as_of - window, as_of)`` are read, all earlier ones if None.
        half_life_days: For decayed counts: an event this many whole days old weighs half.
        unit: Of the number.
        level: The level of personalisation that the feature serves.
        origin: Explicit or implicit.
        purpose: What the user must consent to for the feature to be used.
        table: Where the rows are read from.
    """

    name: str
    entity: Entity
    measure: Measure
    events: tuple[EventType, ...]
    window_days: int | None = None
    half_life_days: int | None = None
    unit: str = "events"
    level: Level = Level.BEHAVIOUR
    origin: Origin = Origin.IMPLICIT
    purpose: str = "personalisation"
    table: Table = Table.EVENTS


@dataclass(frozen=True, slots=True)
class Rate:
    """``numerator / denominator`` of two declared features, shrunk towards the rate of all rows together.

    ``(numerator + strength * mean) / (denominator + strength)``: an item seen twice and bought twice is no certain
    sale. Where no row has any of the denominator, nothing is known and the rate is missing.
    """

    name: str
    entity: Entity
    numerator: str
    denominator: str
    strength: int = 20
    unit: str = "share"
    level: Level = Level.BEHAVIOUR
    origin: Origin = Origin.IMPLICIT
    purpose: str = "personalisation"


WINDOWS_DAYS = (1, 7, 30, 90)

_PLURALS = {
    EventType.VIEW: "views",
    EventType.ADD_TO_CART: "carts",
    EventType.PURCHASE: "purchases",
    EventType.REFUND: "refunds",
    EventType.SEARCH: "searches",
}


def _windowed(entity: Entity, measure: Measure, events: tuple[EventType, ...], stem: str, unit: str) -> list[Feature]:
    return [Feature(f"{stem}_{days}d", entity, measure, events, days, unit=unit) for days in WINDOWS_DAYS]


def _impressions(entity: Entity) -> list[Feature]:
    return [
        Feature(f"impressions_{days}d", entity, Measure.COUNT, (), days, unit="impressions", table=Table.IMPRESSIONS)
        for days in WINDOWS_DAYS
    ]


def _user_features() -> list[Feature]:
    user, every, purchase = Entity.USER, tuple(EventType), (EventType.PURCHASE,)
    features = [
        Feature("recency_days", user, Measure.DAYS_SINCE_LAST, INTERACTIONS, unit="days"),
        Feature("tenure_days", user, Measure.DAYS_SINCE_FIRST, every, unit="days"),
        Feature("purchase_recency_days", user, Measure.DAYS_SINCE_LAST, purchase, unit="days"),
        Feature("frequency", user, Measure.ORDERS, purchase, unit="orders"),
        Feature("monetary_cents", user, Measure.MONEY_CENTS, purchase, unit="cents"),
        Feature("distinct_items", user, Measure.ITEMS, INTERACTIONS, unit="items"),
    ]
    for event_type, stem in _PLURALS.items():
        features += _windowed(user, Measure.COUNT, (event_type,), stem, "events")
    features += _windowed(user, Measure.SESSIONS, every, "sessions", "sessions")
    features += _windowed(user, Measure.ORDERS, purchase, "orders", "orders")
    features += _windowed(user, Measure.MONEY_CENTS, purchase, "monetary_cents", "cents")
    return features + _impressions(user)


def _item_features() -> list[Feature]:
    item = Entity.ITEM
    features = [
        Feature("first_seen_days", item, Measure.DAYS_SINCE_FIRST, INTERACTIONS, unit="days"),
        Feature("last_bought_days", item, Measure.DAYS_SINCE_LAST, (EventType.PURCHASE,), unit="days"),
        Feature("buyers_90d", item, Measure.USERS, (EventType.PURCHASE,), 90, unit="users"),
        Feature("popularity", item, Measure.DECAYED_COUNT, (EventType.PURCHASE,), half_life_days=14),
    ]
    for event_type, stem in _PLURALS.items():
        if event_type is not EventType.SEARCH:
            features += _windowed(item, Measure.COUNT, (event_type,), stem, "events")
    return features + _impressions(item)


def _item_rates() -> list[Rate]:
    return [
        Rate(f"{name}_{days}d", Entity.ITEM, f"{top}_{days}d", f"{bottom}_{days}d")
        for days in WINDOWS_DAYS
        for name, top, bottom in (
            ("view_to_cart", "carts", "views"),
            ("cart_to_purchase", "purchases", "carts"),
            ("view_to_purchase", "purchases", "views"),
        )
    ]


#: Every declared feature, in the order of the matrices' columns.
USER_FEATURES: tuple[Feature, ...] = tuple(_user_features())
ITEM_FEATURES: tuple[Feature, ...] = tuple(_item_features())
ITEM_RATES: tuple[Rate, ...] = tuple(_item_rates())

__all__ = [
    "ITEM_FEATURES",
    "ITEM_RATES",
    "USER_FEATURES",
    "WINDOWS_DAYS",
    "Entity",
    "Feature",
    "Measure",
    "Origin",
    "Rate",
    "Table",
]
