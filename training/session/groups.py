"""Groups of items that a session moves through: top categories, or where there are none, what is looked at together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from features.catalogue import top_category
from features.schema import MISSING, Columns
from features.sequences import Histories
from features.snapshot import Snapshot

#: At most so many groups; what is rarer belongs to none.
MOST = 64
#: Items so many events apart in a session belong together; fewer of them make no group.
_APART, _FEWEST_ITEMS = 3, 20
_UNKNOWN = (MISSING, "unknown", "")


def item_groups(snapshot: Snapshot) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """(n_items,) int32 group of each item, -1 for none, and the groups' names.

    The first level of the category path if the catalogue tells at least two; else the largest communities of items
    that are close to each other in sessions (Blondel et al. 2008, Louvain).
    """
    top = top_category(snapshot.item_matrix[Columns.CATEGORY])
    if are_found(snapshot):
        return _found(snapshot.sequences, len(snapshot.items))
    names = tuple(sorted(_counts(top).index[:MOST]))
    codes = pd.Categorical(top, categories=list(names)).codes
    return codes.astype(np.int32), names


def are_found(snapshot: Snapshot) -> bool:
    """Whether ``item_groups`` finds them in sessions, as the catalogue does not tell them."""
    return len(_counts(top_category(snapshot.item_matrix[Columns.CATEGORY]))) < 2


def _counts(top: pd.Series) -> pd.Series:
    return top[~top.isin(_UNKNOWN)].value_counts()


def _found(histories: Histories, n_items: int) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    import networkx

    graph = networkx.from_scipy_sparse_array(_together(histories, n_items))
    # Answers name the groups: they are the same whatever else is random.
    found = networkx.community.louvain_communities(graph, seed=0)
    communities = sorted(found, key=lambda one: (-len(one), min(one)))
    kept = [one for one in communities[:MOST] if len(one) >= _FEWEST_ITEMS]
    groups = np.full(n_items, -1, dtype=np.int32)
    for number, members in enumerate(kept):
        groups[list(members)] = number
    return groups, tuple(f"group-{number:02d}" for number in range(len(kept)))


def _together(histories: Histories, n_items: int) -> sparse.csr_array:
    """(n_items, n_items) how often one of two items came at most ``_APART`` events after the other in a session."""
    visits, items = histories.visits(), histories.items
    pairs = sparse.csr_array((n_items, n_items), dtype=np.float64)
    for apart in range(1, _APART + 1):
        one, other = items[:-apart], items[apart:]
        near = (visits[apart:] == visits[:-apart]) & (one != other) & (one >= 0) & (other >= 0)
        n = int(near.sum())
        pairs = pairs + sparse.csr_array((np.ones(n), (one[near], other[near])), shape=pairs.shape)
    return sparse.csr_array(pairs + pairs.T)


__all__ = ["MOST", "are_found", "item_groups"]
