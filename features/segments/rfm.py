"""Recency, frequency and monetary value: scores by quantiles, and the segments that the field knows by name.

The three measures are Hughes, "Strategic Database Marketing" (1994); the names are those in common use.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.errors import InputError
from features.segments.columns import Row, number

RECENCY, FREQUENCY, MONETARY = "purchase_recency_days", "frequency", "monetary_cents"

#: Who has never bought has no scores, and is a segment of their own.
NO_PURCHASE = "no purchase"

#: Rows: recency score 5 (bought lately) to 1; columns: value score 1 to 5.
GRID = (
    ("new", "potential loyal", "potential loyal", "champions", "champions"),
    ("promising", "potential loyal", "potential loyal", "loyal", "loyal"),
    ("about to sleep", "about to sleep", "needs attention", "loyal", "loyal"),
    ("hibernating", "hibernating", "at risk", "at risk", "cannot lose"),
    ("hibernating", "hibernating", "at risk", "at risk", "cannot lose"),
)

#: Every segment, the best first.
RFM_SEGMENTS = (
    "champions",
    "loyal",
    "potential loyal",
    "new",
    "promising",
    "needs attention",
    "about to sleep",
    "at risk",
    "cannot lose",
    "hibernating",
    NO_PURCHASE,
)


@dataclass(frozen=True, slots=True)
class Rfm:
    """The borders between scores, as they were among the buyers that it was fitted to.

    A score is one plus the number of borders that a value is better than, so equal values have equal scores. A border
    is the value of the buyer up to whom a fifth (two, three, four fifths) of all stand, the worst first; with it,
    ``score = 1 + floor(5 * share of buyers who are strictly worse)`` for each of those buyers.

    Attributes:
        recency_days: At most four borders, falling; fewer days are better.
        frequency: At most four borders, rising.
        monetary_cents: At most four borders, rising.
    """

    recency_days: tuple[float, ...]
    frequency: tuple[float, ...]
    monetary_cents: tuple[float, ...]

    def scores(self, users: pd.DataFrame) -> pd.DataFrame:
        """(n users, 3) Int64 ``recency_score``, ``frequency_score``, ``monetary_score``; missing for who never bought.

        Raises:
            InputError: A column is missing, or of a buyer frequency or monetary value is.
        """
        recency, frequency, monetary = _measures(users)
        columns = {
            "recency_score": _scores(-recency, [-border for border in self.recency_days]),
            "frequency_score": _scores(frequency, self.frequency),
            "monetary_score": _scores(monetary, self.monetary_cents),
        }
        scores = pd.DataFrame(columns, index=users.index, dtype="Int64")
        scores.loc[np.isnan(recency)] = pd.NA
        return scores

    def segments(self, users: pd.DataFrame) -> pd.Series:
        """(n users) str: one of ``RFM_SEGMENTS`` each, by recency score and value score.

        The value score is the mean of the frequency score and the monetary score, halves upwards.

        Raises:
            InputError: As in ``scores``.
        """
        scores = self.scores(users).fillna(0).to_numpy(np.int64)
        recency, value = scores[:, 0], (scores[:, 1] + scores[:, 2] + 1) // 2
        grid = np.array(GRID, dtype=object)
        names = np.where(recency > 0, grid[5 - np.maximum(recency, 1), np.maximum(value, 1) - 1], NO_PURCHASE)
        return pd.Series(names, index=users.index, name="rfm_segment", dtype="str")

    def segment(self, row: Row) -> str:
        """The segment of one user, as ``segments`` would say.

        Raises:
            InputError: A value is no number, or of a buyer frequency or monetary value is missing.
        """
        recency = number(RECENCY, row.get(RECENCY))
        if recency is None:
            return NO_PURCHASE
        frequency, monetary = number(FREQUENCY, row.get(FREQUENCY)), number(MONETARY, row.get(MONETARY))
        if frequency is None or monetary is None:
            raise _no_value(FREQUENCY if frequency is None else MONETARY)
        recency_score = 1 + bisect_left([-border for border in self.recency_days], -recency)
        frequency_score = 1 + bisect_left(self.frequency, frequency)
        monetary_score = 1 + bisect_left(self.monetary_cents, monetary)
        return GRID[5 - recency_score][(frequency_score + monetary_score + 1) // 2 - 1]


def fit_rfm(users: pd.DataFrame) -> Rfm:
    """The borders among the buyers of a user matrix; without any buyer there are none, and all are ``no purchase``.

    Raises:
        InputError: A column is missing, or of a buyer frequency or monetary value is.
    """
    recency, frequency, monetary = _measures(users)
    bought = ~np.isnan(recency)
    return Rfm(
        tuple(-border for border in _borders(-recency[bought])),
        _borders(frequency[bought]),
        _borders(monetary[bought]),
    )


def _measures(users: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    for column in (RECENCY, FREQUENCY, MONETARY):
        if column not in users.columns:
            raise InputError(f"user_matrix: column {column!r}", "is missing", mend="build the snapshot with it")
    recency, frequency, monetary = (
        users[column].to_numpy(np.float64, na_value=np.nan) for column in (RECENCY, FREQUENCY, MONETARY)
    )
    for column, values in ((FREQUENCY, frequency), (MONETARY, monetary)):
        if (np.isnan(values) & ~np.isnan(recency)).any():
            raise _no_value(column)
    return recency, frequency, monetary


def _no_value(column: str) -> InputError:
    mend = f"mask {RECENCY} together with {column}"
    return InputError(f"user_matrix: column {column!r}", f"must not be missing where {RECENCY} is known", mend=mend)


def _borders(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Better than the border of score s is whoever has at least ``(s - 1) n / 5`` buyers below."""
    ordered, n = np.sort(values), len(values)
    return tuple(float(ordered[-(-fifths * n // 5) - 1]) for fifths in range(1, 5)) if n else ()


def _scores(values: NDArray[np.float64], borders: Sequence[float]) -> NDArray[np.int64]:
    return 1 + np.searchsorted(np.asarray(borders, dtype=np.float64), values, side="left")


__all__ = ["FREQUENCY", "GRID", "MONETARY", "NO_PURCHASE", "RECENCY", "RFM_SEGMENTS", "Rfm", "fit_rfm"]
