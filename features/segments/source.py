"""The text of an expression, and errors that point into it."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import ConfigError


class ExpressionError(ConfigError):
    """An expression that cannot be used, with the place of the first thing that is wrong.

    Attributes:
        line: 1-based.
        column: 1-based, in characters.
    """

    def __init__(self, source: Source, at: int, rule: str, received: object = None, mend: str = "") -> None:
        self.line, self.column = source.place(at)
        super().__init__(f"{source.field} at line {self.line}, column {self.column}", rule, received, mend)


@dataclass(frozen=True, slots=True)
class Source:
    """What was written, and the name that the caller knows it by: ``segments.lapsed.where``."""

    text: str
    field: str

    def place(self, at: int) -> tuple[int, int]:
        """Line and column of the character at offset ``at``."""
        return self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)

    def error(self, at: int, rule: str, received: object = None, mend: str = "") -> ExpressionError:
        """What to raise about the character at offset ``at``."""
        return ExpressionError(self, at, rule, received, mend)


__all__ = ["ExpressionError", "Source"]
