"""What one question takes of the processor when it comes alone, as a request does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def alone_ms(ask: Callable[[NDArray[np.int64]], Any], n: int) -> float:
    """The median of milliseconds over ``n`` questions; ``ask`` is told the row of each, (1,) int64."""
    spent = []
    for row in range(n):
        start = time.process_time()
        ask(np.array([row]))
        spent.append(time.process_time() - start)
    return 1e3 * float(np.median(spent))


__all__ = ["alone_ms"]
