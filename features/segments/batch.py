"""A tree as an expression of the query engine, for all rows of a table at once.

Whatever the engine does about infinity, NaN and division by zero must not show. A value that is not finite cannot
become finite again by ``+``, ``-``, ``*`` or as a numerator, so it is enough to look where it could: at divisors, at
comparisons and at the result.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from features.errors import InputError
from features.schema import MISSING
from features.segments.columns import Type, type_of_dtype
from features.segments.syntax import (
    OPERATORS,
    Arithmetic,
    Column,
    Comparison,
    IsMissing,
    Junction,
    Literal,
    Negative,
    Node,
    Not,
    OneOf,
)

#: The finite floats, without their signs and zero.
SMALLEST, LARGEST = 5e-324, 1.7976931348623157e308

_JOIN: Mapping[str, Callable[[Any, Any], Any]] = {"and": operator.and_, "or": operator.or_}
_DTYPES = {Type.NUMBER: "float64", Type.TEXT: "string", Type.FLAG: "boolean"}


def compile_batch(node: Node, table: ir.Table) -> ir.Value:
    """The value of ``node`` for each row of ``table``: float64, string or boolean, null where it is missing.

    Raises:
        InputError: The table lacks a column, or it is of another type than the expression was checked against.
    """
    value = _compile(node, table)
    if node.type is not Type.NUMBER or isinstance(node, Literal):
        return value
    if isinstance(node, Column) and table[node.name].type().is_integer():
        return value
    return ibis.cases((value.abs() <= _literal(LARGEST), value))


def _compile(node: Node, table: ir.Table) -> Any:
    match node:
        case Column():
            return _column(node, table)
        case Literal(value):
            return _literal(value)
        case Negative(operand):
            return -_compile(operand, table)
        case Arithmetic("/", left, right):
            return _compile(left, table) / _divisor(_compile(right, table))
        case Arithmetic(symbol, left, right):
            return OPERATORS[symbol](_compile(left, table), _compile(right, table))
        case Comparison(symbol, left, right):
            return OPERATORS[symbol](_operand(left, table), _operand(right, table))
        case OneOf(operand, choices):
            return compile_batch(operand, table).isin([_literal(choice.value) for choice in choices])
        case IsMissing(operand):
            return _operand(operand, table).isnull()
        case Not(operand):
            return ~_compile(operand, table)
        case Junction(symbol, operands):
            return _balanced(_JOIN[symbol], [_compile(operand, table) for operand in operands])
    raise AssertionError(f"no batch form of {type(node).__name__}")


def _operand(node: Node, table: ir.Table) -> Any:
    """A side of a comparison. A condition there stands in a call, as Ibis writes NOT, IN and IS without parentheses."""
    value = compile_batch(node, table)
    return ibis.coalesce(value, ibis.null("boolean")) if node.type is Type.FLAG and node.children else value


def _column(node: Column, table: ir.Table) -> ir.Value:
    if node.name not in table.columns:
        mend = "compute it, or read the expression against the columns that there are"
        raise InputError(f"column {node.name!r}", "is missing from the table", mend=mend)
    values = table[node.name]
    if values.type().is_null():
        return values.cast(_DTYPES[node.type])
    if type_of_dtype(values.type()) is not node.type:
        raise InputError(f"column {node.name!r}", f"must be a {node.type}", values.type())
    if node.type is Type.NUMBER:
        return values.cast("float64")
    return values.nullif(MISSING) if node.type is Type.TEXT else values


def _literal(value: float | str | bool) -> Any:
    if isinstance(value, float):
        # As text, since engines read 0.1 as a decimal, and not every decimal as the nearest float.
        return ibis.literal(repr(value)).cast("float64")
    if isinstance(value, str):
        # Cut inside each ${, since Spark would put a setting's value in place of ${name}.
        parts = value.replace("${", "$\0{").split("\0")
        return reduce(operator.add, (ibis.literal(part) for part in parts))
    return ibis.literal(value)


def _divisor(value: Any) -> Any:
    """``value``, or null where it is zero or not finite."""
    return ibis.cases((value.abs().between(_literal(SMALLEST), _literal(LARGEST)), value))


def _balanced(join: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    """All values joined in pairs, the pairs in pairs, and so on: engines dislike deep trees."""
    while len(values) > 1:
        pairs = [join(*values[at : at + 2]) for at in range(0, len(values) - 1, 2)]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]


__all__ = ["compile_batch"]
