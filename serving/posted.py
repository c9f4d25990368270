"""What ``POST /events`` is sent and answers: one event, or many that are accepted together."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

from pydantic import (
    BaseModel,
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

from features.schema import IDENTITY, NEEDS_ITEM, EventType
from serving.contracts import Body, Id, Words, first_complaint
from serving.rows import LiveEvent

#: Events of one request at most.
MAX_EVENTS = 1_000

#: How far a client's clock may run ahead of the server's.
CLOCK_SKEW_MS = 60_000

#: 2000-01-01: an older time is seconds taken for milliseconds, or a clock that was never set.
EARLIEST_MS = 946_684_800_000

MAX_PROPERTIES_CHARS = 8_192


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


class EventsAnswer(BaseModel):
    """Sent once the events are committed; ids in the order of the events posted."""

    accepted: int
    duplicates: int
    event_ids: list[str]


def _one_or_many(body: object) -> str:
    return "many" if isinstance(body, dict) and "events" in body else "one"


_Posted = Annotated[
    Annotated[PostedEvent, Tag("one")] | Annotated[EventBatch, Tag("many")], Discriminator(_one_or_many)
]
_POSTED: TypeAdapter[Any] = TypeAdapter(_Posted)


def parse_events(body: bytes, received_ts: int) -> list[LiveEvent]:
    """Read the body of ``POST /events``, one event or ``{"events": [...]}``, as received at an instant; same errors."""
    try:
        posted = _POSTED.validate_json(body, context={"received_ts": received_ts})
    except ValidationError as error:
        # The path begins with the tag that says whether one event or many were read.
        raise first_complaint(error, path_from=1) from None
    events = posted.events if isinstance(posted, EventBatch) else [posted]
    # Ids given out keep the order of the batch where its events share one instant.
    request_id = uuid.uuid4().hex
    return [event.live(received_ts, f"{request_id}-{number:04d}") for number, event in enumerate(events)]


def _canonical(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


__all__ = ["CLOCK_SKEW_MS", "EARLIEST_MS", "MAX_EVENTS", "EventBatch", "EventsAnswer", "PostedEvent", "parse_events"]
