"""What a tripwire says when it fires, and how sure it must be before it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import LeakageError

#: Standard errors beyond which chance is no explanation: of a normal deviate, once in three million.
SURE = 5.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """A sign that something was known which could not be known.

    Attributes:
        wire: Which tripwire: ``future canary``, ``label shuffle``, ``time shift`` or ``protocol``.
        where: The column, the model or the data that it is about.
        told: What was measured, in words.
    """

    wire: str
    where: str
    told: str

    def __str__(self) -> str:
        return f"{self.wire}: {self.where} {self.told}"


def void(alarms: Sequence[Alarm]) -> None:
    """Stop a training that has alarms.

    Raises:
        LeakageError: There is one.
    """
    if alarms:
        more = f" (and {len(alarms) - 1} more)" if len(alarms) > 1 else ""
        raise LeakageError(
            "training",
            f"must not know the future: {'; '.join(map(str, alarms[:5]))}{more}",
            mend="find out how it came in: no figure of this run means anything",
        )


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """The area under the ROC curve, ties counting half, and its standard error (Hanley and McNeil 1982).

    0.5 and infinity where all are of one kind.
    """
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if not n1 or not n0:
        return 0.5, math.inf
    values, codes = np.unique(scores, return_inverse=True)
    of_each = np.bincount(codes, minlength=len(values))
    ranks = np.cumsum(of_each) - (of_each - 1) / 2
    area = float((ranks[codes][positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)) / (n1 * n0)
    return area, math.sqrt(max(variance, 0.0))


def share(hits: NDArray[np.bool_]) -> tuple[float, float]:
    """The share of hits and its standard error, drawn in a little so that none and all are not certain (Agresti and
    Coull 1998)."""
    n, k = len(hits) + 4, int(hits.sum()) + 2
    return k / n, math.sqrt(k / n * (1 - k / n) / n)


def beyond(later: tuple[float, float], earlier: tuple[float, float], least: float) -> bool:
    """Whether one figure is above another by more than ``least`` and by more than chance."""
    difference = later[0] - earlier[0]
    return difference > least and difference > SURE * math.hypot(later[1], earlier[1])


__all__ = ["SURE", "Alarm", "auc", "beyond", "share", "void"]
