"""User features of one person from plain sums: the numbers of ``readings.user_values``, without arrays.

For a single row the many small calls of NumPy and SciPy cost a hundred times more than the numbers themselves, and a
service reads one row per request. What each feature is follows from the same declarations; that both agree to the last
bit is tested on random logs.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from features.affinities import decay_weights
from features.catalogue import band_labels
from features.declarations import Affinity, Counter, Declaration, Distinct, Feature, Ratio, Read, Score, Special
from features.definitions import AFFINITIES, USER_COUNTERS, USER_FEATURES
from features.derived import FUNNEL_DAYS, Population
from features.schema import MISSING

#: Day to the counts of that day by name.
Counts = Mapping[int, Mapping[str, int]]

#: Name to value, None where nothing is known.
Row = dict[str, Any]

#: From the row so far, the sums and the population to one value.
_Value = Callable[[Row, "Sums", Population], Any]


class Sums:
    """What was counted before a day, by counter and by age.

    Args:
        today: The day that is not readable any more; the one before it has age 0.
    """

    def __init__(self, today: int, *streams: Counts) -> None:
        self._by_age: dict[str, list[int]] = {}
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        edges, places = _edges(), len(_edges()) + 1
        for days in streams:
            for day in sorted(day for day in days if day < today):
                age = today - 1 - day
                place = bisect_right(edges, age)
                for name, number in days[day].items():
                    sums = self._by_age.get(name)
                    if sums is None:
                        sums = self._by_age[name] = [0] * places
                    sums[place] += number
                    if number > 0:
                        self._first.setdefault(name, age)
                        self._last[name] = age

    def of(self, counter: str, window_days: int | None = None) -> int:
        """The sum of the last days, or of all."""
        sums = self._by_age.get(counter)
        if sums is None:
            return 0
        return sum(sums if window_days is None else sums[: _edges().index(window_days) + 1])

    def days_since(self, counter: str, *, first: bool = False) -> int | None:
        """Whole days since the last (or first) day with any; None if there is none."""
        return (self._first if first else self._last).get(counter)


def user_row(
    sums: Sums,
    order_days: Collection[int],
    points: Mapping[str, Iterable[tuple[str, int, int]]],
    distinct_items: int,
    today: int,
    population: Population,
) -> Row:
    """Every declared user feature of one person in the declared order, affinities last; None where nothing is known.

    Args:
        order_days: Different days before ``today`` on which an order was last added to.
        points: Label column to (label, day, points).
        distinct_items: How many different items the person interacted with.
        today: The day that is not readable any more.
        population: What the person is compared with.
    """
    gap, variation = _order_gaps(sorted(order_days))
    row: Row = {
        "distinct_items": distinct_items,
        "order_gap_days": gap,
        "order_gap_variation": variation,
        "funnel_stage": _funnel_stage(*(sums.days_since(name) for name in ("views", "carts", "purchases"))),
    }
    for name, value in _derived():
        row[name] = value(row, sums, population)
    ordered = {name: row[name] for name in _names()}
    for affinity in AFFINITIES:
        ordered |= _affinity(affinity, points.get(affinity.label, ()), today, population)
    return ordered


@cache
def _edges() -> tuple[int, ...]:
    """Ages at which windows end, rising."""
    windows = {each.window_days for each in USER_FEATURES if isinstance(each, Feature) and each.window_days is not None}
    return tuple(sorted(windows))


@cache
def _names() -> tuple[str, ...]:
    return tuple(declared.name for declared in USER_FEATURES if not isinstance(declared, Affinity))


@cache
def _derived() -> tuple[tuple[str, _Value], ...]:
    """Name and rule of what is read from sums, then of what follows from other features."""
    counters = {counter.name: counter for counter in USER_COUNTERS}
    read = [each for each in USER_FEATURES if isinstance(each, Feature)]
    others = [each for each in USER_FEATURES if isinstance(each, Ratio | Score)]
    rules = [(each.name, _read(each, counters[each.counter])) for each in read]
    known = (Feature, Ratio, Score, Distinct, Special, Affinity)
    if strange := [each.name for each in USER_FEATURES if not isinstance(each, known)]:
        raise NotImplementedError(f"{strange[0]}: no rule for a single person")
    return (*rules, *((each.name, _follows(each)) for each in others))


def _read(feature: Feature, counter: Counter) -> _Value:
    name, window_days = counter.name, feature.window_days
    if feature.read is Read.SUM:
        return lambda row, sums, population: sums.of(name, window_days)
    if feature.read is Read.DECAYED:
        raise NotImplementedError(f"{feature.name}: no decayed sum of a single person is declared")
    first = feature.read is Read.DAYS_SINCE_FIRST
    return lambda row, sums, population: sums.days_since(name, first=first)


def _follows(declared: Declaration) -> _Value:
    if isinstance(declared, Ratio):
        top, bottom = declared.numerator, declared.denominator
        return lambda row, sums, population: _ratio(row[top], row[bottom])
    assert isinstance(declared, Score)
    score = declared
    return lambda row, sums, population: _score(score, row[score.feature], population.cuts[score.name])


def _ratio(top: float | None, bottom: float | None) -> float | None:
    return None if top is None or not bottom else float(top) / float(bottom)


def _score(score: Score, value: float | None, cuts: Sequence[float]) -> float | None:
    if value is None or (score.high_is_good and value <= 0):
        return None
    fifth = bisect_left(cuts, value)
    return float(fifth + 1 if score.high_is_good else 5 - fifth)


def _order_gaps(days: Sequence[int]) -> tuple[float | None, float | None]:
    """See ``readings.order_gaps``."""
    if len(days) < 2:
        return None, None
    gaps = [later - earlier for earlier, later in pairwise(days)]
    count, total, squares = len(gaps), sum(gaps), sum(gap * gap for gap in gaps)
    spread = math.sqrt(max(count * squares - total * total, 0))
    return total / count, spread / total if count > 1 else None


def _funnel_stage(views: int | None, carts: int | None, purchases: int | None) -> str:
    """See ``derived.funnel_stages``."""
    viewed, carted, bought = (
        math.inf if days is None or days >= FUNNEL_DAYS else days for days in (views, carts, purchases)
    )
    if carted < bought:
        return "cart"
    if bought < math.inf and bought <= viewed:
        return "purchase"
    return "view" if viewed < math.inf else "none"


def _affinity(affinity: Affinity, told: Iterable[tuple[str, int, int]], today: int, population: Population) -> Row:
    """See ``affinities.affinity_values``."""
    weights = _decay(affinity.half_life_days)
    last, points = len(weights) - 1, dict[str, int]()
    for label, day, number in told:
        if day < today:
            points[label] = points.get(label, 0) + number * weights[min(today - 1 - day, last)]
    points = {label: number for label, number in points.items() if number > 0}
    total = float(sum(points.values()))
    best, share = MISSING, None
    if points:
        most = max(points.values())
        equal = [label for label, number in points.items() if number == most]
        best = min(equal, key=_bands().__getitem__) if affinity.label == "price_band" else min(equal)
        share = most / total
    row: Row = {f"top_{affinity.name}": best, f"top_{affinity.name}_share": share}
    if affinity.columns:
        shares = {label: number / total for label, number in points.items()}
        absent = 0.0 if points else None
        row |= {f"affinity:{label}": shares.get(label, absent) for label in population.labels[affinity.name]}
    return row


@cache
def _bands() -> Mapping[str, int]:
    """Bands of prices and their places; other labels stand in alphabetical order."""
    return {label: place for place, label in enumerate(band_labels())}


@cache
def _decay(half_life_days: int) -> list[int]:
    weights: list[int] = decay_weights(half_life_days).tolist()
    return weights


__all__ = ["Counts", "Row", "Sums", "user_row"]
