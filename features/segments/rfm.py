"""The segments by recency, frequency and monetary value that the field knows by name, from the declared scores.

The three measures are Hughes, "Strategic Database Marketing" (1994); the names are those in common use.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.errors import InputError
from features.segments.columns import Row, number

#: The declared features (``features.definitions``) that the segments are read from.
RECENCY, FREQUENCY, MONETARY = "recency_score", "frequency_score", "monetary_score"

#: The column of the segments.
RFM = "rfm_segment"

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


def rfm_segments(users: pd.DataFrame) -> pd.Series:
    """(n users) str, named ``RFM``: one of ``RFM_SEGMENTS`` each, by recency score and value score.

    The value score is the mean of the frequency score and the monetary score, halves upwards; of the frequency score
    alone where it is not known what somebody paid.

    Raises:
        InputError: A score is missing from the columns, or the frequency score of a buyer is.
    """
    for column in (RECENCY, FREQUENCY, MONETARY):
        if column not in users.columns:
            raise InputError(f"user_matrix: column {column!r}", "is missing", mend="build the snapshot with it")
    recency, frequency, monetary = (
        users[column].to_numpy(np.float64, na_value=np.nan) for column in (RECENCY, FREQUENCY, MONETARY)
    )
    bought = ~np.isnan(recency)
    if (bought & np.isnan(frequency)).any():
        raise _no_frequency()
    whole = [np.nan_to_num(scores, nan=1.0).astype(np.int64) for scores in (recency, frequency)]
    # Twice the frequency score is rounded to itself.
    value = (whole[1] + np.where(np.isnan(monetary), whole[1], np.nan_to_num(monetary)).astype(np.int64) + 1) // 2
    names = np.where(bought, np.array(GRID, dtype=object)[5 - whole[0], value - 1], NO_PURCHASE)
    return pd.Series(names, index=users.index, name=RFM, dtype="str")


def rfm_segment(row: Row) -> str:
    """The segment of one user, as ``rfm_segments`` would say.

    Raises:
        InputError: A score is no number, or the frequency score of a buyer is missing.
    """
    recency, frequency, monetary = (number(column, row.get(column)) for column in (RECENCY, FREQUENCY, MONETARY))
    if recency is None:
        return NO_PURCHASE
    if frequency is None:
        raise _no_frequency()
    value = (int(frequency) + int(frequency if monetary is None else monetary) + 1) // 2
    return GRID[5 - int(recency)][value - 1]


def _no_frequency() -> InputError:
    mend = f"mask {RECENCY} together with it"
    return InputError(f"user_matrix: column {FREQUENCY!r}", f"must not be missing where {RECENCY} is known", mend=mend)


__all__ = [
    "FREQUENCY",
    "GRID",
    "MONETARY",
    "NO_PURCHASE",
    "RECENCY",
    "RFM",
    "RFM_SEGMENTS",
    "rfm_segment",
    "rfm_segments",
]
