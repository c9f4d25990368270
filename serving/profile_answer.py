"""What ``GET /profile`` is asked and answers: all that is known of one person, with the age of each part."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from features.schema import EventType, Purpose
from serving.contracts import Body, Id, Surface
from serving.freshness import Age


class ProfileRequest(Body):
    """Whose profile."""

    user_id: Id


class ValueAge(Age):
    """A value, and how old what it was computed from is."""

    value: float | int | str | None = Field(description="null where it is missing.")


class ConsentsNow(Age):
    """What the person consents to: what all of their ids grant that stated something."""

    granted: list[Purpose]
    stated: bool = Field(description="false if nobody has said a word, so that the defaults hold.")


class SegmentsNow(BaseModel):
    """What the person is a member of at this moment, by the rules of the bundle."""

    rfm: str = Field(description="By recency, frequency and monetary value; `no purchase` for who never bought.")
    member_of: list[str] = Field(description="Segments by rules, in the order in which they were written.")


class PlacedOrder(BaseModel):
    """An order; lines of one instant without an order id are one order."""

    order_id: str | None
    ts: int = Field(description="Of its last line.")
    lines: int
    units: int
    cents: int = Field(description="Units times unit price; a line without a price counts 0.")


class SeenEvent(BaseModel):
    """Something that the person did; of what the snapshot knew, item, type and time are kept."""

    event_type: EventType
    ts: int
    user_id: str = Field(description="The id under which it is known.")
    source: Literal["live", "snapshot"]
    item_id: str | None = None
    order_id: str | None = None
    session_id: str | None = None
    quantity: int | None = None
    unit_price_cents: int | None = None
    query: str | None = None
    properties: dict[str, Any] | None = Field(
        default=None, description="Without places, unless the person consents to them."
    )


class SeenImpression(BaseModel):
    """An item that was shown."""

    item_id: str
    ts: int
    surface: Surface
    rank: int
    level: str
    arm: str
    request_id: str


class ProfileOrigin(BaseModel):
    """Whom and what a profile is about, and what it was made from."""

    user_id: str = Field(description="As asked.")
    consents: ConsentsNow
    bundle_digest: str
    as_of_ms: int = Field(description="The snapshot's instant.")
    served_ms: int
    notes: list[str]


class RefusedProfile(ProfileOrigin):
    """Of whoever refuses personalisation: that, and that nothing is computed."""

    personalised: Literal[False] = False


class Profile(ProfileOrigin):
    """Everything known of one person."""

    personalised: Literal[True] = True
    person_id: str = Field(description="Who the id turned out to be.")
    ids: list[str] = Field(description="All ids of the person, by the merges told so far and not taken back.")
    snapshot: Age
    live: Age = Field(description="The newest view, cart or purchase since the snapshot.")
    attributes: dict[str, ValueAge]
    features: dict[str, ValueAge] = Field(
        description="Every declared user feature, from the snapshot and all events since. Scores compare with the "
        "snapshot's users and are as old as it; everything else is as old as the newest event (impression) since."
    )
    features_as_of_ms: int = Field(description="The end of the day that has begun: windows of days reach back from it.")
    segments: SegmentsNow
    orders: list[PlacedOrder] = Field(description="Newest first.")
    events: list[SeenEvent] = Field(description="Newest first.")
    impressions: list[SeenImpression] = Field(description="Newest first.")


__all__ = [
    "ConsentsNow",
    "PlacedOrder",
    "Profile",
    "ProfileOrigin",
    "ProfileRequest",
    "RefusedProfile",
    "SeenEvent",
    "SeenImpression",
    "SegmentsNow",
    "ValueAge",
]
