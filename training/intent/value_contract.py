"""The contract of expected values: in which segments what was expected in all is what came in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import InputError
from training.intent.contract import MIN_OUTCOMES, MIN_ROWS, OVERALL, RELATIVE_MEAN

Floats = NDArray[np.float64]

#: Of customers, drawn with replacement.
RESAMPLES = 4_000
#: More customers are put together at random into so many groups, and groups are drawn.
_GROUPS = 2_000


@dataclass(frozen=True, slots=True)
class ValueJudgement:
    """What was found in one segment.

    Attributes:
        segment: Name; ``all`` for all customers.
        n: Customers.
        numbers: Whether its numbers may be served; else only their order.
        reason: ``held``, ``orders_off``, ``cents_off``, ``too_few_orders``, or ``too_few_rows``, where the judgement of
            all customers stands in.
        orders: Predicted over observed total, with its interval; NaN where it was not judged.
        cents: The same of money.
    """

    segment: str
    n: int
    numbers: bool
    reason: str
    orders: tuple[float, float, float]
    cents: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Totals:
    """What is held against each other: (m,) float64 of customers, ``orders`` and ``cents``."""

    orders: Floats
    cents: Floats


def value_contract(
    expected: Totals,
    observed: Totals,
    segments: Mapping[str, NDArray[np.bool_]] | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> list[ValueJudgement]:
    """Judge all customers, then each segment: the total predicted over the total observed against 1.

    It holds if its bootstrap interval over customers (Efron 1979) covers 1, or the ratio itself is within 10 % of it:
    refused on evidence of an error that matters, as ``training.intent.contract`` refuses chances. Intervals are widened
    for their number (Bonferroni).

    Args:
        expected: Of (m,) customers, by a model that has not seen what came.
        observed: What came.
        segments: (m,) bool per name.
        level: Of all intervals together.

    Raises:
        InputError: Lengths differ, or a segment is named ``all``.
    """
    n = len(expected.orders)
    parts = {OVERALL: np.ones(n, dtype=bool), **(segments or {})}
    columns = (expected.orders, expected.cents, observed.orders, observed.cents, *parts.values())
    if any(column.shape != (n,) for column in columns) or OVERALL in (segments or {}):
        rule = f"must be as many predictions as outcomes and flags, and no segment named {OVERALL}"
        raise InputError("values", rule, sorted(parts))
    judged = sum(int(rows.sum()) >= MIN_ROWS for rows in parts.values())
    tail = (1 - level) / 2 / max(2 * judged, 1)
    rng = np.random.default_rng(seed)
    found = [
        _judge(
            name,
            Totals(expected.orders[rows], expected.cents[rows]),
            Totals(observed.orders[rows], observed.cents[rows]),
            tail,
            rng,
        )
        for name, rows in parts.items()
    ]
    return [
        ValueJudgement(f.segment, f.n, found[0].numbers, f.reason, f.orders, f.cents)
        if f.reason == "too_few_rows"
        else f
        for f in found
    ]


def _judge(name: str, expected: Totals, observed: Totals, tail: float, rng: np.random.Generator) -> ValueJudgement:
    n, unknown = len(expected.orders), (float("nan"),) * 3
    if n < MIN_ROWS:
        return ValueJudgement(name, n, False, "too_few_rows", unknown, unknown)
    if int((observed.orders > 0).sum()) < MIN_OUTCOMES or not observed.cents.any():
        return ValueJudgement(name, n, False, "too_few_orders", unknown, unknown)
    totals = _grouped(
        np.column_stack([expected.orders, observed.orders, expected.cents, observed.cents]), rng.permutation(n)
    )
    drawn = rng.multinomial(len(totals), np.full(len(totals), 1 / len(totals)), RESAMPLES) @ totals
    orders = _ratio(totals[:, :2].sum(axis=0), drawn[:, :2], tail)
    cents = _ratio(totals[:, 2:].sum(axis=0), drawn[:, 2:], tail)
    off = "held" if _holds(orders) and _holds(cents) else "cents_off" if _holds(orders) else "orders_off"
    return ValueJudgement(name, n, off == "held", off, orders, cents)


def _grouped(rows: Floats, shuffled: NDArray[np.int64]) -> Floats:
    """(g, d) sums of the (n, d) rows in groups of equal size, up to one, at random; the rows where they are few."""
    if len(rows) <= _GROUPS:
        return rows
    sums = np.zeros((_GROUPS, rows.shape[1]))
    np.add.at(sums, shuffled % _GROUPS, rows)
    return sums


def _ratio(total: Floats, drawn: Floats, tail: float) -> tuple[float, float, float]:
    low, high = np.quantile(drawn[:, 0] / np.maximum(drawn[:, 1], 1e-12), [tail, 1 - tail])
    return float(total[0] / total[1]), float(low), float(high)


def _holds(ratio: tuple[float, float, float]) -> bool:
    return ratio[1] <= 1 <= ratio[2] or abs(ratio[0] - 1) <= RELATIVE_MEAN


__all__ = ["RESAMPLES", "Totals", "ValueJudgement", "value_contract"]
