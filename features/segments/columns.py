"""What an expression may read: the columns of a row, each a number, a text or a flag, and when a value is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from features.errors import InputError
from features.schema import MISSING


class Type(StrEnum):
    """What a value is. Numbers are 64-bit floats: whole ones are exact up to 2**53."""

    NUMBER = "number"
    TEXT = "text"
    FLAG = "flag"


#: Name of a column to the type of its values.
Schema = Mapping[str, Type]

#: One user (or item) by column name; a column that is not there is missing.
Row = Mapping[str, Any]


def schema_of(rows: pd.DataFrame | ir.Table) -> dict[str, Type]:
    """The readable columns of a frame or of an expression; dates, decimals, lists and the like are left out."""
    if isinstance(rows, pd.DataFrame):
        types = {str(name): _type_of_series(rows[name]) for name in rows.columns}
    else:
        types = {name: type_of_dtype(dtype) for name, dtype in rows.schema().items()}
    return {name: found for name, found in types.items() if found is not None}


def type_of_dtype(dtype: dt.DataType) -> Type | None:
    """The type of an engine's column, None if expressions cannot read it."""
    if dtype.is_boolean():
        return Type.FLAG
    if dtype.is_integer() or dtype.is_floating():
        return Type.NUMBER
    return Type.TEXT if dtype.is_string() else None


def _type_of_series(values: pd.Series) -> Type | None:
    if pd.api.types.is_bool_dtype(values.dtype):
        return Type.FLAG
    if pd.api.types.is_numeric_dtype(values.dtype):
        return None if pd.api.types.is_complex_dtype(values.dtype) else Type.NUMBER
    if isinstance(values.dtype, pd.CategoricalDtype):
        return None
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind in ("string", "empty"):
        return Type.TEXT
    if kind in ("integer", "floating", "mixed-integer-float"):
        return Type.NUMBER
    return Type.FLAG if kind == "boolean" else None


def number(column: str, value: Any) -> float | None:
    """A row's value as a number; None if it is missing, not finite, or too large for a float.

    Raises:
        InputError: It is something else: a flag is not a number.
    """
    if type(value) not in (int, float):  # nearly all values are
        if is_missing(value):
            return None
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            raise InputError(column, "must be a number", value)
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def text(column: str, value: object) -> str | None:
    """A row's value as a text; None if it is missing, also by the word that matrices use for that.

    Raises:
        InputError: It is something else.
    """
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise InputError(column, "must be text", value)
    return None if value == MISSING else value


def flag(column: str, value: object) -> bool | None:
    """A row's value as a flag; None if it is missing.

    Raises:
        InputError: It is something else: 0 and 1 are numbers.
    """
    if is_missing(value):
        return None
    if not isinstance(value, bool | np.bool_):
        raise InputError(column, "must be true or false", value)
    return bool(value)


def is_missing(value: object) -> bool:
    """Whether a row's value says that nothing is known."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


__all__ = ["Row", "Schema", "Type", "flag", "is_missing", "number", "schema_of", "text", "type_of_dtype"]
