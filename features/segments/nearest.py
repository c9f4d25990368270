"""The known name that somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """The most similar of ``known``, whatever the case of its letters; empty if there is none at all.

    >>> nearest("purchase_recency", ["recency_days", "purchase_recency_days"])
    'purchase_recency_days'
    """
    folded = {other.casefold(): other for other in known}
    found = get_close_matches(name[:80].casefold(), folded, n=1, cutoff=0.0)
    return folded[found[0]] if found else ""


__all__ = ["nearest"]
