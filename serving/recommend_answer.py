"""What ``POST /recommend`` is asked and answers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from serving.contracts import Attribute, Body, Id, Surface
from serving.freshness import Ages

#: Items wanted where neither ``k`` nor candidates say how many.
DEFAULT_K = 10


class RecommendRequest(Body):
    """Which items to show to this user, here and now."""

    user_id: Id
    k: int | None = Field(
        None,
        ge=1,
        le=500,
        description=f"Items wanted; fewer come back where fewer are known. If absent, all candidates or {DEFAULT_K}.",
    )
    surface: Surface = Surface.HOME
    attributes: dict[Id, Attribute] = Field({}, max_length=100, description="Demographics of a user not known yet.")
    item_id: Id | None = Field(None, description="The item that the user looks at.")
    exclude: list[Id] = Field([], max_length=1_000, description="Items that must not be shown.")
    candidates: list[Id] | None = Field(
        None, min_length=1, max_length=500, description="Only these are ranked; the whole catalogue if absent."
    )

    @property
    def wanted(self) -> int:
        """``k``, or what it is where it was left out."""
        if self.k is not None:
            return self.k
        return DEFAULT_K if self.candidates is None else len(self.candidates)


class ShownItem(BaseModel):
    """One item of the answer."""

    item_id: str
    rank: int = Field(description="One-based.")
    score: float = Field(description="Sorts the items of one answer; no probability, not comparable between answers.")
    level: str = Field(description="L1 demographics, L2 behaviour, L3 preference, L4 live session, or popular.")
    reason: str


class Unranked(StrEnum):
    """Why a candidate is not ranked."""

    UNKNOWN = "unknown"
    UNAVAILABLE = "unavailable"
    EXCLUDED = "excluded"


class UnrankedItem(BaseModel):
    """A candidate that is not among the items."""

    item_id: str
    why: Unranked


class RecommendAnswer(BaseModel):
    """Ranked items with the level and the reason of each."""

    request_id: str
    user_id: str
    surface: Surface
    items: list[ShownItem]
    unranked: list[UnrankedItem] = Field(description="Candidates that cannot be ranked, in the order of the request.")
    bundle_digest: str
    arm: str
    as_of_ms: int = Field(description="The instant up to which the models have learned.")
    served_ms: int = Field(description="The instant at which the question was answered.")
    ages: Ages
    notes: list[str]


__all__ = ["RecommendAnswer", "RecommendRequest", "ShownItem", "Unranked", "UnrankedItem"]
