"""A tree as a function of one row, with the result that the query engine gives for it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from features.segments.columns import Row, Type, flag, number, text
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

#: One row to the value of an expression; None if it is missing, or if a condition's truth is not known.
Function = Callable[[Row], Any]

_READ: Mapping[Type, Callable[[str, object], Any]] = {Type.NUMBER: number, Type.TEXT: text, Type.FLAG: flag}


def compile_online(node: Node) -> Function:
    """The function that computes ``node`` from a row; InputError for a value of another type than the column's."""
    match node:
        case Column(name, of):
            read = _READ[of]
            return lambda row: read(name, row.get(name))
        case Literal(value):
            return lambda row: value
        case Negative(operand):
            return _of_one(operator.neg, compile_online(operand))
        case Arithmetic(symbol, left, right):
            compute = _quotient if symbol == "/" else OPERATORS[symbol]
            return _of_two(_finite(compute), compile_online(left), compile_online(right))
        case Comparison(symbol, left, right):
            return _of_two(OPERATORS[symbol], compile_online(left), compile_online(right))
        case OneOf(operand, choices):
            values = frozenset(choice.value for choice in choices)
            return _of_one(lambda found: found in values, compile_online(operand))
        case IsMissing(operand):
            inner = compile_online(operand)
            return lambda row: inner(row) is None
        case Not(operand):
            return _of_one(operator.not_, compile_online(operand))
        case Junction(symbol, operands):
            return _junction([compile_online(operand) for operand in operands], decisive=symbol == "or")
    raise AssertionError(f"no online form of {type(node).__name__}")


def _of_one(compute: Callable[[Any], Any], operand: Function) -> Function:
    """``compute`` of the operand, None if that is."""

    def function(row: Row) -> Any:
        value = operand(row)
        return None if value is None else compute(value)

    return function


def _of_two(compute: Callable[[Any, Any], Any], left: Function, right: Function) -> Function:
    """``compute`` of both operands, None if one of them is."""

    def function(row: Row) -> Any:
        one, other = left(row), right(row)
        return None if one is None or other is None else compute(one, other)

    return function


def _finite(compute: Callable[[float, float], float]) -> Callable[[float, float], float | None]:
    """``compute``, but None if the result is infinite or no number."""

    def function(one: float, other: float) -> float | None:
        value = compute(one, other)
        return value if math.isfinite(value) else None

    return function


def _quotient(one: float, other: float) -> float:
    return one / other if other else math.nan


def _junction(operands: list[Function], *, decisive: bool) -> Function:
    """One operand that is ``decisive`` decides; else one that is not known leaves it open."""

    def function(row: Row) -> bool | None:
        unknown = False
        for operand in operands:
            value = operand(row)
            if value is decisive:
                return decisive
            unknown = unknown or value is None
        return None if unknown else not decisive

    return function


__all__ = ["Function", "compile_online"]
