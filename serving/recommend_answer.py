"""What ``POST /recommend`` is asked and answers."""

from __future__ import annotations

from pydantic import BaseModel, Field

from serving.contracts import Attribute, Body, Id, Surface
from serving.freshness import Ages


class RecommendRequest(Body):
    """Which items to show to this user, here and now."""

    user_id: Id
    k: int = Field(10, ge=1, le=500, description="Items wanted; fewer come back where fewer are known.")
    surface: Surface = Surface.HOME
    attributes: dict[Id, Attribute] = Field({}, max_length=100, description="Demographics of a user not known yet.")
    item_id: Id | None = Field(None, description="The item that the user looks at.")
    exclude: list[Id] = Field([], max_length=1_000, description="Items that must not be shown.")


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


__all__ = ["RecommendAnswer", "RecommendRequest", "ShownItem"]
