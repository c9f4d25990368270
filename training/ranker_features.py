"""What a second stage knows of a candidate beside the scores of models: the item, the user, and the two together.

Everything about users is computed from the question's history alone, so that a user whom no snapshot knows is
described like any other, and alike offline and online. Of items it is what the snapshot knew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.definitions import TITLE_PREFIX
from features.schema import DAY_MS, INTERACTIONS, Columns, EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Columns of the item matrix read as log(1 + value / the column's mean over items), 0 where unknown.
COUNTS = ("popularity", "view_popularity", "cart_popularity", "buyers_90d", "purchases_7d", "views_7d")
#: Read as 1 / (1 + days / DECAY_DAYS), 0 where it never happened.
AGES = ("age_days", "first_seen_days", "last_bought_days", "last_viewed_days")
#: Read as they are, the column's mean where unknown.
SHARES = ("price_rank", "trend", "repeat_rate", "refund_rate", "view_to_purchase_90d", "cart_to_purchase_90d")

#: After how many days half is left of what recency says.
DECAY_DAYS = 7.0
#: How many gaps an item needs before its own usual interval counts as much as that of all items.
GAP_STRENGTH = 5.0

OF_PAIR = (
    "viewed",
    "carted",
    "bought",
    "recency",
    "bought_recency",
    "overdue",
    "due",
    "category_share",
    "brand_share",
    "price_distance",
    "title_likeness",
    "category_recency",
    "session_viewed",
    "session_carted",
    "session_bought",
    "session_category",
    "session_likeness",
)
OF_USER = ("events", "purchases", "visits", "recency_of_user", "variety", "repeats", "price_band", "session_length")
NAMES = (*COUNTS, *AGES, *SHARES, *OF_PAIR, *OF_USER)


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What is known of every item as of one snapshot.

    Attributes:
        columns: (n_items, COUNTS + AGES + SHARES) float32.
        categories, brands: (n_items,) int32 codes, -1 where unknown.
        prices: (n_items,) float32 price rank within the category; 0.5 where unknown.
        gaps_days: (n_items,) float32 usual days between two purchases of the item by one user.
        titles: (n_items, d) float32 rows of length one, or zero.
    """

    columns: Floats
    categories: NDArray[np.int32]
    brands: NDArray[np.int32]
    prices: Floats
    gaps_days: Floats
    titles: Floats

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Read a snapshot; columns that its item matrix does not have are zeros."""
        items = snapshot.item_matrix
        titles = _numbers(items, [str(name) for name in items if str(name).startswith(TITLE_PREFIX)])
        lengths = np.linalg.norm(titles, axis=1, keepdims=True)
        prices = _numbers(items, ["price_rank"])[:, 0]
        counts, ages, shares = (_numbers(items, names) for names in (COUNTS, AGES, SHARES))
        means = np.nan_to_num(counts).mean(axis=0) if len(items) else np.zeros(len(COUNTS))
        known = np.where(np.isnan(shares), 0.0, shares).sum(axis=0) / np.maximum((~np.isnan(shares)).sum(axis=0), 1)
        columns = [
            np.log1p(np.nan_to_num(counts) / np.where(means > 0, means, 1.0)),
            np.nan_to_num(1.0 / (1.0 + ages / DECAY_DAYS)),
            np.where(np.isnan(shares), known, shares),
        ]
        return cls(
            np.concatenate(columns, axis=1).astype(np.float32),
            _codes(items, Columns.CATEGORY),
            _codes(items, Columns.BRAND),
            np.where(np.isnan(prices), 0.5, prices).astype(np.float32),
            _gaps_days(snapshot.sequences, len(items)),
            np.nan_to_num(titles / np.where(lengths > 0, lengths, 1.0)).astype(np.float32),
        )

    def save(self, path: Path) -> None:
        """One npz."""
        np.savez_compressed(path, **{name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls.__slots__})


def candidate_features(facts: ItemFacts, histories: Histories, candidates: Ragged) -> Floats:
    """(m, NAMES) float32, one row per candidate; L1 to L3 columns read the past, those of the session what is live."""
    past, live = histories.past().interactions(), histories.live().interactions()
    of_item = facts.columns[candidates.values]
    of_pair = _of_pairs(facts, past, live, candidates)
    of_user = _of_users(facts, past, live)[candidates.rows]
    return np.concatenate([of_item, of_pair, of_user], axis=1).astype(np.float32)


def _of_pairs(facts: ItemFacts, past: Histories, live: Histories, candidates: Ragged) -> Floats:
    rows, items = candidates.rows, candidates.values
    m = len(items)
    columns = np.zeros((m, len(OF_PAIR)), dtype=np.float32)
    put = {name: columns[:, place] for place, name in enumerate(OF_PAIR)}
    n_items = len(facts.prices)
    ages, wanted = _ages_days(past), rows * n_items + items
    keys = past.rows * n_items + past.items
    bought = past.event_types == EventType.PURCHASE.code
    for prefix, of, names in (
        ("", past, ("viewed", "carted", "bought")),
        ("session_", live, ("viewed", "carted", "bought")),
    ):
        own = of.rows * n_items + of.items
        for name, kind in zip(names, INTERACTIONS, strict=True):
            put[prefix + name][:] = np.log1p(_sums(own[of.event_types == kind.code], None, wanted))
    put["recency"][:] = _recency(_least(keys, ages, wanted))
    since_bought = _least(keys[bought], ages[bought], wanted)
    put["bought_recency"][:] = _recency(since_bought)
    had = np.isfinite(since_bought)
    ratio = np.log(np.maximum(since_bought[had], 0.5) / _expected_gaps(facts, keys[bought], ages[bought], wanted)[had])
    put["overdue"][had] = np.clip(ratio, -3.0, 3.0)
    put["due"][had] = np.exp(-np.square(ratio))
    for name, codes in (("category_share", facts.categories), ("brand_share", facts.brands)):
        put[name][:] = _shares(past, codes, rows, codes[items])
    put["session_category"][:] = _shares(live, facts.categories, rows, facts.categories[items])
    n_groups = int(facts.categories.max(initial=0)) + 1
    groups = past.rows * n_groups + facts.categories[past.items]
    told = facts.categories[past.items] >= 0
    of_candidate = facts.categories[items]
    least = _least(groups[told], ages[told], rows * n_groups + of_candidate)
    put["category_recency"][:] = np.where(of_candidate >= 0, _recency(least), 0.0)
    has_past = past.lengths[rows] > 0
    put["price_distance"][:] = np.where(has_past, np.abs(facts.prices[items] - _mean_price(facts, past)[rows]), 0.0)
    put["title_likeness"][:] = _likeness(facts, past, 0.5 ** (ages / 30.0), rows, items)
    put["session_likeness"][:] = _likeness(facts, live, np.ones(len(live.items)), rows, items)
    return columns


def _of_users(facts: ItemFacts, past: Histories, live: Histories) -> Floats:
    """(n, OF_USER) float32: what holds for all candidates of a question."""
    n = len(past)
    bought = past.event_types == EventType.PURCHASE.code
    ages = _ages_days(past)
    newest = np.full(n, np.inf)
    np.minimum.at(newest, past.rows, ages)
    visits = np.bincount(
        past.rows, weights=np.append(np.diff(past.visits(), prepend=-1) > 0, [])[: len(ages)], minlength=n
    )
    keys = past.rows * max(len(facts.prices), 1) + past.items
    pairs = np.bincount(np.unique(keys) // max(len(facts.prices), 1), minlength=n)
    bought_pairs = np.bincount(np.unique(keys[bought]) // max(len(facts.prices), 1), minlength=n)
    purchases = np.bincount(past.rows[bought], minlength=n)
    columns = [
        np.log1p(past.lengths),
        np.log1p(purchases),
        np.log1p(visits),
        _recency(newest),
        pairs / np.maximum(past.lengths, 1),
        np.where(purchases > 0, 1.0 - bought_pairs / np.maximum(purchases, 1), 0.0),
        _mean_price(facts, past),
        np.log1p(live.lengths),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _ages_days(histories: Histories) -> Doubles:
    return (np.repeat(histories.as_of_ms, histories.lengths) - histories.ts) / DAY_MS


def _recency(days: Doubles) -> Doubles:
    return 1.0 / (1.0 + days / DECAY_DAYS)


def _mean_price(facts: ItemFacts, past: Histories) -> Doubles:
    sums = np.bincount(past.rows, weights=facts.prices[past.items], minlength=len(past))
    return np.where(past.lengths > 0, sums / np.maximum(past.lengths, 1), 0.5)


def _shares(histories: Histories, codes: NDArray[np.int32], rows: Ints, wanted: NDArray[np.int32]) -> Doubles:
    """(m,) the share of the user's events in the wanted group; 0 where it is unknown."""
    n_groups = int(codes.max(initial=0)) + 1
    of_events = codes[histories.items]
    keys = (histories.rows * n_groups + of_events)[of_events >= 0]
    counts = _sums(keys, None, rows * n_groups + wanted)
    return np.where(wanted >= 0, counts / np.maximum(histories.lengths[rows], 1), 0.0)


