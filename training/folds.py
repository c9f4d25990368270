"""Groups of rows that are left out in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def folds_of(n: int, folds: int, seed: int) -> NDArray[np.intp]:
    """(n,) the fold of each row: sizes differ by one at most, and depend on the seed alone.

    >>> sorted(folds_of(5, 2, 0).tolist())
    [0, 0, 0, 1, 1]
    """
    return np.random.default_rng(seed).permutation(np.arange(n) % folds)


__all__ = ["folds_of"]
