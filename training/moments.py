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

#: Cells of moments that are counted at a time: events times the steps that they are remembered.
CELLS_AT_ONCE = 6_500_000


def moments(events: Histories, n_items: int, forget: float, ahead: float) -> tuple[sparse.csr_array, sparse.csr_array]:
    """``S'S`` and ``S'T`` of ``training.linear.Linear``, each (n_items, n_items) float32.

    Args:
        events: Of known items only; their weights are ``event_weights``.
    """
    gram = cross = sparse.csr_array((n_items, n_items), dtype=np.float32)
    at_once = max(CELLS_AT_ONCE // max(_reach(forget), _reach(ahead)), 1)
    stops = np.searchsorted(events.offsets, np.arange(at_once, len(events.items), at_once))
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
        reach = _reach(factor)
        moment = nearest[:, None] + away * np.arange(reach)
        inside = (moment >= first[:, None]) & (moment < last[:, None])
        values = np.broadcast_to(weights[:, None] * factor ** np.arange(reach), moment.shape)
        items = np.broadcast_to(events.items[:, None], moment.shape)
        cells = (values[inside].astype(np.float32), (moment[inside], items[inside]))
        sides.append(sparse.csr_array(cells, shape=(int(steps.max(initial=-1)) + 1, n_items)))
    return sides[0], sides[1]


def _reach(factor: float) -> int:
    """Steps after which an event that weighs ``factor`` per step is negligible."""
    return 1 if factor == 0 else math.ceil(math.log(NEGLIGIBLE) / math.log(factor))


__all__ = ["moments"]