def _likeness(
    facts: ItemFacts, histories: Histories, weights: Doubles, rows: Ints, items: NDArray[np.int32]
) -> Doubles:
    """(m,) cosine between the item's title and the weighted mean of those of the history."""
    profile = np.zeros((len(histories), facts.titles.shape[1]))
    np.add.at(profile, histories.rows, facts.titles[histories.items] * weights[:, None])
    lengths = np.linalg.norm(profile, axis=1, keepdims=True)
    profile /= np.where(lengths > 0, lengths, 1.0)
    return np.einsum("md,md->m", profile[rows], facts.titles[items].astype(np.float64))


def _expected_gaps(facts: ItemFacts, keys: Ints, ages: Doubles, wanted: Ints) -> Doubles:
    """(m,) days between purchases: of this user with this item once there are two days of them, else of the item."""
    first, last, days = _most(keys, ages, wanted), _least(keys, ages, wanted), _days(keys, ages, wanted)
    usual = facts.gaps_days[wanted % max(len(facts.prices), 1)]
    return np.where(days > 1, np.maximum(first - last, 0.5) / np.maximum(days - 1, 1), usual)


def _days(keys: Ints, ages: Doubles, wanted: Ints) -> Doubles:
    distinct = np.unique(np.stack([keys, np.floor(ages).astype(np.int64)]), axis=1)[0]
    return _sums(distinct, None, wanted)


