"""What a shop knows of its customers from their orders alone, as of an instant: how often, how lately, how much.

Orders of one customer on one UTC day count as one, as in Fader, Hardie & Lee (2005): many logs carry days only, and a
purchase split into several baskets is one decision to buy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.errors import InputError

DAY_MS = 86_400_000
Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

#: Columns of ``Summaries.features``, in order.
FEATURES = (
    "log_repeats",
    "recency_share",
    "log_days_since_last",
    "log_tenure",
    "log_orders_30",
    "log_orders_60",
    "log_orders_90",
    "log_orders_180",
    "log_decayed_30",
    "log_decayed_90",
    "log_last_gap",
    "log_mean_gap",
    "gap_irregularity",
    "log_overdue",
    "mean_log_cents",
    "log_last_cents",
    "log_most_cents",
    "log_first_cents",
    "no_repeat",
    "one_repeat",
)


@dataclass(frozen=True, slots=True)
class OrderLog:
    """Orders, sorted by customer and then by time.

    Attributes:
        customer: (n,) int64, from 0.
        ts_ms: (n,) int64, UTC.
        cents: (n,) int64, zero or more.
    """

    customer: Longs
    ts_ms: Longs
    cents: Longs

    @classmethod
    def of(cls, customer: ArrayLike, ts_ms: ArrayLike, cents: ArrayLike) -> Self:
        """From (n,) arrays in any order.

        Raises:
            InputError: The lengths differ, a customer or an amount is negative, or there is no order.
        """
        who, when, paid = (np.asarray(column, dtype=np.int64) for column in (customer, ts_ms, cents))
        if who.ndim != 1 or len(who) == 0 or who.shape != when.shape or who.shape != paid.shape:
            shapes = f"{who.shape}, {when.shape}, {paid.shape}"
            raise InputError("orders", "must be three columns of equal length, with at least one order", shapes)
        for name, column in (("customer", who), ("cents", paid)):
            if column.min() < 0:
                raise InputError(name, "must not be negative", int(column.min()), "leave refunds out")
        order = np.lexsort((when, who))
        return cls(who[order], when[order], paid[order])

    def between(self, start_ms: int | None, end_ms: int) -> OrderLog:
        """Orders in ``[start_ms, end_ms)``, those of one customer and UTC day made one.

        They are cut before they are merged, so that an order later on the day of ``end_ms`` adds nothing.
        """
        kept = self.ts_ms < end_ms if start_ms is None else (self.ts_ms >= start_ms) & (self.ts_ms < end_ms)
        who, day, cents = self.customer[kept], self.ts_ms[kept] // DAY_MS, self.cents[kept]
        new = np.ones(len(who), dtype=bool)
        new[1:] = (who[1:] != who[:-1]) | (day[1:] != day[:-1])
        starts = np.flatnonzero(new)
        merged = np.add.reduceat(cents, starts) if len(starts) else cents
        return OrderLog(who[starts], day[starts] * DAY_MS, merged)


@dataclass(frozen=True, slots=True)
class Summaries:
    """Customers with an order before an instant, as of that instant.

    Attributes:
        customer: (m,) int64, ascending.
        repeats: (m,) float64, orders after the first (x of the papers).
        recency_days: (m,) float64, from the first order to the last (t_x).
        tenure_days: (m,) float64, from the first order to the instant (T).
        cents: (m,) float64, of all orders.
        first_cents: (m,) float64, of the first.
        features: (m, len(FEATURES)) float64.
    """

    customer: Longs
    repeats: Floats
    recency_days: Floats
    tenure_days: Floats
    cents: Floats
    first_cents: Floats
    features: Floats

    def __len__(self) -> int:
        return len(self.customer)


def summarise(log: OrderLog, as_of_ms: int) -> Summaries:
    """What is known from ``ts < as_of_ms``.

    Raises:
        InputError: There is no order before the instant.
    """
    known = log.between(None, as_of_ms)
    if not len(known.customer):
        raise InputError("as_of_ms", "must lie after the first order", as_of_ms)
    # Sorted by customer: where one begins is seen faster than by ``np.unique``, and single customers are asked about.
    begins = np.ones(len(known.customer), dtype=bool)
    begins[1:] = known.customer[1:] != known.customer[:-1]
    first = np.flatnonzero(begins)
    last = np.empty_like(first)
    last[:-1], last[-1] = first[1:] - 1, len(known.customer) - 1
    customer, orders = known.customer[first], last - first + 1
    recency = (known.ts_ms[last] - known.ts_ms[first]) / DAY_MS
    tenure = (as_of_ms - known.ts_ms[first]) / DAY_MS
    cents = np.add.reduceat(known.cents, first).astype(np.float64)
    repeats = (orders - 1).astype(np.float64)
    columns = [*_rhythm(known, first, orders, as_of_ms), *_money(known, first, orders), repeats == 0, repeats == 1]
    return Summaries(
        customer=customer,
        repeats=repeats,
        recency_days=recency,
        tenure_days=tenure,
        cents=cents,
        first_cents=known.cents[first].astype(np.float64),
        features=np.array(columns, dtype=np.float64).T,
    )


def outcomes(log: OrderLog, customer: Longs, as_of_ms: int, horizon_days: int) -> tuple[Floats, Floats]:
    """Orders and cents of (m,) ascending customers in ``[as_of_ms, as_of_ms + horizon)``, (m,) float64 each."""
    after = log.between(as_of_ms, as_of_ms + horizon_days * DAY_MS)
    place = np.searchsorted(customer, after.customer)
    known = place < len(customer)
    known[known] = customer[place[known]] == after.customer[known]
    orders = np.bincount(place[known], minlength=len(customer)).astype(np.float64)
    cents = np.bincount(place[known], after.cents[known].astype(np.float64), minlength=len(customer))
    return orders, cents.astype(np.float64)


def _rhythm(known: OrderLog, first: Longs, orders: Longs, as_of_ms: int) -> list[Floats]:
    """When they bought; an order's age counts from the start of its day, so it is above zero but for the day itself."""
    age = (as_of_ms - known.ts_ms) / DAY_MS
    last, repeats = first + orders - 1, orders - 1.0
    tenure, since = age[first], age[last]
    gaps = np.zeros(len(age))
    gaps[1:] = age[:-1] - age[1:]
    gaps[first] = 0.0
    of_gaps = np.where(gaps > 0, np.log(np.maximum(gaps, 1.0)), 0.0)
    bought = repeats > 0
    mean_gap = np.maximum((tenure - since) / np.maximum(repeats, 1.0), 1.0)
    mean_log_gap = np.add.reduceat(of_gaps, first) / np.maximum(repeats, 1.0)
    within = (age[:, None] > _WINDOWS[0]) & (age[:, None] <= _WINDOWS[1])
    counts = np.log1p(np.add.reduceat(within.astype(np.float64), first))
    decayed = np.log(np.add.reduceat(0.5 ** (age[:, None] / _HALF_LIVES), first) + 0.01)
    log_since = np.log(np.maximum(since, 1.0))
    return [
        np.log1p(repeats),
        np.divide(tenure - since, tenure, out=np.zeros_like(tenure), where=tenure > 0),
        log_since,
        np.log(np.maximum(tenure, 1.0)),
        *counts.T,
        *decayed.T,
        np.where(bought, np.log(np.maximum(gaps[last], 1.0)), 0.0),
        np.where(bought, np.log(mean_gap), 0.0),
        np.where(repeats > 1, np.log(mean_gap) - mean_log_gap, 0.0),
        np.where(bought, log_since - np.log(mean_gap), 0.0),
    ]


#: Ages in days, ``(a, b]``, that orders are counted in, all a and all b; and half-lives in days.
_WINDOWS = np.array([[0.0, 30.0, 60.0, 90.0], [30.0, 60.0, 90.0, 180.0]])
_HALF_LIVES = np.array([30.0, 90.0])


def _money(known: OrderLog, first: Longs, orders: Longs) -> list[Floats]:
    """What they paid, as logarithms; an order that cost nothing counts as a cent."""
    logs = np.log(np.maximum(known.cents, 1).astype(np.float64))
    mean = np.add.reduceat(logs, first) / orders
    return [mean, logs[first + orders - 1], np.maximum.reduceat(logs, first), logs[first]]


__all__ = ["DAY_MS", "FEATURES", "OrderLog", "Summaries", "outcomes", "summarise"]
