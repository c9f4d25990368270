"""The graph of users and items: how often each is met, and its broad patterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

Floats = NDArray[np.float32]

#: Sweeps of the randomised decomposition, and directions that it tries beyond those that are kept (Halko et al. 2011).
SWEEPS, SPARE = 2, 30

#: Patterns of all items, or of all users, are never more numbers than this.
MOST_ENTRIES = 60_000_000


def degrees(taken: sparse.csr_array) -> tuple[Floats, Floats]:
    """How many items each user took, and how many users each item: (users,) and (items,) float32."""
    return (
        np.diff(taken.indptr).astype(np.float32),
        np.bincount(taken.indices, minlength=taken.shape[1]).astype(np.float32),
    )


def power(counts: Floats, exponent: float) -> Floats:
    """``counts ** exponent``, and 0 where nothing was counted."""
    return np.where(counts > 0, np.maximum(counts, 1) ** np.float32(exponent), 0).astype(np.float32)


def patterns(taken: sparse.csr_array, rank: int, user_power: float, item_power: float) -> Floats:
    """(items, rank): right singular vectors of ``U^-user_power taken D^-item_power``; fewer where there is less."""
    busy, popular = degrees(taken)
    scaled = sparse.csr_matrix(sparse.diags_array(power(busy, -user_power)) @ taken * power(popular, -item_power))
    rank = min(rank, min(scaled.shape) // 2, MOST_ENTRIES // max(scaled.shape))
    if not rank or not scaled.nnz:
        return np.zeros((taken.shape[1], 0), dtype=np.float32)
    _, _, found = randomized_svd(scaled, rank, n_oversamples=SPARE, n_iter=SWEEPS, random_state=0)
    return np.ascontiguousarray(found.T, dtype=np.float32)


__all__ = ["MOST_ENTRIES", "degrees", "patterns", "power"]
