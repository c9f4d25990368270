"""The catalogue through time: which category, brand and price an item had when an event happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd

from features.ids import Vocabulary
from features.schema import Columns

#: Price bands end where the price in cents reaches a power of four, from 0.64 to 10,485.76 of the currency.
BAND_BORDERS_CENTS = tuple(4**power for power in range(3, 11))

#: Before and after every instant of a log.
_EVER_MS = 1 << 60


@dataclass(frozen=True)
class Catalogue:
    """Every item of a data set, numbered, and how it stood at each instant before ``as_of_ms``.

    Attributes:
        items: All items of the data set, sorted; the numbers of the log.
        rows: Rows of items with ``valid_from`` before the instant, sorted by item and ``valid_from``.
    """

    items: Vocabulary
    rows: pd.DataFrame

    @classmethod
    def of(cls, items: pd.DataFrame, shown: Iterable[str], as_of_ms: int) -> Catalogue:
        """From the items table, all rows in any order, and the items of impressions, which it may lack."""
        known = items[items[Columns.VALID_FROM] < as_of_ms]
        known = known.sort_values([Columns.ITEM_ID, Columns.VALID_FROM], kind="stable", ignore_index=True)
        return cls(Vocabulary(sorted({*items[Columns.ITEM_ID], *shown})), known)

    @cached_property
    def categories(self) -> Vocabulary:
        """Top categories: the first part of each category path."""
        return Vocabulary(sorted(set(top_category(self.rows[Columns.CATEGORY]))))

    @cached_property
    def brands(self) -> Vocabulary:
        """All brands that items had."""
        return Vocabulary(sorted(set(self.rows[Columns.BRAND].dropna())))

    @cached_property
    def latest(self) -> pd.DataFrame:
        """The row of each known item that holds just before the instant, indexed by ``item_id``, sorted."""
        return self.rows.drop_duplicates(Columns.ITEM_ID, keep="last").set_index(Columns.ITEM_ID)

    @cached_property
    def listed_ms(self) -> pd.Series:
        """item_id -> when the item was first listed."""
        return self.rows.drop_duplicates(Columns.ITEM_ID).set_index(Columns.ITEM_ID)[Columns.VALID_FROM]

    @cached_property
    def versions(self) -> pd.DataFrame:
        """Half-open ``[from_ms, until_ms)`` versions that cover all time for every item.

        The first version of an item reaches back to before it was listed: what it says holds from ``listed_ms`` on.
        Columns: version_item_id, item (int32), from_ms, until_ms, listed_ms (int64), category_top, brand (Int32 codes),
        list_cents (Int64).
        """
        rows = self.rows
        ids = rows[Columns.ITEM_ID]
        versions = pd.DataFrame(
            {
                "version_item_id": ids,
                "from_ms": rows[Columns.VALID_FROM].astype("int64").where(ids.eq(ids.shift()), -_EVER_MS),
                "until_ms": rows[Columns.VALID_FROM].shift(-1).where(ids.eq(ids.shift(-1))).fillna(_EVER_MS),
                "listed_ms": rows[Columns.VALID_FROM].astype("int64"),
                "category_top": _codes(self.categories, top_category(rows[Columns.CATEGORY])),
                "brand": _codes(self.brands, rows[Columns.BRAND]),
                "list_cents": rows[Columns.PRICE_CENTS].astype("Int64"),
            }
        )
        never = sorted(set(self.items.ids) - set(ids))
        unlisted = pd.DataFrame({"version_item_id": never, "from_ms": -_EVER_MS, "until_ms": _EVER_MS})
        unlisted["listed_ms"] = _EVER_MS
        for name in ("category_top", "brand", "list_cents"):
            unlisted[name] = pd.Series(pd.NA, index=unlisted.index, dtype=versions[name].dtype)
        whole = pd.concat([unlisted, versions], ignore_index=True) if never else versions
        whole = whole.astype({"from_ms": "int64", "until_ms": "int64", "listed_ms": "int64"})
        whole.insert(1, "item", self.items.encode(whole["version_item_id"]))
        return whole

    @property
    def numbered(self) -> pd.DataFrame:
        """Columns numbered_item_id, item (int32)."""
        return pd.DataFrame({"numbered_item_id": self.items.ids, "item": np.arange(len(self.items), dtype=np.int32)})


def top_category(categories: pd.Series) -> pd.Series:
    """The first part of each category path: ``home`` of ``home/garden/seeds``."""
    codes, paths = pd.factorize(categories)
    tops = np.array([*(path.split("/", 1)[0] for path in paths), None], dtype=object)
    return pd.Series(tops[codes], index=categories.index, dtype=object)


def band_labels() -> list[str]:
    """The names of the price bands, in cents."""
    borders = (0, *BAND_BORDERS_CENTS)
    closed = [f"{low}-{high - 1}" for low, high in pairwise(borders)]
    return [*closed, f"{borders[-1]}+"]


def _codes(vocabulary: Vocabulary, values: pd.Series) -> pd.Series:
    codes = pd.Series(vocabulary.encode(values.astype(object)), index=values.index, dtype="Int32")
    return codes.mask(codes < 0)


__all__ = ["BAND_BORDERS_CENTS", "Catalogue", "band_labels", "top_category"]
