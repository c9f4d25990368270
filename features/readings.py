"""From cells to features: the same code for a million rows and for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from features.affinities import affinity_values, decay_weights
from features.cells import Cells, run_starts
from features.declarations import Counter, Declaration, Distinct, Feature, Read, Stream
from features.definitions import AFFINITIES, ITEM_COUNTERS, ITEM_FEATURES, USER_COUNTERS, USER_FEATURES
from features.derived import Floats, Population, Values, derive, funnel_stages, price_ranks
from features.ids import Vocabulary

#: From so many rows on, work is shared by threads.
MANY = 20_000


def user_values(
    cells: Mapping[Stream, Cells],
    affinities: Mapping[str, Cells],
    labels: Mapping[str, Vocabulary],
    distinct_items: NDArray[np.int64],
    today: int,
    n: int,
    population: Population,
) -> Values:
    """Name to (n,) values of every declared user feature; affinities last.

    Args:
        cells: By stream, rows from 0 to n - 1.
        affinities, labels: By label column, see ``Aggregates``.
        distinct_items: (n,) how many different items the user interacted with.
        today: The day that is not readable any more.
        population: Filled.
    """
    told: list[Callable[[], Values]] = [
        partial(affinity_values, each, affinities[each.label], labels[each.label], today, n, population)
        for each in AFFINITIES
    ]
    # Numpy and SciPy let other threads run; for a single row threads cost more than they save.
    with ThreadPoolExecutor() if n >= MANY else nullcontext() as pool:
        begun = [pool.submit(affinity) for affinity in told] if pool is not None else []
        values = _read(USER_FEATURES, USER_COUNTERS, cells, today, n)
        of_affinities = [one.result() for one in begun] or [affinity() for affinity in told]
    values["distinct_items"] = distinct_items
    values["order_gap_days"], values["order_gap_variation"] = order_gaps(cells[Stream.ORDERS], n)
    views, carts, purchases = (
        cells[Stream.EVENTS].days_since(counter, today, n) for counter in ("views", "carts", "purchases")
    )
    values["funnel_stage"] = funnel_stages(views, carts, purchases)
    derive(USER_FEATURES, values, population, learn=True)
    ordered = {declared.name: values[declared.name] for declared in USER_FEATURES if declared.name in values}
    for found in of_affinities:
        ordered |= found
    return ordered


def item_values(
    cells: Mapping[Stream, Cells],
    bought: Cells,
    n_users: int,
    listed_day_ages: Floats,
    prices: Floats,
    categories: NDArray[np.object_],
    rows: NDArray[np.int64],
    today: int,
    n: int,
    population: Population,
    *,
    learn: bool,
) -> Values:
    """Name to (r,) values of every declared item feature for the items ``rows`` of ``n``.

    Args:
        bought: Rows are ``item * n_users + user``.
        listed_day_ages: (r,) whole days since the item was first listed.
        prices: (r,) cents, NaN if unknown.
        categories: (r,) category paths.
    """
    values = _read(ITEM_FEATURES, ITEM_COUNTERS, cells, today, n)
    for declared in ITEM_FEATURES:
        if isinstance(declared, Distinct):
            values[declared.name] = _buyers(declared, bought, n_users, today, n)
    values = {name: column[rows] for name, column in values.items()}
    values["age_days"] = listed_day_ages
    values["price_rank"] = price_ranks(prices, categories, population, learn=learn)
    derive(ITEM_FEATURES, values, population, categories, learn=learn)
    return {declared.name: values[declared.name] for declared in ITEM_FEATURES}


def _read(
    declarations: Sequence[Declaration],
    counters: Sequence[Counter],
    cells: Mapping[Stream, Cells],
    today: int,
    n: int,
) -> Values:
    """The features that are read from one counter, each counter gone through once."""
    streams = {counter.name: counter.stream for counter in counters}
    sums: dict[str, list[Feature]] = {}
    values: Values = {}
    for declared in declarations:
        if isinstance(declared, Feature):
            of = cells[streams[declared.counter]]
            if declared.read in (Read.SUM, Read.DECAYED):
                sums.setdefault(declared.counter, []).append(declared)
            else:
                first = declared.read is Read.DAYS_SINCE_FIRST
                values[declared.name] = of.days_since(declared.counter, today, n, first=first)
    for counter, features in sums.items():
        table = _weights(tuple(features))
        read = cells[streams[counter]].sums(counter, table, today, n)
        values |= {feature.name: read[:, column] for column, feature in enumerate(features)}
    return values


@cache
def _weights(features: tuple[Feature, ...]) -> NDArray[np.int64]:
    """(ages, k) int64: what a row of each age in days counts for each feature.

    The last age stands for all older ones.
    """
    columns = []
    for feature in features:
        if feature.read is Read.DECAYED:
            assert feature.half_life_days is not None, f"{feature.name} declares no half-life"
            columns.append(decay_weights(feature.half_life_days))
        elif feature.window_days is None:
            columns.append(np.ones(1, dtype=np.int64))
        else:
            columns.append(np.append(np.ones(feature.window_days, dtype=np.int64), 0))
    ages = max(len(column) for column in columns)
    return np.stack([np.pad(column, (0, ages - len(column)), mode="edge") for column in columns], axis=1)


def order_gaps(orders: Cells, n: int) -> tuple[Floats, Floats]:
    """(n,) mean days between days with orders, and the standard deviation of those gaps over their mean.

    NaN below two such days, and below three.
    """
    same = np.diff(orders.rows) == 0
    rows, gaps = orders.rows[1:][same], np.diff(orders.days)[same].astype(np.int64)
    count, total, squares = (np.bincount(rows, weights, n) for weights in (None, gaps, gaps * gaps))
    mean = np.divide(total, count, out=np.full(n, np.nan), where=count > 0)
    # count * squares - total ** 2 is a whole number: no rounding, whatever the order of the gaps.
    spread = np.sqrt(np.maximum(count * squares - total * total, 0))
    variation = np.divide(spread, total, out=np.full(n, np.nan), where=count > 1)
    return mean, variation


def _buyers(declared: Distinct, bought: Cells, n_users: int, today: int, n: int) -> NDArray[np.int64]:
    """(n,) users who bought each item."""
    pairs = bought.rows
    if declared.window_days is not None:
        pairs = pairs[today - 1 - bought.days < declared.window_days]
    starts = run_starts(pairs)
    days = np.diff(np.append(starts, len(pairs)))
    return np.bincount(pairs[starts[days >= declared.at_least_days]] // n_users, minlength=n).astype(np.int64)


__all__ = ["item_values", "order_gaps", "user_values"]
