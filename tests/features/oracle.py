"""What the declarations say of users and items, in plain loops over rows: slow, and independent of the pipeline.

And when two snapshots are the same.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from features.declarations import (
    HOURS,
    Affinity,
    Amount,
    Condition,
    Counter,
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
from features.definitions import ACTIVITY, ITEM_COUNTERS, ITEM_FEATURES, USER_COUNTERS, USER_FEATURES
from features.schema import DAY_MS, MISSING, EventType, Purpose
from features.snapshot import Snapshot
from tests.features.by_hand import Tables, added

#: Column to (user or item to value); None is a missing value.
Columns = dict[str, dict[str, Any]]

GAP_MS = 1_800_000
VIEW, CART, PURCHASE = EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE


class Oracle:
    """A data set as of an instant.

    Attributes:
        users, items: The rows of the matrices.
        log: The readable events with labels and prices as they stood, in order of time.
    """

    def __init__(self, tables: Tables, as_of: int) -> None:
        self.tables, self.as_of = tables, as_of
        self.past = [event for event in tables["events"] if event["ts"] < as_of]
        self.ends = self.merged()
        rows = [*tables["events"], *tables["users"], *tables.get("impressions", [])]
        self.granted = {one: self.purposes(one) for one in sorted({row["user_id"] for row in rows})}
        items = [*tables["items"], *added("items", tables["items"], tables["events"])]
        self.item_rows = sorted(items, key=lambda row: row["valid_from"])
        lines = [self.line(event) for event in self.past if self.readable(event)]
        self.log = sorted(lines, key=lambda line: line["ts"])
        self.shown = [
            {"user": self.owner(row["user_id"]), "item": row["item_id"], "ts": row["ts"]}
            for row in tables.get("impressions", [])
            if row["ts"] < as_of and Purpose.PERSONALISATION in self.granted[row["user_id"]]
        ]
        self.items = sorted({row["item_id"] for row in self.item_rows if row["valid_from"] < as_of})
        self.users = sorted({line["user"] for line in self.log} | {one for one in self.told() if self.stands(one)})

    def merged(self) -> dict[str, str]:
        """Visitor to the user whom it turned out to be."""
        words = [(row["event_type"], row.get("anonymous_id"), row["user_id"], row["ts"]) for row in self.past]
        standing: dict[Any, list[tuple[int, str]]] = defaultdict(list)
        for kind, visitor, user, ts in words:
            taken_back = any(word[:3] == ("unidentify", visitor, user) and word[3] >= ts for word in words)
            if kind == "identify" and not taken_back:
                standing[visitor].append((ts, user))
        ends = {}
        for visitor in standing:
            ends[visitor] = visitor
            while ends[visitor] in standing:
                ends[visitor] = max(standing[ends[visitor]])[1]
        return ends

    def owner(self, one: str) -> str:
        return self.ends.get(one, one)

    def purposes(self, one: str) -> set[str]:
        """What the user behind an id and all its visitors grant, of those that said anything."""
        said: dict[str, tuple[int, str]] = {}
        for row in self.tables["users"]:
            if row["valid_from"] < self.as_of and row["consents"] and self.owner(row["user_id"]) == self.owner(one):
                word = (row["valid_from"], row["consents"])
                said[row["user_id"]] = max(word, said.get(row["user_id"], word))
        granted = [{word.strip() for word in consents.split(",")} for _, consents in said.values()]
        return set.intersection(*granted) if granted else {Purpose.PERSONALISATION.value}

    def stands(self, one: str) -> bool:
        """Whether an id is a user of its own who may be read."""
        return one not in self.ends and Purpose.PERSONALISATION in self.granted[one]

    def told(self) -> set[str]:
        """Who has a row or an event before the instant."""
        rows = [row["user_id"] for row in self.tables["users"] if row["valid_from"] < self.as_of]
        return {*rows, *(event["user_id"] for event in self.past)}

    def readable(self, event: dict[str, Any]) -> bool:
        granted = self.granted[event["user_id"]]
        if event["event_type"] in ("identify", "unidentify") or Purpose.PERSONALISATION not in granted:
            return False
        if event["event_type"] == "search" and Purpose.SEARCH_HISTORY not in granted:
            return False
        return str(channel_of(event)).lower() not in ("store", "offline") or Purpose.OFFLINE in granted

    def line(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event, and what its item was when it happened."""
        item, ts, price, units = event["item_id"], event["ts"], event["unit_price_cents"], event["quantity"] or 1
        held = [row for row in self.item_rows if row["item_id"] == item and row["valid_from"] <= ts]
        row = held[-1] if held else {"category": None, "brand": None, "price_cents": None}
        list_price = row["price_cents"]
        return {
            "user": self.owner(event["user_id"]),
            "item": item,
            "kind": EventType(event["event_type"]),
            "ts": ts,
            "units": units,
            "cents": units * (price or 0),
            "order": event["order_id"] or ("no id", ts),
            "channel": channel_of(event),
            "category_top": row["category"] and row["category"].split("/")[0],
            "brand": row["brand"],
            "price_band": band(list_price if price is None else price),
            "listed": None not in (price, list_price),
            "discounted": None not in (price, list_price) and price < list_price,
        }

    def rows(self, counter: Counter, entity: str, one: str) -> list[tuple[int, int]]:
        """(instant, amount) of each row that adds to a counter of a user or an item."""
        mine = [line for line in self.log if line[entity] == one]
        if counter.stream is Stream.IMPRESSIONS:
            return [(row["ts"], 1) for row in self.shown if row[entity] == one]
        if counter.stream is Stream.SESSIONS:
            acts = [line["ts"] for line in mine if line["kind"] in ACTIVITY]
            return [(ts, 1) for at, ts in enumerate(acts) if at == 0 or ts - acts[at - 1] >= GAP_MS]
        if counter.stream is Stream.ORDERS:
            last: dict[Any, int] = {}
            for line in mine:
                if line["kind"] is EventType.PURCHASE:
                    last[line["order"]] = max(line["ts"], last.get(line["order"], 0))
            return [(ts, 1) for ts in last.values()]
        chosen = [line for line in mine if line["kind"] in counter.events and holds(counter.condition, line)]
        return [(line["ts"], 1 if counter.amount is Amount.ONE else line[counter.amount.value]) for line in chosen]

    def age(self, ts: int) -> int:
        return (self.as_of - 1 - ts) // DAY_MS

    def within(self, ts: int, days: int | None) -> bool:
        return days is None or ts >= self.as_of - days * DAY_MS

    def read(self, feature: Feature, counter: Counter, entity: str, one: str) -> int | None:
        rows = [row for row in self.rows(counter, entity, one) if self.within(row[0], feature.window_days)]
        ages = [self.age(ts) for ts, _ in rows]
        match feature.read:
            case Read.SUM:
                return sum(amount for _, amount in rows)
            case Read.DECAYED:
                assert feature.half_life_days is not None
                return sum(amount * weight(self.age(ts), feature.half_life_days) for ts, amount in rows)
            case Read.DAYS_SINCE_LAST:
                return min(ages, default=None)
            case Read.DAYS_SINCE_FIRST:
                return max(ages, default=None)

    def distinct(self, declared: Distinct, entity: str, one: str) -> int:
        kinds = ("view", "add_to_cart", "purchase") if entity == "user" else ("purchase",)
        partner = "item" if entity == "user" else "user"
        days = defaultdict(set)
        for line in self.log:
            counts = line[entity] == one and line["kind"] in kinds and self.within(line["ts"], declared.window_days)
            if counts and (entity == "item" or line["item"] in self.items):
                days[line[partner]].add(self.age(line["ts"]))
        return sum(len(distinct) >= declared.at_least_days for distinct in days.values())

    def order_gaps(self, user: str) -> tuple[float | None, float | None]:
        (counter,) = (counter for counter in USER_COUNTERS if counter.stream is Stream.ORDERS)
        days = sorted({self.age(ts) for ts, _ in self.rows(counter, "user", user)})
        gaps = [later - earlier for earlier, later in pairwise(days)]
        if not gaps:
            return None, None
        mean = sum(gaps) / len(gaps)
        spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
        return mean, spread / mean if len(gaps) > 1 else None

    def funnel_stage(self, user: str) -> str:
        last = {}
        for kind in (EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE):
            ages = [self.age(line["ts"]) for line in self.log if line["user"] == user and line["kind"] is kind]
            last[kind] = min((age for age in ages if age < 30), default=99)
        view, cart, purchase = last.values()
        if cart < purchase:
            return "cart"
        if purchase < 99 and purchase <= view:
            return "purchase"
        return "view" if view < 99 else "none"

    def affinity(self, affinity: Affinity) -> Columns:
        points: dict[str, dict[str, int]] = {user: defaultdict(int) for user in self.users}
        worth = dict(affinity.points)
        for line in self.log:
            if line["kind"] in worth and line[affinity.label] is not None:
                decayed = worth[line["kind"]] * weight(self.age(line["ts"]), affinity.half_life_days)
                if decayed:
                    points[line["user"]][line[affinity.label]] += decayed
        top, share = f"top_{affinity.name}", f"top_{affinity.name}_share"
        found: Columns = {top: {}, share: {}}
        labels = {label for of_user in points.values() for label in of_user}
        totals = {label: sum(of_user.get(label, 0) for of_user in points.values()) for label in labels}
        largest = sorted(totals, key=lambda label: (-totals[label], label))[: affinity.columns]
        for user, of_user in points.items():
            whole = sum(of_user.values())
            order = sorted(of_user, key=lambda label: (-of_user[label], in_order(affinity, label)))
            found[top][user] = order[0] if order else MISSING
            found[share][user] = of_user[order[0]] / whole if order else None
            for label in largest:
                column = found.setdefault(f"affinity:{label}", {})
                column[user] = of_user.get(label, 0) / whole if order else None
        return found

    def user_columns(self) -> Columns:
        counters = {counter.name: counter for counter in USER_COUNTERS}
        found: Columns = {}
        for declared in USER_FEATURES:
            match declared:
                case Feature():
                    column = {one: self.read(declared, counters[declared.counter], "user", one) for one in self.users}
                    found[declared.name] = {
                        one: value if declared.purpose in self.granted[one] else None for one, value in column.items()
                    }
                case Distinct():
                    found[declared.name] = {one: self.distinct(declared, "user", one) for one in self.users}
                case Ratio():
                    found[declared.name] = ratios(found[declared.numerator], found[declared.denominator])
                case Score():
                    found[declared.name] = scores(declared, found[declared.feature])
                case Special(name="funnel_stage"):
                    found[declared.name] = {one: self.funnel_stage(one) for one in self.users}
                case Special():
                    place = ["order_gap_days", "order_gap_variation"].index(declared.name)
                    found[declared.name] = {one: self.order_gaps(one)[place] for one in self.users}
                case Affinity():
                    found |= self.affinity(declared)
        return found

    def item_columns(self) -> Columns:
        counters = {counter.name: counter for counter in ITEM_COUNTERS}
        latest = {row["item_id"]: row for row in self.item_rows if row["valid_from"] < self.as_of}
        found: Columns = {}
        for declared in ITEM_FEATURES:
            match declared:
                case Feature():
                    counter = counters[declared.counter]
                    found[declared.name] = {one: self.read(declared, counter, "item", one) for one in self.items}
                case Distinct():
                    found[declared.name] = {one: self.distinct(declared, "item", one) for one in self.items}
                case Trend():
                    per_day = declared.recent_days / declared.base_days
                    recent, base = found[declared.recent], found[declared.base]
                    found[declared.name] = {one: (recent[one] + 1) / (base[one] * per_day + 1) for one in self.items}
                case Rate():
                    found[declared.name] = rates(declared, found, latest)
                case Special(name="age_days"):
                    first = {row["item_id"]: row["valid_from"] for row in reversed(self.item_rows)}
                    found[declared.name] = {one: self.age(first[one]) for one in self.items}
                case Special(name="price_rank"):
                    found[declared.name] = {one: price_rank(latest[one], latest.values()) for one in self.items}
        return found


