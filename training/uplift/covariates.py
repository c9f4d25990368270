"""Rows about users as numbers: what uplift models read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from features.errors import InputError
from features.schema import MISSING

Matrix = NDArray[np.float32]

#: A word that fewer users have gets no column of its own.
_FEWEST_SHARE = 0.005
_MOST_WORDS = 20


@dataclass(frozen=True, slots=True)
class Covariates:
    """Which columns of a table are read, and how: numbers as they are, words as one column each of zeros and ones.

    Attributes:
        words: Column of words to the words that have a column; None for a column of numbers.
    """

    words: Mapping[str, tuple[str, ...] | None]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Self:
        """As these rows suggest; columns that hold one value only are left out, numbers written as text are numbers."""
        words: dict[str, tuple[str, ...] | None] = {}
        for name in rows:
            column = _numbers(rows[name])
            if column.nunique(dropna=False) < 2:
                continue
            if is_numeric_dtype(column):
                words[str(name)] = None
            else:
                share = column.fillna(MISSING).value_counts(normalize=True)
                kept = sorted(share[share >= _FEWEST_SHARE].index[:_MOST_WORDS])
                # Two words are one question.
                words[str(name)] = tuple(kept[1:] if len(kept) == 2 else kept)
        return cls(words)

    @property
    def names(self) -> list[str]:
        """(d,) the names of the matrix's columns."""
        return [*(f"{name}={word}" if word else name for name, words in self.words.items() for word in words or ("",))]

    def matrix(self, rows: pd.DataFrame) -> Matrix:
        """(n, d) float32, NaN for a missing number.

        Raises:
            InputError: A column is missing.
        """
        absent = [name for name in self.words if name not in rows]
        if absent:
            raise InputError("columns", "must be those that were learned from", f"none named {', '.join(absent)}")
        columns: list[NDArray[Any]] = []
        for name, words in self.words.items():
            if words is None:
                number = _numbers(rows[name])
                columns.append(pd.to_numeric(number, errors="coerce").to_numpy(np.float32, na_value=np.nan))
            else:
                told = rows[name].fillna(MISSING).to_numpy(dtype=object)
                columns += [(told == word).astype(np.float32) for word in words]
        return np.column_stack(columns) if columns else np.empty((len(rows), 0), dtype=np.float32)


def _numbers(column: pd.Series) -> pd.Series:
    """The column as numbers if each value that is known is one, else as it is."""
    if is_numeric_dtype(column):
        return column.astype("float64")
    told = column.where(column != MISSING)
    numbers = pd.to_numeric(told, errors="coerce")
    return numbers if numbers.notna().any() and bool((numbers.notna() | told.isna()).all()) else column


__all__ = ["Covariates", "Matrix"]
