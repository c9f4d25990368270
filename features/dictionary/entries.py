"""One entry per declared feature, in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from features.declarations import (
    HOURS,
    Affinity,
    Amount,
    Condition,
    Counter,
    Declaration,
    Distinct,
    Entity,
    Feature,
    Origin,
    Rate,
    Ratio,
    Read,
    Score,
    Special,
    Stream,
    Trend,
)
from features.definitions import ITEM_COUNTERS, ITEM_FEATURES, USER_COUNTERS, USER_FEATURES


@dataclass(frozen=True, slots=True)
class Entry:
    """What is said of one feature.

    Attributes:
        name: Column, or ``category`` for the columns that an affinity makes.
        meaning: How it is computed.
        origin: ``explicit`` if users told it, ``implicit`` if it was seen.
        purpose: What a user must consent to for it to be known.
    """

    entity: str
    name: str
    meaning: str
    unit: str
    level: str
    origin: str
    purpose: str


def entries() -> list[Entry]:
    """All declared features, users' first, in the order of the matrices' columns."""
    found = []
    for entity, declarations, counters in (
        (Entity.USER, USER_FEATURES, USER_COUNTERS),
        (Entity.ITEM, ITEM_FEATURES, ITEM_COUNTERS),
    ):
        by_name = {counter.name: counter for counter in counters}
        found += [_entry(entity, declared, by_name) for declared in declarations]
    return found


def to_json() -> dict[str, Any]:
    """The entries as plain content; demographic attributes are whatever columns a shop's users have."""
    attributes = f"columns of users, {Origin.EXPLICIT}, L1; a missing value reads 'missing'"
    return {"features": [asdict(entry) for entry in entries()], "attributes": attributes}


def _entry(entity: Entity, declared: Declaration, counters: dict[str, Counter]) -> Entry:
    return Entry(
        entity.value,
        declared.name,
        _meaning(declared, counters, entity),
        declared.unit,
        declared.level.label,
        declared.origin.value,
        declared.purpose.value,
    )


def _meaning(declared: Declaration, counters: dict[str, Counter], entity: Entity) -> str:
    match declared:
        case Feature():
            return _reading(declared, counters[declared.counter])
        case Affinity():
            points = ", ".join(f"{kind} {points}" for kind, points in declared.points)
            columns = f"; affinity:<label> for the {declared.columns} strongest of all" if declared.columns else ""
            return (
                f"share of interactions ({points}; halved every {declared.half_life_days} days) by {declared.label}, "
                f"as it stood: top_{declared.name} and top_{declared.name}_share{columns}"
            )
        case Ratio():
            return f"{declared.numerator} / {declared.denominator}, missing where the latter is 0"
        case Rate():
            return (
                f"{declared.numerator} / {declared.denominator}, shrunk to the category and that to all with "
                f"{declared.strength} pseudo-counts"
            )
        case Trend():
            return (
                f"({declared.recent} + {declared.strength:g}) / ({declared.base} x "
                f"{declared.recent_days}/{declared.base_days} + {declared.strength:g})"
            )
        case Score():
            order = "the largest score 5" if declared.high_is_good else "the smallest score 5"
            return f"fifth of the known values of {declared.feature}, 1 to 5; {order}"
        case Distinct():
            partner = "items by interactions" if entity is Entity.USER else "buyers"
            days = f", on at least {declared.at_least_days} days" if declared.at_least_days > 1 else ""
            return f"different {partner}{_window(declared.window_days)}{days}"
        case Special():
            return declared.rule


def _reading(feature: Feature, counter: Counter) -> str:
    of = _counted(counter)
    match feature.read:
        case Read.SUM:
            return f"{of}{_window(feature.window_days)}"
        case Read.DECAYED:
            return f"{of}, each halved every {feature.half_life_days} days"
        case Read.DAYS_SINCE_FIRST:
            return f"whole days since the first of: {of}"
        case Read.DAYS_SINCE_LAST:
            return f"whole days since the last of: {of}"


def _counted(counter: Counter) -> str:
    if counter.stream is not Stream.EVENTS:
        return counter.stream.value
    kinds = ", ".join(kind.value for kind in counter.events)
    amounts = {Amount.ONE: "", Amount.UNITS: "quantity of ", Amount.CENTS: "quantity times unit price of "}
    condition = ""
    if counter.condition in HOURS:
        first, last = HOURS[counter.condition]
        condition = f" from {first} to {last} o'clock UTC"
    elif counter.condition is Condition.WEEKEND:
        condition = " on Saturdays and Sundays, UTC"
    elif counter.condition is Condition.LISTED:
        condition = " with a price, of items with a price in the catalogue"
    elif counter.condition is Condition.DISCOUNTED:
        condition = " below the price that the catalogue had"
    return f"{amounts[counter.amount]}{kinds}{condition}"


def _window(days: int | None) -> str:
    return "" if days is None else f" in the last {days} day{'s' if days > 1 else ''}"


__all__ = ["Entry", "entries", "to_json"]
