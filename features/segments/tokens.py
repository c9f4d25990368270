"""From characters to the words of the language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from features.segments.source import Source


class TokenKind(StrEnum):
    """What a token is, as errors call it."""

    NUMBER = "number"
    TEXT = "text"
    NAME = "name"
    WORD = "word"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """One word at offset ``at``; ``text`` is without quotes, a keyword's is lower case."""

    kind: TokenKind
    text: str
    at: int

    @property
    def word(self) -> str:
        """The keyword or symbol, empty for anything else."""
        return self.text if self.kind is TokenKind.WORD else ""

    def __str__(self) -> str:
        return "the end" if self.kind is TokenKind.END else self.text


KEYWORDS = frozenset(("and", "or", "not", "in", "is", "missing", "true", "false"))

#: How other languages write it, and what to write here.
FOREIGN = {
    "==": "=",
    "<>": "!=",
    "!": "not",
    "&": "and",
    "&&": "and",
    "|": "or",
    "||": "or",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
}

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    | (?P<text>"(?:[^"\n]|"")*"|'(?:[^'\n]|'')*')
    | (?P<quoted>`[^`\n]+`)
    | (?P<name>[^\W\d][\w.:]*)
    | (?P<foreign>==|<>|&&?|\|\|?|!(?!=)|[≤≥≠])
    | (?P<symbol><=|>=|!=|[-+*/=<>(),])
    """,
    re.VERBOSE,
)
_CLINGING = re.compile(r"[\w.:]*")


def tokenize(source: Source) -> Iterator[Token]:
    """The tokens of the text, the last of kind ``END``.

    Raises:
        ExpressionError: A character, number or quote that the language does not have.
    """
    at = 0
    while at < len(source.text):
        match = _TOKEN.match(source.text, at)
        if match is None:
            raise _unreadable(source, at)
        token = _token(source, match)
        if token is not None:
            yield token
        at = match.end()
    yield Token(TokenKind.END, "", at)


def _token(source: Source, match: re.Match[str]) -> Token | None:
    written, at = match.group(), match.start()
    match match.lastgroup:
        case "space":
            return None
        case "foreign":
            raise source.error(at, "must be an operator of this language", written, f"write {FOREIGN[written]}")
        case "number":
            if clinging := _CLINGING.match(source.text, match.end()).group():  # type: ignore[union-attr]
                mend = "put a space after the number; a name that begins with a digit stands in backquotes"
                raise source.error(at, "must be a number", written + clinging, mend)
            return Token(TokenKind.NUMBER, written, at)
        case "text":
            quote = written[0]
            return Token(TokenKind.TEXT, _encodable(source, written[1:-1].replace(quote * 2, quote), at), at)
        case "quoted":
            return Token(TokenKind.NAME, written[1:-1], at)
        case "name" if written.lower() not in KEYWORDS:
            return Token(TokenKind.NAME, written, at)
        case _:
            return Token(TokenKind.WORD, written.lower(), at)


def _encodable(source: Source, text: str, at: int) -> str:
    """Half a surrogate pair and NUL are no text to an engine."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise source.error(at, "must be Unicode text without NUL", ascii(text), "remove that character")
    return text


def _unreadable(source: Source, at: int) -> Exception:
    character = source.text[at]
    if character in "\"'":
        mend = f"end the text with {character}; inside it, write {character} twice"
        return source.error(at, "must end on its line", source.text[at:].split("\n")[0], mend)
    if character == "`":
        return source.error(at, "must be a name between two backquotes", mend="end the name with `")
    mend = "put texts in quotes, and names with other characters than letters, digits, _, . and : in backquotes"
    return source.error(at, "must be a character of this language", character, mend)


__all__ = ["FOREIGN", "KEYWORDS", "Token", "TokenKind", "tokenize"]
