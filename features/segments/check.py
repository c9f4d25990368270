"""Whether the parts of a tree fit together, before anything is computed with them."""

from __future__ import annotations

from features.segments.columns import Type
from features.segments.source import ExpressionError, Source
from features.segments.syntax import (
    Arithmetic,
    Column,
    Comparison,
    Junction,
    Literal,
    Negative,
    Node,
    Not,
    OneOf,
)

#: An engine reads a computed divisor twice, so each one inside another doubles the query.
MAX_DIVISORS = 3

_NOUNS = {Type.NUMBER: "a number", Type.TEXT: "a text", Type.FLAG: "a condition or a flag"}


def check(node: Node, source: Source) -> None:
    """Check all types below ``node``, the innermost first.

    Raises:
        ExpressionError: An operand is of a type that its operator does not take, or divisors are nested too deep.
    """
    _check_types(node, source)
    if _divisors(node) > MAX_DIVISORS:
        rule = f"must not have divisors inside divisors more than {MAX_DIVISORS} deep"
        raise source.error(node.at, rule, mend="multiply the divisors instead")


def _check_types(node: Node, source: Source) -> None:
    for child in node.children:
        _check_types(child, source)
    match node:
        case Negative(operand):
            _need(Type.NUMBER, operand, "-", source)
        case Arithmetic(operator, left, right):
            _need(Type.NUMBER, left, operator, source)
            _need(Type.NUMBER, right, operator, source)
        case Comparison("=" | "!=" as operator, left, right):
            _need(left.type, right, operator, source)
        case Comparison(operator, left, right):
            _need(Type.NUMBER, left, operator, source)
            _need(Type.NUMBER, right, operator, source)
        case OneOf(operand, choices):
            for choice in choices:
                _need(operand.type, choice, "in", source)
        case Not(operand):
            _need(Type.FLAG, operand, "not", source)
        case Junction(operator, operands):
            for operand in operands:
                _need(Type.FLAG, operand, operator, source)


def _need(wanted: Type, operand: Node, operator: str, source: Source) -> None:
    if operand.type is not wanted:
        raise mismatch(wanted, operand, source, f" for {operator}")


def mismatch(wanted: Type, operand: Node, source: Source, where: str = "") -> ExpressionError:
    """What to raise about a part that is not of the ``wanted`` type."""
    match operand:
        case Column(name, of):
            received = f"column {name}, {_NOUNS[of]}"
        case Literal(value):
            received = f"{value!r}, {_NOUNS[operand.type]}"
        case _:
            received = _NOUNS[operand.type]
    return source.error(operand.at, f"must be {_NOUNS[wanted]}{where}", _Plain(received), _mend(wanted, operand))


class _Plain(str):
    """Shown in messages as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _mend(wanted: Type, operand: Node) -> str:
    if wanted is Type.FLAG:
        return "compare it with something, for example with = or >"
    if operand.type is Type.TEXT:
        literal = isinstance(operand, Literal)
        return "write numbers without quotes" if literal else "texts have no order: compare them with =, != or in"
    return "put the text in quotes" if wanted is Type.TEXT else "put a number here"


def _divisors(node: Node) -> int:
    """How deep computed divisors stand inside one another."""
    inner = [_divisors(child) for child in node.children]
    if isinstance(node, Arithmetic) and node.operator == "/" and node.right.children:
        inner[1] += 1
    return max(inner, default=0)


__all__ = ["MAX_DIVISORS", "check", "mismatch"]
