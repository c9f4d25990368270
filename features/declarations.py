"""The kinds of declarations: what can be said of a feature, as data.

Rows of a stream add whole numbers to *counters*, one cell per user (or item) and day. A feature reads the cells of one
counter through a weight per day of age, or is derived from other features. So one declaration serves the batch (the
engine fills the cells), the increment (cells are added) and the online fold (one event changes one cell).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from features.schema import EventType, Level, Purpose


class Stream(StrEnum):
    """Where rows come from. An impression is never an interaction."""

    EVENTS = "events"
    SESSIONS = "sessions"
    ORDERS = "orders"
    IMPRESSIONS = "impressions"


class Entity(StrEnum):
    """Whose row a feature stands in."""

    USER = "user"
    ITEM = "item"


class Origin(StrEnum):
    """Whether the user told us, or we saw it."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"


class Amount(StrEnum):
    """What one row adds to a counter: one, its quantity, or quantity times unit price."""

    ONE = "one"
    UNITS = "units"
    CENTS = "cents"


class Condition(StrEnum):
    """What must hold of an event besides its type; hours and days are UTC.

    A line is *listed* if it tells its price and its item had one in the catalogue when it was sold, and *discounted* if
    it was sold below that.
    """

    NIGHT = "night"
    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"
    WEEKEND = "weekend"
    LISTED = "listed"
    DISCOUNTED = "discounted"


#: The half-open hours of each part of the day.
HOURS = {
    Condition.NIGHT: (0, 6),
    Condition.MORNING: (6, 12),
    Condition.AFTERNOON: (12, 18),
    Condition.EVENING: (18, 24),
}


@dataclass(frozen=True, slots=True)
class Counter:
    """A whole number per entity and day that rows of a stream add to.

    Attributes:
        events: Of the stream of events, only these types; other streams have none.
    """

    name: str
    stream: Stream = Stream.EVENTS
    events: tuple[EventType, ...] = ()
    amount: Amount = Amount.ONE
    condition: Condition | None = None


class Read(StrEnum):
    """How a counter's days become one number."""

    SUM = "sum"
    DECAYED = "decayed"
    DAYS_SINCE_FIRST = "days_since_first"
    DAYS_SINCE_LAST = "days_since_last"


@dataclass(frozen=True, slots=True)
class About:
    """What is said of every feature.

    Attributes:
        name: Column of the matrix.
        unit: Of the number.
        level: The level of personalisation that the feature serves.
        origin: Explicit or implicit.
        purpose: What the user must consent to for the feature to be known.
    """

    name: str
    unit: str = "events"
    level: Level = Level.BEHAVIOUR
    origin: Origin = Origin.IMPLICIT
    purpose: Purpose = Purpose.PERSONALISATION


@dataclass(frozen=True, slots=True)
class Feature(About):
    """One number per user or item, as of an instant, read from one counter.

    Attributes:
        counter: Name of the counter.
        read: Sums are whole numbers; a decayed sum counts in units of ``1 / FIXED_POINT``.
        window_days: Lookback; days ``[as_of - window, as_of)`` are read, all earlier ones if None.
        half_life_days: For decayed sums: a row this many whole days old weighs half.
    """

    counter: str = ""
    read: Read = Read.SUM
    window_days: int | None = None
    half_life_days: int | None = None


@dataclass(frozen=True, slots=True)
class Affinity(About):
    """The share of a user's decayed interactions that went to each label: a category, a brand, a band of prices.

    Attributes:
        label: Column of the log that holds the label, as it stood when the event happened.
        points: What an event of each type says.
        columns: This many labels, those with most points of all, get a column ``affinity:label``; the user's strongest
            label and its share stand in ``top_name`` and ``top_name_share`` whatever its rank.
    """

    label: str = ""
    points: tuple[tuple[EventType, int], ...] = (
        (EventType.VIEW, 1),
        (EventType.ADD_TO_CART, 3),
        (EventType.PURCHASE, 5),
    )
    half_life_days: int = 30
    columns: int = 0


@dataclass(frozen=True, slots=True)
class Ratio(About):
    """``numerator / denominator`` of two features, missing where the denominator is 0."""

    numerator: str = ""
    denominator: str = ""


@dataclass(frozen=True, slots=True)
class Rate(About):
    """``numerator / denominator`` shrunk to the item's category, and the category's to all: a Beta prior's mean.

    ``(numerator + strength * parent) / (denominator + strength)``: an item seen twice and bought twice is no certain
    sale. Where no item has any of the denominator, nothing is known and the rate is missing.
    """

    numerator: str = ""
    denominator: str = ""
    strength: int = 20


@dataclass(frozen=True, slots=True)
class Trend(About):
    """Recent days against the longer window per day, both with ``strength`` rows added: 1 is steady, above it rises."""

    recent: str = ""
    recent_days: int = 7
    base: str = ""
    base_days: int = 30
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Score(About):
    """1 to 5 by the fifth of all scored users that the value falls into; equal values score alike.

    A missing value has no score, nor has a 0 where high is good: whoever never bought is not compared with buyers.

    Attributes:
        feature: What is scored.
        high_is_good: Whether the largest values score 5; of "days since" the smallest do.
    """

    feature: str = ""
    high_is_good: bool = True


@dataclass(frozen=True, slots=True)
class Distinct(About):
    """How many different partners: items of a user by interactions, buyers of an item by purchases.

    Attributes:
        window_days: Lookback in days; all if None.
        at_least_days: Only partners with purchases on so many different days.
    """

    window_days: int | None = None
    at_least_days: int = 1


@dataclass(frozen=True, slots=True)
class Special(About):
    """A feature with a rule of its own.

    Attributes:
        rule: What is computed, in words.
        text: Whether it is a word and no number.
    """

    rule: str = ""
    text: bool = False


Declaration = Feature | Affinity | Ratio | Rate | Trend | Score | Distinct | Special

__all__ = [
    "HOURS",
    "About",
    "Affinity",
    "Amount",
    "Condition",
    "Counter",
    "Declaration",
    "Distinct",
    "Entity",
    "Feature",
    "Origin",
    "Rate",
    "Ratio",
    "Read",
    "Score",
    "Special",
    "Stream",
    "Trend",
]
