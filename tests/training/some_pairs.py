"""A small random matrix of who took what, with its empty row and column."""

from __future__ import annotations

import numpy as np

from features.schema import EventType

BUY, VIEW = EventType.PURCHASE, EventType.VIEW
N_USERS, N_ITEMS, NOW = 30, 14, 1_000


def some_pairs() -> list[tuple[int, int, EventType, int]]:
    """Random pairs, some of them twice or only looked at; nobody took the last item, and the last user nothing."""
    rng = np.random.default_rng(0)
    return [
        (user, int(rng.integers(N_ITEMS - 1)), (BUY, VIEW)[rng.integers(2)], int(rng.integers(9)))
        for user in range(N_USERS - 1)
        for _ in range(int(rng.integers(1, 9)))
    ]
