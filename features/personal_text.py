"""Everything personal inside one value, plain text or JSON, shown to a handler that says what shall stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from features.personal_kinds import KINDS, PersonalKind, finds, kind_by_name, shape, words_of


@dataclass(frozen=True, slots=True)
class Find:
    """Something that looks personal.

    Attributes:
        kind: Of personal data.
        place: The column, or ``column.member`` inside JSON content.
        text: What was found.
        valid: Whether it passes the kind's own check.
        by_name: Whether it is the whole value of a member whose name says so.
    """

    kind: PersonalKind
    place: str
    text: str
    valid: bool
    by_name: bool = False


#: What shall stand in place of a find; None for nothing.
Handler = Callable[[Find], str | None]


def handled(text: str, column: str, handle: Handler, kinds: tuple[PersonalKind, ...] = KINDS) -> str | None:
    """The value of a column with every find replaced by what ``handle`` answers.

    Args:
        text: As it stands in the column; objects and arrays of JSON are searched member by member, names included.
        kinds: Only these are looked for.

    Returns:
        The very same text if nothing was replaced by something else; None if nothing is left.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return _in_text(text, column, handle, kinds)
    try:
        content = json.loads(text)
        after = _in_json(content, column, handle, kinds)
    except (ValueError, RecursionError):
        return _in_text(text, column, handle, kinds)
    return text if after == content else json.dumps(after)


def _in_text(text: str, place: str, handle: Handler, kinds: tuple[PersonalKind, ...]) -> str | None:
    words, before = words_of(place), text
    for kind in kinds:
        if kind.certain is not None and kind.applies_under(words):

            def answer(match: re.Match[str], kind: PersonalKind = kind) -> str:
                return handle(Find(kind, place, match[0], kind.valid(match[0]))) or ""

            text = kind.certain.sub(answer, text)
    return before if text == before else text.strip() or None


def _in_json(value: Any, place: str, handle: Handler, kinds: tuple[PersonalKind, ...]) -> Any:
    if isinstance(value, dict):
        members = (_member(name, inner, place, handle, kinds) for name, inner in value.items())
        return {name: inner for name, inner in members if name is not None}
    if isinstance(value, list):
        return [_in_json(inner, place, handle, kinds) for inner in value]
    if isinstance(value, bool) or value is None:
        return value
    text = value if isinstance(value, str) else str(value)
    after = _in_text(text, place, handle, kinds)
    return value if after == text else after


def _member(
    name: str, value: Any, place: str, handle: Handler, kinds: tuple[PersonalKind, ...]
) -> tuple[str | None, Any]:
    """The member as it shall be; None for a name if it shall not be there."""
    # The name of a member may be somebody's address: it must not be told in messages either.
    inside = f"{place}.{shape(name) if any(finds(name)) else name}"
    new_name = _in_text(name, place, handle, kinds)
    kind = kind_by_name(inside)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    if kind is None or value is None or isinstance(value, bool) or not kind.could_be(text):
        return new_name, _in_json(value, inside, handle, kinds)
    after = handle(Find(kind, inside, text, valid=True, by_name=True))
    return (None, None) if after is None else (new_name, value if after == text else after)


__all__ = ["Find", "Handler", "handled"]
