"""What ``POST /related`` is asked and answers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from serving.contracts import Body, Id, Surface
from serving.freshness import Age


class Kind(StrEnum):
    """Everything that is bought together with the anchors, or only what is no substitute for any of them."""

    BOUGHT_TOGETHER = "bought_together"
    COMPLEMENTS = "complements"


class RelatedRequest(Body):
    """What goes with an item, or with a cart."""

    anchors: list[Id] = Field(min_length=1, max_length=100, description="The item of the page, or those in the cart.")
    kind: Kind = Field(
        Kind.BOUGHT_TOGETHER, description="complements leaves out items of an anchor's own leaf category: substitutes."
    )
    k: int = Field(10, ge=1, le=500, description="Items wanted; fewer come back where fewer are known.")
    exclude: list[Id] = Field([], max_length=1_000, description="Items that must not be shown.")
    uncategorised: bool = Field(
        False, description="Whether complements may come from pairs in which a category is missing."
    )
    user_id: Id | None = Field(None, description="To whom it is shown: with it impressions are recorded.")
    surface: Surface = Surface.ITEM_PAGE


class Evidence(BaseModel):
    """What orders say of one anchor and the item."""

    anchor: str
    support: int = Field(description="Orders with both.")
    confidence: float = Field(description="The share of the anchor's orders that hold the item.")
    lift: float = Field(description="How many times as often as if the two were bought independently.")
    lift_low: float = Field(description="The lower end of lift's 95 % interval, above 1.")


class RelatedItem(BaseModel):
    """One item of the answer."""

    item_id: str
    rank: int = Field(description="One-based.")
    score: float = Field(
        description="Sorts the items; about the chance, beyond the usual one, that an order with the anchors holds it."
    )
    level: str = Field(description="L2: it is read from what all customers did.")
    category: str | None = Field(description="The leaf category; null where the shop never named it.")
    reason: str
    evidence: list[Evidence] = Field(description="Of each anchor that it is bought with, the strongest first.")


class RelatedAnswer(BaseModel):
    """What is bought together with the anchors, ranked, with the numbers that it rests on."""

    request_id: str
    kind: Kind
    surface: Surface
    anchors: list[str] = Field(description="Those that are known, as asked.")
    unknown_anchors: list[str] = Field(description="Those that the snapshot does not know.")
    orders: int = Field(description="All orders that were counted.")
    items: list[RelatedItem]
    bundle_digest: str
    arm: str
    as_of_ms: int = Field(description="Only orders before this instant were counted.")
    served_ms: int
    snapshot: Age
    notes: list[str]


__all__ = ["Evidence", "Kind", "RelatedAnswer", "RelatedItem", "RelatedRequest"]
