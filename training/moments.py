"""Past and future, moment by moment: what regressions of what comes next are computed from."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy import sparse

from features.sequences import Histories
from training.interest import event_weights
from training.order import user_steps

#: What weighs less than this is left out of moments.
NEGLIGIBLE = 0.01

#: Events whose moments are counted at a time.
EVENTS_AT_ONCE = 500_000


def moments(events: Histories, n_items: int, forget: float, ahead: float) -> tuple[sparse.csr_array, sparse.csr_array]:
    """``S'S`` and ``S'T`` of ``training.linear.Linear``, each (n_items, n_items) float32.

    Args:
        events: Of known items only; their weights are ``event_weights``.
    """
    gram = cross = sparse.csr_array((n_items, n_items), dtype=np.float32)
    stops = np.searchsorted(events.offsets, np.arange(EVENTS_AT_ONCE, len(events.items), EVENTS_AT_ONCE))
    borders = np.unique([0, *stops, len(events)])
    for first, stop in pairwise(borders.tolist()):
        s, t = _moment_rows(events.take(np.arange(first, stop)), n_items, forget, ahead)
        gram, cross = gram + s.T @ s, cross + s.T @ t
    return sparse.csr_array(gram), sparse.csr_array(cross)


def _moment_rows(
    events: Histories, n_items: int, forget: float, ahead: float
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """``S`` and ``T``: one row per step, empty where nothing follows it."""
    steps, first, last = user_steps(events)
    weights = event_weights(events).astype(np.float32)
    sides = []
    for factor, nearest, away in ((forget, steps, 1), (ahead, steps - 1, -1)):
        reach = 1 if factor == 0 else math.ceil(math.log(NEGLIGIBLE) / math.log(factor))
        moment = nearest[:, None] + away * np.arange(reach)
        inside = (moment >= first[:, None]) & (moment < last[:, None])
        values = np.broadcast_to(weights[:, None] * factor ** np.arange(reach), moment.shape)
        items = np.broadcast_to(events.items[:, None], moment.shape)
        cells = (values[inside].astype(np.float32), (moment[inside], items[inside]))
        sides.append(sparse.csr_array(cells, shape=(int(steps.max(initial=-1)) + 1, n_items)))
    return sides[0], sides[1]


__all__ = ["moments"]
