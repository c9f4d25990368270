"""The typed tree that an expression is parsed into, checked as, and compiled from."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from features.segments.columns import Type

#: What operators are in Python and in Ibis, where both sides are known; division is guarded apart.
OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Node:
    """One part of an expression; ``at`` is its offset in the text, and no part of what it means."""

    at: int = field(compare=False, kw_only=True)

    @property
    def type(self) -> Type:
        """What its value is."""
        return Type.FLAG

    @property
    def children(self) -> tuple[Node, ...]:
        """The parts that it is made of."""
        return ()

    @cached_property
    def depth(self) -> int:
        """1 for a leaf."""
        return 1 + max((child.depth for child in self.children), default=0)


@dataclass(frozen=True)
class Column(Node):
    """The row's value in a column."""

    name: str
    of: Type

    @property
    def type(self) -> Type:
        """As the schema says."""
        return self.of


@dataclass(frozen=True)
class Literal(Node):
    """A value that stands in the text."""

    value: float | str | bool

    @property
    def type(self) -> Type:
        """As it was written."""
        if isinstance(self.value, bool):
            return Type.FLAG
        return Type.TEXT if isinstance(self.value, str) else Type.NUMBER


@dataclass(frozen=True)
class Negative(Node):
    """``-operand``."""

    operand: Node

    @property
    def type(self) -> Type:
        """A number."""
        return Type.NUMBER

    @property
    def children(self) -> tuple[Node, ...]:
        """The operand."""
        return (self.operand,)


@dataclass(frozen=True)
class _Binary(Node):
    operator: str
    left: Node
    right: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """Both sides."""
        return (self.left, self.right)


@dataclass(frozen=True)
class Arithmetic(_Binary):
    """``left operator right``, with one of ``+ - * /``."""

    @property
    def type(self) -> Type:
        """A number."""
        return Type.NUMBER


@dataclass(frozen=True)
class Comparison(_Binary):
    """``left operator right``, with one of ``= != < <= > >=``."""


@dataclass(frozen=True)
class OneOf(Node):
    """``operand in (choices)``."""

    operand: Node
    choices: tuple[Literal, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The operand and the choices."""
        return (self.operand, *self.choices)


@dataclass(frozen=True)
class IsMissing(Node):
    """``operand is missing``: always true or false."""

    operand: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The operand."""
        return (self.operand,)


@dataclass(frozen=True)
class Not(Node):
    """``not operand``."""

    operand: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The operand."""
        return (self.operand,)


@dataclass(frozen=True)
class Junction(Node):
    """All operands joined by ``and``, or all by ``or``."""

    operator: str
    operands: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The operands."""
        return self.operands


__all__ = [
    "OPERATORS",
    "Arithmetic",
    "Column",
    "Comparison",
    "IsMissing",
    "Junction",
    "Literal",
    "Negative",
    "Node",
    "Not",
    "OneOf",
]
