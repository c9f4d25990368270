"""The caller's own candidates: which of them are ranked, and why the others are not."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from features.ids import UNKNOWN
from serving.recommend_answer import Unranked
from training.bundle import Bundle


def among(candidates: Sequence[str], allowed: NDArray[np.bool_], bundle: Bundle) -> NDArray[np.bool_]:
    """(n_items,) bool: those of ``allowed`` that are candidates."""
    codes = bundle.items.encode(candidates)
    chosen = np.zeros_like(allowed)
    chosen[codes[codes != UNKNOWN]] = True
    return chosen & allowed


def unranked(candidates: Sequence[str], hidden: Collection[str], bundle: Bundle) -> dict[str, Unranked]:
    """The candidates that are not ranked, in the order in which they were given.

    Args:
        hidden: Items that must not be shown.
    """
    found: dict[str, Unranked] = {}
    hidden = frozenset(hidden)
    for item, code in zip(candidates, bundle.items.encode(candidates).tolist(), strict=True):
        if code == UNKNOWN:
            found[item] = Unranked.UNKNOWN
        elif item in hidden:
            found[item] = Unranked.EXCLUDED
        elif not bundle.available[code]:
            found[item] = Unranked.UNAVAILABLE
    return found


__all__ = ["among", "unranked"]
