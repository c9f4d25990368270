"""From words to a tree: operators by binding power (Pratt, "Top down operator precedence", POPL 1973)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from features.schema import MISSING
from features.segments.columns import Schema
from features.segments.nearest import nearest
from features.segments.source import ExpressionError, Source
from features.segments.syntax import (
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
from features.segments.tokens import Token, TokenKind, tokenize

#: What may be asked of the parser and of engines: characters, and parts inside parts.
MAX_LENGTH = 10_000
MAX_DEPTH = 50

OR, AND, NOT, COMPARISON, SUM, PRODUCT, NEGATIVE = range(1, 8)
_POWERS = {
    "or": OR,
    "and": AND,
    **dict.fromkeys(("=", "!=", "<", "<=", ">", ">=", "in", "not", "is"), COMPARISON),
    **dict.fromkeys(("+", "-"), SUM),
    **dict.fromkeys(("*", "/"), PRODUCT),
}


def parse_tree(source: Source, schema: Schema) -> Node:
    """The tree of an expression over the columns of ``schema``; types are not checked yet.

    Raises:
        ExpressionError: It is too long or too deep, breaks the grammar, or names a column that there is not.
    """
    if len(source.text) > MAX_LENGTH:
        received, mend = f"{len(source.text)} characters", "split it into segments with a parent"
        raise source.error(0, f"must be at most {MAX_LENGTH} characters long", received, mend)
    return _Parser(source, schema).whole()


class _Parser:
    """Looks one token ahead."""

    def __init__(self, source: Source, schema: Schema) -> None:
        self._source, self._schema = source, schema
        self._tokens: Iterator[Token] = tokenize(source)
        self._next = next(self._tokens)
        self._nested = 0

    def whole(self) -> Node:
        node = self._expression(0)
        if self._next.kind is not TokenKind.END:
            raise self._expected("an operator or the end", "join two conditions with and, or")
        return node

    def _expression(self, floor: int) -> Node:
        """What follows, up to an operator that binds no stronger than ``floor``."""
        self._nested += 1
        self._refuse_depth(self._nested, self._next.at)
        left, compared = self._operand(floor), False
        while (power := _POWERS.get(self._next.word, 0)) > floor:
            if power == COMPARISON:
                if compared:
                    raise self._expected("and, or, or the end", "comparisons do not chain: join two of them with and")
                compared = True
            left = self._extended(left, power)
            self._refuse_depth(left.depth, left.at)
        self._nested -= 1
        return left

    def _operand(self, floor: int) -> Node:
        token = self._advance()
        match token.kind, token.text:
            case TokenKind.NUMBER, _:
                return self._number(token)
            case TokenKind.TEXT, _:
                return self._text(token)
            case TokenKind.NAME, _:
                return self._column(token)
            case TokenKind.WORD, "true" | "false":
                return Literal(token.text == "true", at=token.at)
            case TokenKind.WORD, "-":
                return Negative(self._expression(NEGATIVE), at=token.at)
            case TokenKind.WORD, "not" if floor <= NOT:
                return Not(self._expression(NOT), at=token.at)
            case TokenKind.WORD, "(":
                inside = self._expression(0)
                self._expect(")", "close the parenthesis of line {}, column {}".format(*self._source.place(token.at)))
                return inside
        raise self._misplaced(token)

    def _extended(self, left: Node, power: int) -> Node:
        """``left`` with the operator that comes next, and what belongs to that."""
        operator = self._advance()
        match operator.word:
            case "and" | "or":
                operands = [left, self._expression(power)]
                while self._next.word == operator.word:
                    self._advance()
                    operands.append(self._expression(power))
                return Junction(operator.word, tuple(operands), at=left.at)
            case "+" | "-" | "*" | "/":
                return Arithmetic(operator.word, left, self._expression(power), at=left.at)
            case "in":
                return OneOf(left, self._choices(), at=left.at)
            case "not":
                self._expect("in", "write not in (...), or put not before the condition")
                return Not(OneOf(left, self._choices(), at=left.at), at=left.at)
            case "is":
                negated = self._next.word == "not"
                if negated:
                    self._advance()
                self._expect("missing", "write is missing, is not missing, or = for a value")
                found = IsMissing(left, at=left.at)
                return Not(found, at=left.at) if negated else found
        return Comparison(operator.word, left, self._expression(power), at=left.at)

    def _choices(self) -> tuple[Literal, ...]:
        self._expect("(", 'write in ("one", "another")')
        choices = [self._choice()]
        while self._next.word == ",":
            self._advance()
            choices.append(self._choice())
        self._expect(")", "separate the choices by commas and end them with a parenthesis")
        return tuple(choices)

    def _choice(self) -> Literal:
        token = self._advance()
        match token.kind, token.text:
            case TokenKind.NUMBER, _:
                return self._number(token)
            case TokenKind.TEXT, _:
                return self._text(token)
            case TokenKind.WORD, "true" | "false":
                return Literal(token.text == "true", at=token.at)
            case TokenKind.WORD, "-" if self._next.kind is TokenKind.NUMBER:
                number = self._number(self._advance())
                return Literal(-float(number.value), at=token.at)
        mend = "a choice is a number, a quoted text, true or false"
        raise self._source.error(token.at, "must be a choice", str(token), mend)

    def _number(self, token: Token) -> Literal:
        value = float(token.text)
        if not math.isfinite(value):
            raise self._source.error(token.at, "must be at most 1.797e308", token.text)
        return Literal(value, at=token.at)

    def _text(self, token: Token) -> Literal:
        if token.text == MISSING:
            rule = f"must not be the word that stands for a missing text, {MISSING!r}"
            raise self._source.error(token.at, rule, mend="write is missing")
        return Literal(token.text, at=token.at)

    def _column(self, token: Token) -> Column:
        if token.text in self._schema:
            return Column(token.text, self._schema[token.text], at=token.at)
        if token.text.lower() in ("null", "none", "nan"):
            mend = "write is missing"
        else:
            known = nearest(token.text, self._schema)
            mend = f'did you mean {known}? A text stands in quotes: "{token.text[:40]}"' if known else ""
        raise self._source.error(token.at, "must be a known name", token.text, mend)

    def _advance(self) -> Token:
        token = self._next
        if token.kind is not TokenKind.END:
            self._next = next(self._tokens)
        return token

    def _expect(self, word: str, mend: str) -> None:
        if self._next.word != word:
            raise self._expected(word, mend)
        self._advance()

    def _expected(self, what: str, mend: str) -> ExpressionError:
        return self._source.error(self._next.at, f"must be {what}", str(self._next), mend)

    def _misplaced(self, token: Token) -> ExpressionError:
        if token.word == "not":
            mend = "put parentheses around not and its condition"
        elif token.word == "missing":
            mend = "write is missing"
        else:
            mend = "a value is a name, a number, a quoted text, true, false, or one of these after -, not or ("
        return self._source.error(token.at, "must be a value", str(token), mend)

    def _refuse_depth(self, depth: int, at: int) -> None:
        if depth > MAX_DEPTH:
            mend = "take parentheses away, or split it into segments with a parent"
            raise self._source.error(at, f"must be at most {MAX_DEPTH} parts deep", mend=mend)


__all__ = ["MAX_DEPTH", "MAX_LENGTH", "parse_tree"]
