"""What the catalogue says about items, as tokens: the words that models describe an item with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_string_dtype
from scipy import sparse

from features.catalogue import BAND_BORDERS_CENTS, band_labels
from features.definitions import ITEM_FEATURES, is_column_of
from features.schema import MISSING, Columns
from features.snapshot import Snapshot
from training.item_to_item import incidence

#: Tokens of fewer items say nothing about any other item.
FEWEST_ITEMS = 2

#: What shops write where they do not know, in any letter case; it makes no token.
UNTOLD = frozenset({"", "unknown", MISSING, "none", "nan", "n/a"})

#: Several values in one text.
SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class ItemTokens:
    """Which item carries which token.

    Attributes:
        matrix: (n_items, n_tokens) float32 CSR of zeros and ones, indices sorted; rows are the snapshot's dense items.
        names: (n_tokens,) object, ``column=value``: ``brand=acme``, ``category=home/garden``, ``price_cents=64-255``.
    """

    matrix: sparse.csr_array
    names: NDArray[np.object_]


def item_tokens(snapshot: Snapshot) -> ItemTokens:
    """Tokens of everything that the shop itself says of its items, as of the snapshot.

    Every prefix of the category path is one, the brand, each value of every other text attribute (``a|b`` holds two),
    and the band that the price is in. Titles, which are free text, and features of what users did are not read; tokens
    of fewer than ``FEWEST_ITEMS`` items are left out.
    """
    items = snapshot.item_matrix
    columns = [str(name) for name in items.columns]
    parts = []
    for name in columns:
        if name == Columns.PRICE_CENTS:
            parts.append(_price_bands(items[name]))
        elif name != Columns.TITLE and is_string_dtype(items[name]) and not is_column_of(name, ITEM_FEATURES):
            parts.append(_words(name, items[name]))
    named = [ItemTokens(sparse.csr_array((len(items), 0), dtype=np.float32), np.array([], dtype=object)), *parts]
    matrix = sparse.csr_array(sparse.hstack([part.matrix for part in named], format="csr", dtype=np.float32))
    common = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]) >= FEWEST_ITEMS)
    kept = sparse.csr_array(matrix[:, common])
    kept.sort_indices()
    return ItemTokens(kept, np.concatenate([part.names for part in named])[common])


def weighted_tokens(snapshot: Snapshot) -> sparse.csr_array:
    """(n_items, n_tokens) float32: tokens weighing ``log(items / items with it)``, rows of length one or zero."""
    tokens = item_tokens(snapshot).matrix
    carriers = np.bincount(tokens.indices, minlength=tokens.shape[1])
    rarity = np.log(tokens.shape[0] / np.maximum(carriers, 1))
    weighted = sparse.csr_array(tokens @ sparse.diags_array(rarity))
    length = np.sqrt(np.asarray((weighted * weighted).sum(axis=1)).ravel())
    scaled = sparse.diags_array(1 / np.where(length > 0, length, 1.0)) @ weighted
    return sparse.csr_array(scaled, dtype=np.float32)


def _words(column: str, values: pd.Series) -> ItemTokens:
    """The tokens of one text column; those of a value are found once, however many items share it."""
    codes, distinct = pd.factorize(values.astype(object))
    split = _prefixes if column == Columns.CATEGORY else _values
    listed = [split(str(value)) for value in distinct]
    names = sorted({word for words in listed for word in words})
    number = {word: position for position, word in enumerate(names)}
    owners = np.repeat(np.arange(len(listed)), [len(words) for words in listed])
    tokens = np.array([number[word] for words in listed for word in words], dtype=np.int64)
    of_value = incidence(owners, tokens, len(listed), len(names))
    known = np.flatnonzero(codes >= 0)
    of_item = incidence(known, codes[known], len(values), len(listed))
    return _named(column, sparse.csr_array(of_item @ of_value), names)


def _values(text: str) -> set[str]:
    words = {word.strip() for word in text.split(SEPARATOR)}
    return {word for word in words if word.lower() not in UNTOLD}


def _prefixes(path: str) -> set[str]:
    """``a/b/c`` is ``a``, ``a/b`` and ``a/b/c``, down to the first part that is not told."""
    prefixes: list[str] = []
    for part in path.split("/"):
        if part.strip().lower() in UNTOLD:
            break
        prefixes.append(f"{prefixes[-1]}/{part.strip()}" if prefixes else part.strip())
    return set(prefixes)


def _price_bands(cents: pd.Series) -> ItemTokens:
    prices = cents.to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.flatnonzero(~np.isnan(prices))
    bands = np.searchsorted(BAND_BORDERS_CENTS, prices[known], side="right")
    names = band_labels()
    return _named(str(cents.name), incidence(known, bands, len(cents), len(names)), names)


def _named(column: str, matrix: sparse.csr_array, names: list[str]) -> ItemTokens:
    return ItemTokens(matrix, np.array([f"{column}={name}" for name in names], dtype=object))


__all__ = ["FEWEST_ITEMS", "UNTOLD", "ItemTokens", "item_tokens", "weighted_tokens"]
