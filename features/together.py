"""What was bought together as of an instant: in how many orders each two items were, and what that says.

The statistics of an ordered pair (a, b), from N orders of which n_a, n_b and n_ab hold a, b and both:

* confidence ``n_ab / n_a``, lift ``N n_ab / (n_a n_b)``: Tan, Kumar and Srivastava (2004), Information Systems 29(4);
* the lower end of lift's 95 % interval, ``lift * exp(-1.96 sd)`` with ``sd**2 = 1/n_ab - 1/n_a - 1/n_b +
  2 n_ab / (n_a n_b) - 1/N``, the delta method on the four cells of the two-by-two table;
* what ranks: ``strength = (n_ab - n_a n_b / N) / (n_a + 5)``, the added value of the same paper, drawn to zero where
  little was bought. For one a it ranks by the orders beyond those that chance would have made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from features.errors import InputError
from features.sequences import Int32s, Int64s, Ragged

#: Orders that two items share at least: one order is an anecdote.
MINIMUM_SUPPORT = 2

#: Partners kept of each item, and as many again of other categories than its own.
PARTNERS = 100

#: Orders that weigh against a pair; the order of one anchor's partners does not depend on it. Of carts of two items in
#: Online Retail's orders of 2011-10-10 to 11-09, the ten strongest hit another item of the order in 78.6 % with 5,
#: 78.4 % without and 78.7 % with 20 (standard error 1.0), of carts of five in 85.0 %, 85.2 % and 84.3 % (0.9).
SHRINKAGE = 5.0

_Z = 1.959964  # of a 95 % interval

#: Cells of the matrix of pairs that are counted at once.
_CELLS = 1 << 22

_ABOUT = "together.json"
_ARRAYS = ("orders", "offsets", "partners", "support")

Doubles = NDArray[np.float64]


class Pairs(NamedTuple):
    """Pairs of one anchor (or of many, one after the other); arrays of equal length.

    Attributes:
        items: Dense ids of the partners.
        support: Orders with both.
        confidence: The share of the anchor's orders that hold the partner.
        lift: How many times as often as if they were bought independently.
        lift_low: The lower end of lift's 95 % interval.
        strength: Ranks; in (0, 1) where the two are bought together more often than by chance.
    """

    items: Int32s
    support: Int64s
    confidence: Doubles
    lift: Doubles
    lift_low: Doubles
    strength: Doubles


@dataclass(frozen=True)
class Together:
    """Pairs of items that are bought together more often than by chance: 1 is below the 95 % interval of their lift.

    Attributes:
        n_orders: Orders that hold at least one known item.
        orders: (n_items,) int32, the orders that hold each item.
        offsets: (n_items + 1,) int64; the partners of item i are ``partners[offsets[i]:offsets[i + 1]]``.
        partners: (m,) int32, ascending for each item; never the item itself.
        support: (m,) int32, the orders with both.
    """

    n_orders: int
    orders: Int32s
    offsets: Int64s
    partners: Int32s
    support: Int32s

    @classmethod
    def count(cls, baskets: Ragged, categories: Int32s, most: int = PARTNERS) -> Together:
        """From orders; O(sum of squared sizes of the orders) in time, and blocks of the result in memory.

        Args:
            baskets: A row of distinct dense item ids for each order, none empty.
            categories: (n_items,) int32 number of each item's leaf category, -1 where it is not known.
            most: Partners kept of each item, the strongest, ties by lower id; and as many that are certain to be of
                another category.
        """
        n_items = len(categories)
        shape = (len(baskets), n_items)
        ones = np.ones(len(baskets.values), dtype=np.int32)
        taken = sparse.csr_array((ones, baskets.values, baskets.offsets), shape=shape)
        by_item = sparse.csr_array(taken.T)
        orders = np.diff(by_item.indptr).astype(np.int32)
        cells = np.bincount(baskets.values, weights=baskets.lengths[baskets.rows].astype(np.float64), minlength=n_items)
        rows, partners, support = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for start, end in _blocks(cells):
            both = sparse.coo_array(by_item[start:end] @ taken)
            enough = np.flatnonzero(both.data >= MINIMUM_SUPPORT)
            anchors, others = both.row[enough].astype(np.int64) + start, both.col[enough].astype(np.int32)
            pairs = _pairs(others, both.data[enough], orders[anchors], orders[others], len(baskets))
            beyond = np.flatnonzero((pairs.lift_low > 1) & (anchors != others))
            kept = beyond[_strongest(anchors[beyond], others[beyond], pairs.strength[beyond], categories, most)]
            rows.append(anchors[kept])
            partners.append(others[kept])
            support.append(pairs.support[kept].astype(np.int32))
        offsets = np.searchsorted(np.concatenate(rows), np.arange(n_items + 1)).astype(np.int64)
        return cls(len(baskets), orders, offsets, np.concatenate(partners), np.concatenate(support))

    def partners_of(self, anchor: int) -> Pairs:
        """The pairs of one item, by dense id of the partner."""
        some = slice(int(self.offsets[anchor]), int(self.offsets[anchor + 1]))
        items = np.asarray(self.partners[some])
        alone = np.full(len(items), self.orders[anchor])
        return _pairs(items, self.support[some], alone, self.orders[items], self.n_orders)

    def save(self, folder: Path) -> None:
        """Write JSON and one npy file per array into a new folder."""
        folder.mkdir(parents=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        (folder / _ABOUT).write_text(json.dumps({"n_orders": self.n_orders}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Together:
        """Read what ``save`` wrote; arrays are mapped into memory.

        Raises:
            InputError: It is damaged.
        """
        try:
            n_orders = int(json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["n_orders"])
            arrays = (np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS)
            return cls(n_orders, *arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(str(folder), "must be readable", str(error), "make the bundle again") from None


def baskets(lines: pd.DataFrame, user: str, order: str, item: str) -> Ragged:
    """The distinct items of each order of a user: lines of one user and order, or instant where no order is named.

    Args:
        lines: Rows of purchases; ``item`` is a dense id, missing or -1 where it is not known.
    """
    known = lines[lines[item].notna() & (lines[item] >= 0) & lines[order].notna()]
    numbers = known.groupby([user, order], sort=True).ngroup().to_numpy(dtype=np.int64)
    items = known[item].to_numpy(dtype=np.int64)
    width = int(items.max(initial=0)) + 1
    rows, values = np.divmod(np.unique(numbers * width + items), width)
    return Ragged.from_rows(rows, values.astype(np.int32), int(rows.max(initial=-1)) + 1)


def _blocks(cells: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of items of at most ``_CELLS`` additions in all, or of one item."""
    ends, start = np.cumsum(cells), 0
    while start < len(cells):
        most = ends[start] - cells[start] + _CELLS
        end = max(int(np.searchsorted(ends, most, side="right")), start + 1)
        yield start, end
        start = end


