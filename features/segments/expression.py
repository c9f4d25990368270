"""An expression over the columns of a row: written once, computed for a whole table and for one row alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import ibis.expr.types as ir

from features.segments.batch import compile_batch
from features.segments.check import check, mismatch
from features.segments.columns import Schema, Type
from features.segments.online import Function, compile_online
from features.segments.parser import parse_tree
from features.segments.source import Source
from features.segments.syntax import Column, Node


@dataclass(frozen=True)
class Expression:
    """A parsed and checked expression; equal if the trees are, however they were written.

    A number is a 64-bit float. Whatever is computed from a missing value is missing, and so is the result of a division
    by zero and one that overflows. Conditions are true, false or missing (Kleene 1938): ``and`` is false if one side
    is, ``or`` is true if one side is, whatever the other; only ``is missing`` is always true or false.
    """

    node: Node

    @property
    def type(self) -> Type:
        """What its value is."""
        return self.node.type

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, sorted."""
        return tuple(sorted(self.schema))

    @property
    def schema(self) -> Schema:
        """The columns that it reads, with their types: all that it needs to be read again."""
        return {node.name: node.of for node in _walk(self.node) if isinstance(node, Column)}

    def ibis(self, table: ir.Table) -> ir.Value:
        """Its value for each row of ``table``: float64, string or boolean; null where it is missing.

        Raises:
            InputError: The table lacks a column, or has it in another type.
        """
        return compile_batch(self.node, table)

    def python(self) -> Function:
        """The function from one row to its value: float, str or bool; None where it is missing.

        A column that the row does not have is missing. InputError if a value is of another type than its column.
        """
        return compile_online(self.node)


def parse(text: str, schema: Schema, *, field: str = "expression", want: Type | None = None) -> Expression:
    """Read an expression.

    Args:
        text: What was written.
        schema: The columns that it may name.
        field: What errors call it.
        want: The type that its value must have.

    Raises:
        ExpressionError: It breaks the grammar, names an unknown column, mixes types, or is too long or too deep.

    >>> schema = {"purchase_recency_days": Type.NUMBER, "country": Type.TEXT}
    >>> lapsed = parse('purchase_recency_days >= 90 and country in ("DE", "FR")', schema).python()
    >>> lapsed({"purchase_recency_days": 120, "country": "DE"}), lapsed({"country": "DE"})
    (True, None)
    """
    source = Source(text, field)
    node = parse_tree(source, schema)
    check(node, source)
    if want is not None and node.type is not want:
        raise mismatch(want, node, source)
    return Expression(node)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


__all__ = ["Expression", "parse"]
