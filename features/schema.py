"""The contract's words: every column, event type and level is named here, once.

Time is UTC epoch milliseconds (int64), money is integer cents (int64), ids are strings outside and dense int32 inside.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Columns:
    """Column names of the tables ``events``, ``items``, ``users`` and ``impressions``."""

    EVENT_ID = "event_id"
    USER_ID = "user_id"
    ANONYMOUS_ID = "anonymous_id"
    ITEM_ID = "item_id"
    EVENT_TYPE = "event_type"
    TS = "ts"
    RECEIVED_TS = "received_ts"
    ORDER_ID = "order_id"
    SESSION_ID = "session_id"
    QUANTITY = "quantity"
    UNIT_PRICE_CENTS = "unit_price_cents"
    QUERY = "query"
    PROPERTIES = "properties"

    VALID_FROM = "valid_from"
    CATEGORY = "category"
    BRAND = "brand"
    PRICE_CENTS = "price_cents"
    AVAILABLE = "available"
    TITLE = "title"
    CONSENTS = "consents"

    REQUEST_ID = "request_id"
    SURFACE = "surface"
    RANK = "rank"
    SCORE = "score"
    LEVEL = "level"
    PROPENSITY = "propensity"
    ARM = "arm"
    BUNDLE_DIGEST = "bundle_digest"


class EventType(StrEnum):
    """What happens to a user. ``code`` is the int8 that sequences carry; codes are never reused.

    Of a ``visit`` it is not known what was looked at; a ``message`` was sent by the shop; a ``redemption`` is of a
    coupon; ``identify`` says that ``anonymous_id`` is ``user_id``, ``unidentify`` takes that back.
    """

    VIEW = "view"
    SEARCH = "search"
    ADD_TO_CART = "add_to_cart"
    REMOVE_FROM_CART = "remove_from_cart"
    PURCHASE = "purchase"
    REFUND = "refund"
    EXIT_INTENT = "exit_intent"
    VISIT = "visit"
    MESSAGE = "message"
    REDEMPTION = "redemption"
    IDENTIFY = "identify"
    UNIDENTIFY = "unidentify"

    @property
    def code(self) -> int:
        """The int8 code of this event type."""
        return _CODES[self]


_CODES = {event_type: code for code, event_type in enumerate(EventType)}

#: Events that show preference for an item. Refunds, removals and impressions do not.
INTERACTIONS = (EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE)

#: Event types that mean nothing without an item.
NEEDS_ITEM = (*INTERACTIONS, EventType.REMOVE_FROM_CART, EventType.REFUND)


#: Events that are about who somebody is; nothing else is learned from them.
IDENTITY = (EventType.IDENTIFY, EventType.UNIDENTIFY)


class Purpose(StrEnum):
    """What a user may consent to. Without any word on consents, ``DEFAULT_PURPOSES`` are granted and nothing else."""

    PERSONALISATION = "personalisation"
    SEARCH_HISTORY = "search_history"
    LOCATION = "location"
    OFFLINE = "offline"
    EMAIL = "email"
    PUSH = "push"
    SMS = "sms"


#: Search history, location, offline tracking and every channel are off until the user opts in.
DEFAULT_PURPOSES = (Purpose.PERSONALISATION,)

#: The word for a user who consents to nothing: an empty text would be a missing one.
NO_CONSENT = "none"


class Level(IntEnum):
    """The four levels of personalisation; ``POPULAR`` is what is left when none of them can answer."""

    POPULAR = 0
    DEMOGRAPHIC = 1
    BEHAVIOUR = 2
    PREFERENCE = 3
    LIVE = 4

    @property
    def label(self) -> str:
        """``L1`` to ``L4``, or ``popular``."""
        return f"L{int(self)}" if self else "popular"


#: The value of a demographic attribute that we were not told.
MISSING = "missing"

#: Consumed by windows, decay and every ``*_days`` parameter.
DAY_MS = 86_400_000

#: Two events of one user further apart than this belong to two sessions.
SESSION_GAP_S = 1_800

__all__ = [
    "DAY_MS",
    "DEFAULT_PURPOSES",
    "IDENTITY",
    "INTERACTIONS",
    "MISSING",
    "NEEDS_ITEM",
    "NO_CONSENT",
    "SESSION_GAP_S",
    "Columns",
    "EventType",
    "Level",
    "Purpose",
]
