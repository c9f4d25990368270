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


def followers_elsewhere(
    steps: Steps, groups: NDArray[np.int32], n_groups: int, learned: Int64s, seed: int
) -> tuple[sparse.csr_array, sparse.csr_array, Int64s]:
    """``followers`` in the ``learned`` sessions, with a last row for unknown items; a table of what is said of the
    events of these steps, and (m,) which row of it speaks of each.

    Of the events of a learned session, only sessions of other folds speak: its own would tell what it is to predict.
    """
    fold = np.full(len(steps), -1)
    fold[learned] = folds_of(len(learned), FOLDS, seed)
    count = partial(followers, steps, groups, n_groups)
    total = count(fold >= 0)
    items = np.where(steps.items >= 0, steps.items, len(groups))
    # One table after the other: of the events outside of what is learned, then of those of each fold.
    tables = [_with_unknown(total)]
    tables += [
        _with_unknown((total - count(fold == number)) * np.float32(FOLDS / (FOLDS - 1))) for number in range(FOLDS)
    ]
    row = items + (fold[steps.session] + 1) * (len(groups) + 1)
    return tables[0], sparse.csr_array(sparse.vstack(tables, format="csr")), row


def _with_unknown(table: sparse.csr_array) -> sparse.csr_array:
    """With a last row, of nothing, for unknown items."""
    return sparse.csr_array(sparse.vstack([table, sparse.csr_array((1, table.shape[1]), dtype=np.float32)], "csr"))


__all__ = ["followers", "followers_elsewhere"]
