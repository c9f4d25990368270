"""What groups surround an item in the log: what a network cannot learn of each of many items by itself."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.folds import folds_of
from training.session.outcomes import groups_of
from training.session.steps import Int64s, Steps

#: Events further apart in a user's history do not count as near.
REACH = 10
#: Groups near an item are counted without the fold of the session that is learned from.
FOLDS = 5


def followers(steps: Steps, groups: NDArray[np.int32], n_groups: int, used: NDArray[np.bool_]) -> sparse.csr_array:
    """(n_items, n_groups) float32: how often an event about a group came near one about an item.

    The user's next or previous event counts 1, the k-th one before or after ``1 / k``, up to ``REACH``.

    Args:
        used: (s,) which sessions are counted.
    """
    session, found = steps.session, groups_of(groups, steps.items)
    user = steps.row[session]
    total = sparse.csr_array((len(groups), n_groups), dtype=np.float32)
    for apart in range(1, REACH + 1):
        together = (user[apart:] == user[:-apart]) & used[session[apart:]] & used[session[:-apart]]
        for one, other in ((steps.items[:-apart], found[apart:]), (steps.items[apart:], found[:-apart])):
            pairs = together & (one >= 0) & (other >= 0)
            weights = np.full(int(pairs.sum()), 1 / apart, np.float32)
            total = total + sparse.csr_array((weights, (one[pairs], other[pairs])), shape=total.shape)
    return sparse.csr_array(total)


def rows_of(table: sparse.csr_array, items: NDArray[np.int32]) -> sparse.csr_array:
    """(m, n_groups) rows of (n_items, n_groups); nothing where the item is unknown."""
    known = items >= 0
    mask = sparse.diags_array(known.astype(np.float32))
    return sparse.csr_array(mask @ table[np.where(known, items, 0)])


def followers_elsewhere(
    steps: Steps, groups: NDArray[np.int32], n_groups: int, learned: Int64s, seed: int
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """``followers`` in the ``learned`` sessions, and (m, n_groups) what they say of each event.

    Of the events of a learned session, only sessions of other folds speak: its own would tell what it is to predict.
    """
    fold = np.full(len(steps), -1)
    fold[learned] = folds_of(len(learned), FOLDS, seed)
    count = partial(followers, steps, groups, n_groups)
    total = count(fold >= 0)
    said = rows_of(total, steps.items)
    for number in range(FOLDS):
        others = rows_of((total - count(fold == number)) * np.float32(FOLDS / (FOLDS - 1)), steps.items)
        mine = sparse.diags_array((fold[steps.session] == number).astype(np.float32))
        said = said - mine @ said + mine @ others
    return total, sparse.csr_array(said)


__all__ = ["followers", "followers_elsewhere", "rows_of"]
