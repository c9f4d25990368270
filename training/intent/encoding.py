"""A data frame as a matrix of numbers, the same way in training and in serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from features.errors import InputError
from training.intent.predictor import Matrix

MAX_LEVELS = 32

#: What numbers are told as, and None for missing.
_PLAIN = {int, float, bool, type(None)}

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Encoded:
    """How one column is encoded: a number or flag as it is, or one 0/1 column per level, ``other`` and ``missing``."""

    column: str
    kind: str
    levels: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the matrix columns that it becomes."""
        if self.kind != "levels":
            return [self.column]
        return [f"{self.column}={level}" for level in self.levels] + [f"{self.column}:other", f"{self.column}:missing"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where single values go: how the encoder reads one row without looking at its columns again.

    Attributes:
        numbers: Columns of numbers and flags.
        places: (numbers,) int64: their matrix columns.
        levels: Of each other column the matrix column by level, those of ``other`` and of ``missing``.
        width: Of the matrix.
    """

    numbers: tuple[str, ...]
    places: NDArray[np.int64]
    levels: tuple[tuple[str, Mapping[str, int], int, int], ...]
    width: int


@dataclass(frozen=True)
class Encoder:
    """Numbers pass, with NaN for missing; booleans are 0 or 1; text and categories are one-hot.

    >>> frame = pd.DataFrame({"pages": [3, 4], "device": ["phone", None]})
    >>> Encoder.fit(frame).names
    ['pages', 'device=phone', 'device:other', 'device:missing']
    """

    columns: tuple[Encoded, ...]

    @classmethod
    def fit(cls, frame: pd.DataFrame) -> Self:
        """Learn kinds and levels; of more than 32 levels the most frequent are kept, ties by name.

        Raises:
            InputError: No columns, equal names, or a column that is neither number, boolean, text nor category.
        """
        if not len(frame.columns) or not frame.columns.is_unique:
            raise InputError("frame", "must have columns with different names", list(frame.columns))
        return cls(tuple(_learnt(str(name), frame[name]) for name in frame.columns))

    @property
    def names(self) -> list[str]:
        """(d,) names of the matrix columns."""
        return [name for column in self.columns for name in column.names]

    @property
    def sources(self) -> list[str]:
        """(d,) the data frame's column that each matrix column comes from."""
        return [column.column for column in self.columns for _ in column.names]

    def transform(self, frame: pd.DataFrame) -> Matrix:
        """(n, d) float32; columns that were not there in training are left out, unseen levels are ``other``.

        Raises:
            InputError: A column is missing, or what was a number no longer is.
        """
        absent = [column.column for column in self.columns if column.column not in frame.columns]
        if absent:
            raise InputError(absent[0], "must be among the columns", list(frame.columns), "encode what was learnt from")
        parts = [_encoded(column, frame[column.column]) for column in self.columns]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def transform_one(self, row: Mapping[str, Any]) -> Matrix:
        """(1, d) float32 of one row given as values by column, None for missing: equal to ``transform``, and faster.

        Raises:
            InputError: A column is missing, or what was a number no longer is.
        """
        plan = self._plan
        x = np.zeros((1, plan.width), dtype=np.float32)
        try:
            x[0, plan.places] = _numbers_of_one(plan.numbers, [row[name] for name in plan.numbers])
            for name, places, other, missing in plan.levels:
                x[0, missing if _is_missing(value := row[name]) else places.get(str(value), other)] = 1
        except KeyError as absent:
            name = str(absent.args[0])
            raise InputError(name, "must be among the columns", None, "encode what was learnt from") from None
        return x

    @cached_property
    def _plan(self) -> _Plan:
        numbers, levels, width = [], [], 0
        for column in self.columns:
            if column.kind == "levels":
                places = {level: width + place for place, level in enumerate(column.levels)}
                levels.append((column.column, places, width + len(places), width + len(places) + 1))
            else:
                numbers.append((column.column, width))
            width += len(column.names)
        at = np.array([place for _, place in numbers], dtype=np.int64)
        return _Plan(tuple(name for name, _ in numbers), at, tuple(levels), width)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for ``json.dumps``."""
        return [{"column": c.column, "kind": c.kind, "levels": list(c.levels)} for c in self.columns]

    @classmethod
    def from_json(cls, stored: list[dict[str, Any]]) -> Self:
        """What ``to_json`` gave."""
        return cls(tuple(Encoded(each["column"], each["kind"], tuple(each["levels"])) for each in stored))


def _learnt(name: str, values: pd.Series) -> Encoded:
    if types.is_bool_dtype(values):
        return Encoded(name, "flag")
    if types.is_numeric_dtype(values) and not types.is_complex_dtype(values):
        _numbers(name, values)
        return Encoded(name, "number")
    if isinstance(values.dtype, pd.CategoricalDtype) or types.is_string_dtype(values) or _texts(values):
        counts = values.dropna().astype(str).value_counts()
        ordered = sorted(counts.index, key=lambda level: (-int(counts[level]), level))
        return Encoded(name, "levels", tuple(sorted(ordered[:MAX_LEVELS])))
    raise InputError(name, "must be numbers, booleans, text or categories", values.dtype, "convert or leave it out")


def _texts(values: pd.Series) -> bool:
    return values.dtype == object and all(isinstance(value, str) for value in values.dropna())


def _encoded(column: Encoded, values: pd.Series) -> np.ndarray:
    if column.kind != "levels":
        return _numbers(column.column, values)[:, None]
    missing = values.isna().to_numpy()
    text = values.astype(object).where(~missing, "").astype(str).to_numpy(dtype=object)
    parts = [(text == level) & ~missing for level in column.levels]
    other = ~missing & ~np.isin(text, np.array(column.levels, dtype=object))
    return np.stack([*parts, other, missing], axis=1).astype(np.float64)


def _numbers_of_one(names: Sequence[str], values: list[Any]) -> NDArray[np.float64]:
    """(columns,) float64 of one row's values."""
    if not {type(value) for value in values} <= _PLAIN:
        for name, value in zip(names, values, strict=True):
            if not _is_missing(value) and not isinstance(value, int | float | np.number | np.bool_):
                raise InputError(name, "must be a number as in training", type(value).__name__)
        values = [None if _is_missing(value) else value for value in values]
    numbers = np.array(values, dtype=np.float64)
    if len(far := np.flatnonzero(np.abs(numbers) > _LARGEST)):
        rule = "must be finite and within single precision"
        raise InputError(names[far[0]], rule, float(numbers[far[0]]))
    return numbers


def _is_missing(value: Any) -> bool:
    # Asked of every text of every request: ``pd.isna`` alone takes longer than the rest.
    return value is None or (type(value) is not str and bool(pd.isna(value)))


def _numbers(name: str, values: pd.Series) -> np.ndarray:
    try:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise InputError(name, "must be a number as in training", values.dtype) from None
    if (np.abs(numbers) > _LARGEST).any():
        raise InputError(name, "must be finite and within single precision", float(np.nanmax(np.abs(numbers))))
    return numbers


__all__ = ["MAX_LEVELS", "Encoded", "Encoder"]
