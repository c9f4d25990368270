"""Candidates: the items that a second stage ranks, drawn from what each fitted model ranks best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.sequences import Ragged
from training.recommender import Mask, Scores, top_k


def candidates(scores: Scores, each: int, cap: int, allowed: Mask | None = None) -> tuple[Ragged, NDArray[np.int16]]:
    """The union of every part's best items, and where each part ranks them.

    Places are drawn in turn, first every part's best, then every part's second, and so on, until ``cap`` items are
    drawn; so no part is crowded out by another. Items that a part has nothing to say for (score 0) are not its
    candidates, and items that no part speaks for are nobody's.

    Args:
        scores: (parts, n, n_items), above 0 where a part speaks for an item.
        each: The most that one part proposes.
        cap: The most per question.
        allowed: (n_items,) bool items that may be shown; all if absent.

    Returns:
        n rows of distinct dense item ids in ascending order, and (parts, m) int16 zero-based places of each candidate
        among the part's own best, ``each`` where it is not among them.
    """
    n_parts, n, n_items = scores.shape
    best = np.full((n_parts, n, each), -1, dtype=np.int32)
    for part in range(n_parts):
        ids, values = top_k(scores[part], each, allowed)
        best[part] = np.where(values > 0, ids, -1)
    # (n, each * parts): all first places, then all second ones.
    drawn = best.transpose(1, 2, 0).reshape(n, each * n_parts).astype(np.int64)
    rows = np.repeat(np.arange(n), drawn.shape[1])
    keys, order = rows * n_items + drawn.ravel(), np.flatnonzero(drawn.ravel() >= 0)
    distinct, first = np.unique(keys[order], return_index=True)
    owners = distinct // max(n_items, 1)
    turn = np.lexsort((first, owners))
    place = np.arange(len(turn)) - np.searchsorted(owners, owners[turn], side="left")
    kept = np.sort(turn[place < cap])
    chosen = Ragged.from_rows(owners[kept], (distinct[kept] % max(n_items, 1)).astype(np.int32), n)
    return chosen, _places(best, chosen, n_items)


def _places(best: NDArray[np.int32], chosen: Ragged, n_items: int) -> NDArray[np.int16]:
    n_parts, n, each = best.shape
    places = np.full((n_parts, len(chosen.values)), each, dtype=np.int16)
    wanted = chosen.rows * n_items + chosen.values
    offset = np.arange(n)[:, None] * n_items
    for part in range(n_parts):
        shown = best[part] >= 0
        keys, of = (offset + best[part])[shown], np.broadcast_to(np.arange(each), (n, each))[shown]
        found = np.searchsorted(wanted, keys)
        inside = found < len(wanted)
        inside[inside] = wanted[found[inside]] == keys[inside]
        places[part, found[inside]] = of[inside]
    return places


__all__ = ["candidates"]