def channel_of(event: dict[str, Any]) -> str | None:
    channel = json.loads(event["properties"] or "{}").get("channel")
    return channel if isinstance(channel, str) else None


def holds(condition: Condition | None, line: dict[str, Any]) -> bool:
    if condition is None:
        return True
    if condition in HOURS:
        first, last = HOURS[condition]
        return first <= line["ts"] // 3_600_000 % 24 < last
    if condition is Condition.WEEKEND:
        return (line["ts"] // DAY_MS) % 7 in (2, 3)  # the first day of 1970 was a Thursday
    return bool(line[condition.value])


def weight(age_days: int, half_life_days: int) -> int:
    return math.floor(2**20 * 0.5 ** (age_days / half_life_days) + 0.5)


def band(cents: int | None) -> str | None:
    """Bands end at powers of four, from 64 to 1,048,576 cents."""
    if cents is None:
        return None
    low, high = 0, 64
    while cents >= high and high <= 4**9:
        low, high = high, high * 4
    return f"{low}+" if cents >= high else f"{low}-{high - 1}"


def ratios(tops: dict[str, Any], bottoms: dict[str, Any]) -> dict[str, float | None]:
    return {one: top / bottoms[one] if bottoms[one] else None for one, top in tops.items()}


def scores(score: Score, values: dict[str, Any]) -> dict[str, float | None]:
    """By the share of the scored who have less."""
    scored = {one: value for one, value in values.items() if value is not None and (value or not score.high_is_good)}
    found: dict[str, float | None] = dict.fromkeys(values)
    for one, value in scored.items():
        fifth = 5 * sum(other < value for other in scored.values()) // len(scored)
        found[one] = float(1 + fifth if score.high_is_good else 5 - fifth)
    return found


def rates(rate: Rate, columns: Columns, items: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    tops, bottoms = columns[rate.numerator], columns[rate.denominator]
    if not sum(bottoms.values()):
        return dict.fromkeys(tops)
    whole = sum(tops.values()) / sum(bottoms.values())
    found: dict[str, float | None] = {}
    for one in tops:
        alike = [other for other in tops if items[other]["category"] == items[one]["category"]]
        top, bottom = sum(tops[other] for other in alike), sum(bottoms[other] for other in alike)
        parent = (top + rate.strength * whole) / (bottom + rate.strength)
        found[one] = (tops[one] + rate.strength * parent) / (bottoms[one] + rate.strength)
    return found


def price_rank(item: dict[str, Any], items: Iterable[dict[str, Any]]) -> float | None:
    prices = [other["price_cents"] for other in items if other["category"] == item["category"]]
    prices = [price for price in prices if price is not None]
    if item["price_cents"] is None:
        return None
    return sum(price < item["price_cents"] for price in prices) / len(prices)


def in_order(affinity: Affinity, label: str) -> Any:
    """Of equally strong labels the first: bands by price, others by name."""
    return int(label.rstrip("+").split("-")[0]) if affinity.name == "price_band" else label


def assert_same(mine: Snapshot, other: Snapshot) -> None:
    """All products, and what rows are compared with, are equal to the bit."""
    pd.testing.assert_frame_equal(mine.user_matrix, other.user_matrix, check_exact=True)
    pd.testing.assert_frame_equal(mine.item_matrix, other.item_matrix, check_exact=True)
    np.testing.assert_equal(asdict(mine.sequences), asdict(other.sequences))
    np.testing.assert_equal(asdict(mine.population), asdict(other.population))
    assert mine.digest == other.digest
