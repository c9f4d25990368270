"""What groups surround an item in the log: what a network cannot learn of each of many items by itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.folds import folds_of
from training.session.outcomes import groups_of
from training.session.steps import Int64s, Steps

#: Events further apart in a user's history do not count as near.
REACH = 10
#: What is known of an item is found without the fold of the user who is learned from.
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


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the items of m events without their own user's sessions.

    Attributes:
        near: (r, n_groups) float32, see ``followers``.
        row: (m,) int64, the row of ``near`` that speaks of each event.
        groups: (m,) int64, the group of each event's item, -1 for none.
    """

    near: sparse.csr_array
    row: Int64s
    groups: Int64s


def known_elsewhere(
    steps: Steps, groups: NDArray[np.int32], n_groups: int, learned: Int64s, seed: int, are_found: bool
) -> tuple[sparse.csr_array, Known]:
    """``followers`` in the ``learned`` sessions, with a last row for unknown items; and what to learn from.

    Of the events of a learned session, only users of other folds speak: its own sessions would tell what it is to
    predict. Groups that were found in sessions are found in this one too: items that only one user has seen together
    are always of one group, which is not so of the sessions that will be asked about. There an item is of the group
    that it is near to elsewhere, and one that nobody else has seen is as unknown as a new one will be.

    Args:
        are_found: Whether ``groups`` come from sessions, not from a catalogue.
    """
    fold_of_user = np.full(int(steps.row.max(initial=-1)) + 1, -1)
    users = np.unique(steps.row[learned])
    fold_of_user[users] = folds_of(len(users), FOLDS, seed)
    fold = np.full(len(steps), -1)
    fold[learned] = fold_of_user[steps.row[learned]]
    count = partial(followers, steps, groups, n_groups)
    total = count(fold >= 0)
    # One table after the other: of the events outside of what is learned, then of those of each fold.
    tables = [_with_unknown(total)]
    tables += [
        _with_unknown((total - count(fold == number)) * np.float32(FOLDS / (FOLDS - 1))) for number in range(FOLDS)
    ]
    near = sparse.csr_array(sparse.vstack(tables, format="csr"))
    # What is left of a difference of equal sums is nothing.
    near.data[near.data < 0.5 / REACH] = 0
    near.eliminate_zeros()
    row = rows_of(steps, len(groups)) + (fold[steps.session] + 1) * (len(groups) + 1)
    return tables[0], Known(near, row, _nearest(near)[row] if are_found else groups_of(groups, steps.items))


def rows_of(steps: Steps, n_items: int) -> Int64s:
    """(m,) int64: the row of each event's item in a table of items; unknown ones have the last."""
    return np.where(steps.items >= 0, steps.items, n_items).astype(np.int64)


def _nearest(near: sparse.csr_array) -> Int64s:
    """(r,) the group that came near most often, -1 where none did."""
    row = np.repeat(np.arange(near.shape[0]), np.diff(near.indptr))
    order = np.lexsort((-near.indices, near.data, row))
    found = np.full(near.shape[0], -1, dtype=np.int64)
    found[row[order]] = near.indices[order]  # of those of one row the last stays
    return found


def _with_unknown(table: sparse.csr_array) -> sparse.csr_array:
    """With a last row, of nothing, for unknown items."""
    return sparse.csr_array(sparse.vstack([table, sparse.csr_array((1, table.shape[1]), dtype=np.float32)], "csr"))


__all__ = ["Known", "followers", "known_elsewhere", "rows_of"]