def _sums(keys: Ints, weights: Doubles | None, wanted: Ints) -> Doubles:
    """(m,) sums of the weights, else counts, of each wanted key; 0 where there is none."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    return _found(distinct, np.bincount(inverse, weights, minlength=len(distinct)).astype(np.float64), wanted, 0.0)


def _least(keys: Ints, values: Doubles, wanted: Ints) -> Doubles:
    """(m,) the least value of each wanted key; infinite where there is none."""
    order = np.lexsort((values, keys))
    distinct, first = np.unique(keys[order], return_index=True)
    return _found(distinct, values[order][first], wanted, np.inf)


def _most(keys: Ints, values: Doubles, wanted: Ints) -> Doubles:
    return -_least(keys, -values, wanted)


def _found(distinct: Ints, values: Doubles, wanted: Ints, otherwise: float) -> Doubles:
    if not len(distinct):
        return np.full(len(wanted), otherwise)
    place = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    return np.where(distinct[place] == wanted, values[place], otherwise)


def _gaps_days(histories: Histories, n_items: int) -> Floats:
    """(n_items,) mean days between one user's purchases of the item, drawn to that of all items where they are few."""
    bought = histories.where((histories.event_types == EventType.PURCHASE.code) & (histories.items >= 0))
    keys, order = bought.rows * n_items + bought.items, np.lexsort((bought.ts, bought.rows * n_items + bought.items))
    days = bought.ts[order] / DAY_MS
    gaps = np.diff(days)
    is_gap = (np.diff(keys[order]) == 0) & (gaps >= 1.0)
    items = (keys[order][1:] % max(n_items, 1))[is_gap]
    sums, counts = np.bincount(items, gaps[is_gap], n_items), np.bincount(items, minlength=n_items)
    usual = sums.sum() / counts.sum() if counts.sum() else 30.0
    return ((sums + GAP_STRENGTH * usual) / (counts + GAP_STRENGTH)).astype(np.float32)


def _numbers(items: pd.DataFrame, names: Sequence[str]) -> Doubles:
    """(n_items, names) float64; NaN where unknown, zeros for columns that are not there."""
    columns = [
        items[name].to_numpy(dtype=np.float64, na_value=np.nan) if name in items else np.zeros(len(items))
        for name in names
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(items), 0))


def _codes(items: pd.DataFrame, name: str) -> NDArray[np.int32]:
    if name not in items:
        return np.full(len(items), -1, dtype=np.int32)
    codes, _ = pd.factorize(items[name].astype(object), sort=True)
    return codes.astype(np.int32)


__all__ = ["NAMES", "ItemFacts", "candidate_features"]
