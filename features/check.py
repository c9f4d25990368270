"""Rows as they came from a file against the contract: parsed, checked with pandera, and told which rule they break."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandera.errors import SchemaErrors

from features.contracts import ARROW_TYPES, PANDAS_TYPES, Contract, Kind
from features.engine import to_frame

#: Position of a row, and the rule it breaks: the field, the reason, and what the field held.
BREACHES = pa.schema(
    [("position", pa.int64()), ("field", pa.string()), ("reason", pa.string()), ("received", pa.string())]
)

Mask = NDArray[np.bool_]

#: Column name to its values as text, None for a column that is not there.
Texts = dict[str, pa.ChunkedArray | None]


def check(contract: Contract, rows: pa.Table, now_ms: int) -> tuple[pa.Table, pa.Table]:
    """Parse and check rows as they came from a file.

    Args:
        contract: Of the table that the rows belong to.
        rows: Contract columns of any type (text for CSV); whatever else is there is taken for text attributes.
        now_ms: What "in the future" is measured against.

    Returns:
        All rows with the types of ``Contract.arrow_schema``, with nothing where a value could not be parsed; and a
        table ``BREACHES`` with one row for each that must be rejected, naming the first rule that it breaks.
    """
    attributes = [name for name in rows.column_names if name not in contract.columns]
    names = [*contract.columns, *attributes]
    texts: Texts = {name: _text(rows[name]) if name in rows.column_names else None for name in names}
    parsed, broken = dict(texts), {}
    for column in contract.fields:
        text = texts[column.name]
        if text is None:
            parsed[column.name] = pa.nulls(len(rows), ARROW_TYPES[column.kind])
        elif column.kind is not Kind.TEXT:
            values = _PARSERS[column.kind](rows[column.name])
            parsed[column.name] = values
            broken[column.of_kind.reason] = pc.and_(pc.is_valid(text), pc.is_null(values)).to_numpy()
    table = pa.table(parsed, contract.arrow_schema(attributes))
    broken |= _broken_by_value(contract, table, now_ms)
    return table, _first_breaches(contract, broken, texts, len(rows))


def _broken_by_value(contract: Contract, table: pa.Table, now_ms: int) -> dict[str, Mask]:
    frame = to_frame(table.select(contract.columns))
    frame = frame.astype({column.name: PANDAS_TYPES[column.kind] for column in contract.fields})
    try:
        contract.schema(now_ms).validate(frame, lazy=True)
    except SchemaErrors as errors:
        # Missing values are absent from the output of a check that ignores them.
        return {
            error.check.error: ~error.check_output.reindex(frame.index, fill_value=True).to_numpy(dtype=bool)
            for error in errors.schema_errors
        }
    return {}


def _first_breaches(contract: Contract, broken: dict[str, Mask], texts: Texts, n: int) -> pa.Table:
    unblamed = np.ones(n, dtype=bool)
    tables = [BREACHES.empty_table()]
    for rule in contract.rules():
        positions = np.flatnonzero(broken.get(rule.reason, ~unblamed) & unblamed)
        if len(positions):
            unblamed[positions] = False
            text = texts[rule.field]
            received = pa.nulls(len(positions), pa.string()) if text is None else text.take(positions)
            field, reason = (pa.array([value] * len(positions)) for value in (rule.field, rule.reason))
            tables.append(pa.table([pa.array(positions), field, reason, received], schema=BREACHES))
    return pa.concat_tables(tables).sort_by("position")


_NO_TEXT, _NO_NUMBER, _NO_FLAG = (pa.scalar(None, kind) for kind in (pa.string(), pa.float64(), pa.bool_()))


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """As text; empty is missing, so that CSV and Parquet mean the same."""
    text = pc.cast(values, pa.string())
    return pc.if_else(pc.equal(text, ""), _NO_TEXT, text)


def _integers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_integer(values.type):
        return pc.cast(values, pa.int64(), safe=False)
    if pa.types.is_floating(values.type):
        exact = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**53))
        return pc.cast(pc.if_else(exact, values, pa.scalar(None, values.type)), pa.int64())
    text = pc.utf8_trim_whitespace(_text(values))
    # Tools that have no missing integers write 3.0 for 3; more than 18 digits would not fit into int64.
    whole = pc.match_substring_regex(text, r"^[+-]?[0-9]{1,18}(\.0*)?$")
    digits = pc.replace_substring_regex(text, r"^\+|\.0*$", "")
    return pc.cast(pc.if_else(whole, digits, _NO_TEXT), pa.int64())


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        text = pc.utf8_trim_whitespace(_text(values))
        number = pc.match_substring_regex(text, r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$")
        values = pc.if_else(number, pc.replace_substring_regex(text, r"^\+", ""), _NO_TEXT)
    numbers = pc.cast(values, pa.float64(), safe=False)
    return pc.if_else(pc.is_finite(numbers), numbers, _NO_NUMBER)


def _flags(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_boolean(values.type):
        return values
    text = pc.utf8_lower(pc.utf8_trim_whitespace(_text(values)))
    yes = pc.is_in(text, pa.array(["true", "1"]))
    known = pc.or_(yes, pc.is_in(text, pa.array(["false", "0"])))
    return pc.if_else(known, yes, _NO_FLAG)


_PARSERS = {Kind.INTEGER: _integers, Kind.NUMBER: _numbers, Kind.FLAG: _flags}


__all__ = ["BREACHES", "check"]
