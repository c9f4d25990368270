"""What the endpoint accepts and answers: every field, its limits, and the one form that all errors have.

Values are not converted: a number in quotes is an error, not a number.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from features.errors import ConflictError, InputError, StellarError
from features.schema import IDENTITY, NEEDS_ITEM, EventType
from serving.freshness import Ages
from serving.rows import LiveEvent
from serving.value_answer import PredictedValue

#: Bytes of a request's body at most.
MAX_BODY = 1024 * 1024

#: Events of one request at most.
MAX_EVENTS = 1_000

#: How far a client's clock may run ahead of the server's.
CLOCK_SKEW_MS = 60_000

#: 2000-01-01: an older time is seconds taken for milliseconds, or a clock that was never set.
EARLIEST_MS = 946_684_800_000

MAX_PROPERTIES_CHARS = 8_192


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


class RecommendRequest(Body):
    """Which items to show to this user, here and now."""

    user_id: Id
    k: int = Field(10, ge=1, le=500, description="Items wanted; fewer come back where fewer are known.")
    surface: Surface = Surface.HOME
    attributes: dict[Id, Attribute] = Field({}, max_length=100, description="Demographics of a user not known yet.")
    item_id: Id | None = Field(None, description="The item that the user looks at.")
    exclude: list[Id] = Field([], max_length=1_000, description="Items that must not be shown.")


class ProfileRequest(Body):
    """Whose profile."""

    user_id: Id


class IntentRequest(Body):
    """What this user is about to do."""

    user_id: Id
    targets: list[Id] | None = Field(None, min_length=1, max_length=100, description="Their names; all if absent.")


class PostedEvent(Body):
    """Something that a user did."""

    event_type: EventType
    user_id: Id
    item_id: Id | None = Field(None, validate_default=True, description=f"Required for {', '.join(NEEDS_ITEM)}.")
    ts: int | None = Field(None, description="UTC epoch milliseconds; the server's time if absent.")
    event_id: Id | None = Field(None, description="With it a request may be repeated safely; given out if absent.")
    anonymous_id: Id | None = Field(
        None,
        validate_default=True,
        description="Whom the shop does not know yet. Required for identify, which says that it is user_id, and for "
        "unidentify, which takes that back.",
    )
    order_id: Id | None = None
    session_id: Id | None = None
    quantity: int | None = Field(None, ge=1, le=1_000_000)
    unit_price_cents: int | None = Field(None, ge=0, le=10**12)
    query: Words | None = None
    properties: dict[Id, JsonValue] | None = None

    @field_validator("item_id")
    @classmethod
    def _item_where_needed(cls, item_id: str | None, info: ValidationInfo) -> str | None:
        event_type = info.data.get("event_type")
        if item_id is None and event_type in NEEDS_ITEM:
            raise PydanticCustomError("needs_item", f"is required for {event_type}", {"mend": "name the item"})
        return item_id

    @field_validator("anonymous_id")
    @classmethod
    def _somebody_where_needed(cls, anonymous_id: str | None, info: ValidationInfo) -> str | None:
        event_type = info.data.get("event_type")
        if anonymous_id is None and event_type in IDENTITY:
            mend = "name who is, or is not, the user"
            raise PydanticCustomError("needs_anonymous_id", f"is required for {event_type}", {"mend": mend})
        return anonymous_id

    @field_validator("ts")
    @classmethod
    def _plausible_time(cls, ts: int | None, info: ValidationInfo) -> int | None:
        now_ms: int = (info.context or {})["received_ts"]
        if ts is not None and ts > now_ms + CLOCK_SKEW_MS:
            mend = f"send UTC epoch milliseconds (it is {now_ms} now) or leave it out"
            raise PydanticCustomError("future", "must not be in the future", {"mend": mend})
        if ts is not None and ts < EARLIEST_MS:
            raise PydanticCustomError("past", "must not be before 2000", {"mend": "send milliseconds, not seconds"})
        return ts

    @field_validator("properties")
    @classmethod
    def _small_json(cls, properties: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        try:
            n_chars = len(_canonical(properties))
        except ValueError:
            raise PydanticCustomError("not_json", "must hold no NaN or Infinity", {"mend": "send null"}) from None
        if n_chars > MAX_PROPERTIES_CHARS:
            rule = f"must have at most {MAX_PROPERTIES_CHARS} characters as JSON"
            raise PydanticCustomError("too_large", rule, {"mend": "send less"})
        return properties

    def live(self, received_ts: int, new_id: str) -> LiveEvent:
        """The row to be stored, with what the client left to the server."""
        return LiveEvent(
            event_id=self.event_id or new_id,
            user_id=self.user_id,
            event_type=self.event_type,
            ts=received_ts if self.ts is None else self.ts,
            received_ts=received_ts,
            item_id=self.item_id,
            anonymous_id=self.anonymous_id,
            order_id=self.order_id,
            session_id=self.session_id,
            quantity=self.quantity,
            unit_price_cents=self.unit_price_cents,
            query=self.query,
            properties=None if self.properties is None else _canonical(self.properties),
        )


class EventBatch(Body):
    """Several events that are accepted together or not at all."""

    events: list[PostedEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class ShownItem(BaseModel):
    """One item of the answer."""

    item_id: str
    rank: int = Field(description="One-based.")
    score: float = Field(description="Sorts the items of one answer; no probability, not comparable between answers.")
    level: str = Field(description="L1 demographics, L2 behaviour, L3 preference, L4 live session, or popular.")
    reason: str


class RecommendAnswer(BaseModel):
    """Ranked items with the level and the reason of each."""

    request_id: str
    user_id: str
    surface: Surface
    items: list[ShownItem]
    bundle_digest: str
    arm: str
    as_of_ms: int = Field(description="The instant up to which the models have learned.")
    served_ms: int = Field(description="The instant at which the question was answered.")
    ages: Ages
    notes: list[str]


class EventsAnswer(BaseModel):
    """Sent once the events are committed; ids in the order of the events posted."""

    accepted: int
    duplicates: int
    event_ids: list[str]


class IntentReason(BaseModel):
    """A feature that moved a chance."""

    feature: str
    value: float | int | str | bool | None = Field(description="null where it is missing.")
    log_odds: float = Field(description="What it added to the log-odds; below 0 it lowered the chance.")


class PredictedTarget(BaseModel):
    """The chance of one target."""

    name: str
    horizon_days: float | None = Field(description="null where it is the rest of the session.")
    probability: float | None = Field(description="null where it is not right as a number for users like this one.")
    rank: float = Field(description="The share of the users it was judged on who are less likely.")
    rank_only_because: str | None = Field(description="The segment in which the calibration contract did not hold.")
    predictor: str
    reasons: list[IntentReason] = Field(description="The three strongest, strongest first.")


class NextStep(BaseModel):
    """What may come next."""

    name: str
    probability: float


class SessionNow(BaseModel):
    """The session that a user is in, after its last event."""

    started_ms: int = Field(description="Of the first of the events that were read.")
    events: int
    targets: list[PredictedTarget] = Field(
        description="What may still happen in it. A reason is one of its events, its value the number of the event."
    )
    next_event: list[NextStep] = Field(description="The likeliest types of the next event; leave if there is none.")
    next_group: list[NextStep] = Field(description="The likeliest groups of the next item, if one follows.")


class IntentAnswer(BaseModel):
    """What a user is about to do."""

    user_id: str = Field(description="As asked.")
    personalised: bool = Field(description="false of whoever refuses it: nothing is computed then.")
    targets: list[PredictedTarget]
    session: SessionNow | None = Field(description="null between sessions, and where session intent was not learned.")
    values: list[PredictedValue] = Field(description="Empty where customers' value was not learned.")
    bundle_digest: str
    model_version: int | None = Field(description="As registered; null if the bundle was served from a folder.")
    as_of_ms: int = Field(description="The snapshot's instant, at which the heads were fitted.")
    served_ms: int


class Complaint(BaseModel):
    """What is wrong and how to mend it."""

    field: str = Field(description="Path of the field, as in events.0.ts; or body, content-type, path, model, state.")
    rule: str
    received: JsonValue
    mend: str


class ErrorAnswer(BaseModel):
    """The form of every error."""

    error: Complaint


def _one_or_many(body: object) -> str:
    return "many" if isinstance(body, dict) and "events" in body else "one"


_Posted = Annotated[
    Annotated[PostedEvent, Tag("one")] | Annotated[EventBatch, Tag("many")], Discriminator(_one_or_many)
]
_POSTED: TypeAdapter[Any] = TypeAdapter(_Posted)


def parse_body(kind: type[B], body: bytes) -> B:
    """Read a body of one kind.

    Raises:
        RequestError: It is not JSON (400).
        InputError: A field breaks its rule.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _first_complaint(error) from None


def parse_profile(query: Sequence[tuple[str, str]]) -> ProfileRequest:
    """Read the names and values of the query of ``GET /profile``; InputError for what breaks a rule."""
    names = [name for name, _ in query]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(twice, "must be given once", names.count(twice), "leave the others out")
    try:
        return ProfileRequest.model_validate(dict(query))
    except ValidationError as error:
        raise _first_complaint(error) from None


def parse_events(body: bytes, received_ts: int) -> list[LiveEvent]:
    """Read the body of ``POST /events``, one event or ``{"events": [...]}``, as received at an instant; same errors."""
    try:
        posted = _POSTED.validate_json(body, context={"received_ts": received_ts})
    except ValidationError as error:
        # The path begins with the tag that says whether one event or many were read.
        raise _first_complaint(error, path_from=1) from None
    events = posted.events if isinstance(posted, EventBatch) else [posted]
    # Ids given out keep the order of the batch where its events share one instant.
    request_id = uuid.uuid4().hex
    return [event.live(received_ts, f"{request_id}-{number:04d}") for number, event in enumerate(events)]


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


def _first_complaint(error: ValidationError, path_from: int = 0) -> StellarError:
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


def _canonical(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