def _pairs(items: Int32s, support: Int32s, anchor: Int32s, partner: Int32s, n_orders: int) -> Pairs:
    """The statistics at the head of this file; ``anchor`` and ``partner`` are the orders with the one and the other."""
    k, a, b = (np.asarray(counts, dtype=np.float64) for counts in (support, anchor, partner))
    n = float(max(n_orders, 1))  # without orders there are no pairs either
    lift = n * k / (a * b)
    variance = np.maximum(1 / k - 1 / a - 1 / b + 2 * k / (a * b) - 1 / n, 0.0)
    low = lift * np.exp(-_Z * np.sqrt(variance))
    strength = (k - a * b / n) / (a + SHRINKAGE)
    return Pairs(items, np.asarray(support, dtype=np.int64), k / a, lift, low, strength)


def _strongest(anchors: Int64s, partners: Int32s, strength: Doubles, categories: Int32s, most: int) -> Int64s:
    """Positions, by anchor and partner, of the ``most`` strongest of each anchor and of those of another category."""
    order = np.lexsort((partners, -strength, anchors))
    own, others = categories[anchors[order]], categories[partners[order]]
    elsewhere = order[(own != others) & (own >= 0) & (others >= 0)]
    kept = np.unique(np.concatenate([_first(order, anchors, most), _first(elsewhere, anchors, most)]))
    return kept[np.lexsort((partners[kept], anchors[kept]))]


def _first(order: Int64s, anchors: Int64s, most: int) -> Int64s:
    """Of positions sorted by anchor, the first ``most`` of each."""
    sorted_anchors = anchors[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_anchors, sorted_anchors)
    return order[place < most]


__all__ = ["MINIMUM_SUPPORT", "PARTNERS", "SHRINKAGE", "Pairs", "Together", "baskets"]
