"""What all endpoints share: what comes in is read strictly, and all errors have one form.

Values are not converted: a number in quotes is an error, not a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from features.errors import ConflictError, InputError, StellarError

#: Bytes of a request's body at most.
MAX_BODY = 1024 * 1024


class RequestError(StellarError):
    """A request refused for its form, with the HTTP status that says so."""

    def __init__(self, status: int, field: str, rule: str, received: object = None, mend: str = "") -> None:
        super().__init__(field, rule, received, mend)
        self.status = status


class Surface(StrEnum):
    """Where in the shop the items are shown."""

    HOME = "home"
    ITEM_PAGE = "item_page"
    CART = "cart"
    BESTSELLERS = "bestsellers"
    RECENTLY_VIEWED = "recently_viewed"
    EMAIL = "email"


# Control characters are in no sane id, and some databases refuse them.
Id = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Words = Annotated[str, Field(max_length=1024, pattern=r"^[^\x00]*$")]
Attribute = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]


class Body(BaseModel):
    """Base of all that comes in."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


B = TypeVar("B", bound=Body)


class Complaint(BaseModel):
    """What is wrong and how to mend it."""

    field: str = Field(description="Path of the field, as in events.0.ts; or body, content-type, path, model, state.")
    rule: str
    received: JsonValue
    mend: str


class ErrorAnswer(BaseModel):
    """The form of every error."""

    error: Complaint


def parse_body(kind: type[B], body: bytes) -> B:
    """Read a body of one kind.

    Raises:
        RequestError: It is not JSON (400).
        InputError: A field breaks its rule.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise first_complaint(error) from None


def parse_query(kind: type[B], query: Sequence[tuple[str, str]]) -> B:
    """Read the names and values of a query of one kind; InputError for what breaks a rule."""
    names = [name for name, _ in query]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(twice, "must be given once", names.count(twice), "leave the others out")
    try:
        return kind.model_validate(dict(query))
    except ValidationError as error:
        raise first_complaint(error) from None


def status_of(error: StellarError) -> int:
    """The HTTP status for an error that a caller can mend; 503 where only the operator can."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, InputError):
        return 422
    return 409 if isinstance(error, ConflictError) else 503


def error_answer(error: StellarError) -> ErrorAnswer:
    """The error in the form of all errors."""
    received = _presentable(error.received)
    return ErrorAnswer(error=Complaint(field=error.field, rule=error.rule, received=received, mend=error.mend))


#: Rule and mend by pydantic's name of the mistake; braces are filled from the limits that pydantic reports.
_RULES = {
    "missing": ("is required", "add it"),
    "extra_forbidden": ("is not a known key", "remove it or correct its spelling"),
    "string_type": ("must be a string", "put it in double quotes"),
    "string_too_short": ("must have at least {min_length} character", "fill it in"),
    "string_too_long": ("must have at most {max_length} characters", "shorten it"),
    "string_pattern_mismatch": ("must hold no control characters", "remove them"),
    "int_type": ("must be an integer", "send a whole number without quotes"),
    "greater_than_equal": ("must be at least {ge}", "raise it"),
    "less_than_equal": ("must be at most {le}", "lower it"),
    "too_short": ("must have at least {min_length} entry", "send some"),
    "too_long": ("must have at most {max_length} entries", "send fewer at once"),
    "enum": ("must be one of {expected}", "choose one of these"),
    "dict_type": ("must be an object", "put it in braces"),
    "model_type": ("must be an object", "put it in braces"),
    "list_type": ("must be an array", "put it in brackets"),
}


def first_complaint(error: ValidationError, path_from: int = 0) -> StellarError:
    """The first of pydantic's complaints as ours; the path of its field without the first ``path_from`` steps."""
    first = error.errors(include_url=False)[0]
    kind, limits = first["type"], first.get("ctx", {})
    if kind == "json_invalid":
        return RequestError(400, "body", f"must be JSON ({limits['error']})", mend="send one JSON object in UTF-8")
    path = ".".join(str(part) for part in first["loc"][path_from:] if part != "[key]")
    received = None if kind == "missing" else first["input"]
    if kind not in _RULES:
        return InputError(path or "body", first["msg"], received, limits.get("mend", "see /openapi.json"))
    rule, mend = _RULES[kind]
    return InputError(path or "body", rule.format(**limits), received, mend)


def _presentable(value: object) -> JsonValue:
    """Something short that is JSON, whatever came in."""
    if isinstance(value, list | dict):
        return f"{'array' if isinstance(value, list) else 'object'} of {len(value)}"
    if value is None or isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 2**63):
        return value
    text = str(value)
    return text if len(text) <= 120 else text[:119] + "…"
