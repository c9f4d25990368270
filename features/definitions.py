"""Features, declared once, as data. Everything that computes, masks or documents a feature reads its declaration."""

from __future__ import annotations

from features.declarations import (
    HOURS,
    Affinity,
    Amount,
    Condition,
    Counter,
    Declaration,
    Distinct,
    Feature,
    Rate,
    Ratio,
    Read,
    Score,
    Special,
    Stream,
    Trend,
)
from features.schema import IDENTITY, INTERACTIONS, EventType, Level, Purpose

WINDOWS_DAYS = (1, 7, 30, 90)

#: Decayed sums are sums of integers, 2**20 standing for one: their order cannot change the result.
FIXED_POINT = 1 << 20

_BEHAVIOUR = tuple(kind for kind in EventType if kind not in (*IDENTITY, EventType.MESSAGE))
_BOUGHT = (EventType.PURCHASE,)

#: What a user does; messages are done to them.
ACTIVITY = _BEHAVIOUR

_PLURALS = {
    EventType.VIEW: "views",
    EventType.ADD_TO_CART: "carts",
    EventType.PURCHASE: "purchases",
    EventType.REFUND: "refunds",
    EventType.SEARCH: "searches",
    EventType.REMOVE_FROM_CART: "removals",
    EventType.EXIT_INTENT: "exits",
    EventType.VISIT: "visits",
    EventType.MESSAGE: "messages",
    EventType.REDEMPTION: "redemptions",
}

USER_COUNTERS: tuple[Counter, ...] = (
    *(Counter(name, events=(kind,)) for kind, name in _PLURALS.items()),
    Counter("interactions", events=INTERACTIONS),
    Counter("activity", events=ACTIVITY),
    Counter("monetary_cents", events=_BOUGHT, amount=Amount.CENTS),
    Counter("refunded_cents", events=(EventType.REFUND,), amount=Amount.CENTS),
    Counter("units", events=_BOUGHT, amount=Amount.UNITS),
    *(Counter(part.value, events=INTERACTIONS, condition=part) for part in (*HOURS, Condition.WEEKEND)),
    Counter("listed", events=_BOUGHT, condition=Condition.LISTED),
    Counter("discounted", events=_BOUGHT, condition=Condition.DISCOUNTED),
    Counter("sessions", Stream.SESSIONS),
    Counter("orders", Stream.ORDERS),
    Counter("impressions", Stream.IMPRESSIONS),
)

ITEM_COUNTERS: tuple[Counter, ...] = (
    *(
        Counter(name, events=(kind,))
        for kind, name in _PLURALS.items()
        if name in ("views", "carts", "removals", "purchases", "refunds")
    ),
    Counter("interactions", events=INTERACTIONS),
    Counter("units", events=_BOUGHT, amount=Amount.UNITS),
    Counter("revenue_cents", events=_BOUGHT, amount=Amount.CENTS),
    Counter("impressions", Stream.IMPRESSIONS),
)


def counters_of(counters: tuple[Counter, ...]) -> dict[Stream, list[str]]:
    """The streams that counters are about, and the names of each one's."""
    names: dict[Stream, list[str]] = {}
    for counter in counters:
        names.setdefault(counter.stream, []).append(counter.name)
    return names


_PURPOSES = {"searches": Purpose.SEARCH_HISTORY}
_UNITS = {"monetary_cents": "cents", "revenue_cents": "cents", "sessions": "sessions", "orders": "orders"}


def _windowed(*counters: str, days: tuple[int, ...] = WINDOWS_DAYS) -> list[Feature]:
    return [
        Feature(
            f"{counter}_{window}d",
            _UNITS.get(counter, counter if counter == "impressions" else "events"),
            purpose=_PURPOSES.get(counter, Purpose.PERSONALISATION),
            counter=counter,
            window_days=window,
        )
        for counter in counters
        for window in days
    ]


def _since(name: str, counter: str, read: Read = Read.DAYS_SINCE_LAST) -> Feature:
    return Feature(name, "days", counter=counter, read=read)


def _total(name: str, counter: str, unit: str = "events") -> Feature:
    return Feature(name, unit, counter=counter)


USER_FEATURES: tuple[Declaration, ...] = (
    _since("recency_days", "interactions"),
    _since("tenure_days", "activity", Read.DAYS_SINCE_FIRST),
    _since("purchase_recency_days", "purchases"),
    _total("frequency", "orders", "orders"),
    _total("monetary_cents", "monetary_cents", "cents"),
    Score("recency_score", "1 to 5", feature="purchase_recency_days", high_is_good=False),
    Score("frequency_score", "1 to 5", feature="frequency"),
    Score("monetary_score", "1 to 5", feature="monetary_cents"),
    Distinct("distinct_items", "items"),
    *_windowed(
        "views", "carts", "purchases", "refunds", "searches", "sessions", "orders", "monetary_cents", "impressions"
    ),
    *_windowed("removals", "exits", "visits", "messages", "redemptions", days=(30,)),
    _total("interactions", "interactions"),
    _total("units", "units", "units"),
    _total("refunded_cents", "refunded_cents", "cents"),
    Ratio("average_order_cents", "cents", numerator="monetary_cents", denominator="frequency"),
    Ratio("basket_units", "units per order", numerator="units", denominator="frequency"),
    Ratio("average_unit_cents", "cents", numerator="monetary_cents", denominator="units"),
    Ratio("refund_share", "share", numerator="refunded_cents", denominator="monetary_cents"),
    Special("order_gap_days", "days", rule="mean days between days with orders, from two such days on"),
    Special("order_gap_variation", "ratio", rule="standard deviation of those gaps over their mean, from two gaps on"),
    _total("listed_purchases", "listed"),
    _total("discounted_purchases", "discounted"),
    Ratio("discount_share", "share", numerator="discounted_purchases", denominator="listed_purchases"),
    *(
        declaration
        for part in (*HOURS, Condition.WEEKEND)
        for declaration in (
            _total(f"{part.value}_interactions", part.value),
            Ratio(f"{part.value}_share", "share", numerator=f"{part.value}_interactions", denominator="interactions"),
        )
    ),
    Ratio("cart_share", "carts per view", numerator="carts_90d", denominator="views_90d"),
    Ratio("buy_share", "purchases per cart", numerator="purchases_90d", denominator="carts_90d"),
    Ratio("session_views", "views per session", numerator="views_90d", denominator="sessions_90d"),
    Special(
        "funnel_stage",
        "stage",
        rule="how far somebody has come in 30 days, since their last purchase: none, view, cart or purchase",
        text=True,
    ),
    Affinity("category", "share", label="category_top", columns=50),
    Affinity("brand", "share", label="brand"),
    Affinity("price_band", "share", label="price_band"),
    Affinity("channel", "share", label="channel"),
)

ITEM_FEATURES: tuple[Declaration, ...] = (
    _since("first_seen_days", "interactions", Read.DAYS_SINCE_FIRST),
    _since("last_viewed_days", "views"),
    _since("last_bought_days", "purchases"),
    Special("age_days", "days", Level.POPULAR, rule="whole days since the item was first listed"),
    Special("price_rank", "share", Level.POPULAR, rule="priced items of the same category that cost less"),
    Distinct("buyers", "users"),
    Distinct("buyers_90d", "users", window_days=90),
    Distinct("repeat_buyers", "users", at_least_days=2),
    *(
        Feature(name, "2**-20 events", counter=counter, read=Read.DECAYED, half_life_days=14)
        for name, counter in (("popularity", "purchases"), ("view_popularity", "views"), ("cart_popularity", "carts"))
    ),
    *_windowed("views", "carts", "purchases", "refunds", "impressions"),
    *_windowed("removals", "revenue_cents", days=(30,)),
    _total("purchases", "purchases"),
    _total("refunds", "refunds"),
    Trend("trend", "ratio", recent="purchases_7d", base="purchases_30d"),
    Trend("view_trend", "ratio", recent="views_7d", base="views_30d"),
    *(
        Rate(f"{name}_{days}d", "share", numerator=f"{top}_{days}d", denominator=f"{bottom}_{days}d")
        for days in WINDOWS_DAYS
        for name, top, bottom in (
            ("view_to_cart", "carts", "views"),
            ("cart_to_purchase", "purchases", "carts"),
            ("view_to_purchase", "purchases", "views"),
        )
    ),
    Rate("repeat_rate", "share", numerator="repeat_buyers", denominator="buyers"),
    Rate("refund_rate", "share", numerator="refunds", denominator="purchases"),
)

AFFINITIES = tuple(feature for feature in USER_FEATURES if isinstance(feature, Affinity))

#: Columns of the item matrix that hold a title's vector begin so.
TITLE_PREFIX = "title_"


def is_column_of(name: str, declarations: tuple[Declaration, ...]) -> bool:
    """Whether a matrix of these features has, or may have, a column of that name."""
    if any(declared.name == name for declared in declarations if not isinstance(declared, Affinity)):
        return True
    if declarations is ITEM_FEATURES:
        return name.removeprefix(TITLE_PREFIX).isdigit() and name.startswith(TITLE_PREFIX)
    tops = {f"top_{affinity.name}{ending}" for affinity in AFFINITIES for ending in ("", "_share")}
    return name in tops or name.startswith("affinity:")


#: Attributes of users that say where somebody is; known only with consent to the purpose ``location``.
LOCATION_ATTRIBUTES = frozenset(
    {"address", "city", "latitude", "longitude", "postal_code", "postcode", "zip", "zip_code"}
)

__all__ = [
    "ACTIVITY",
    "AFFINITIES",
    "FIXED_POINT",
    "ITEM_COUNTERS",
    "ITEM_FEATURES",
    "LOCATION_ATTRIBUTES",
    "TITLE_PREFIX",
    "USER_COUNTERS",
    "USER_FEATURES",
    "WINDOWS_DAYS",
    "counters_of",
    "is_column_of",
]
