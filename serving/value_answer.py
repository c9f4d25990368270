"""What the endpoint answers about what a customer will be worth."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ValueReason(BaseModel):
    """A side of a customer's buying that moved their expected value."""

    feature: str = Field(
        description="recency (value: days since the last order), frequency (orders), spacing (mean days between orders)"
        " or amounts (mean cents of an order)."
    )
    value: float | int | None = Field(description="null where there is none.")
    log_value: float = Field(
        description="What it added to the logarithm of the expected cents, against the median customer; below 0 it"
        " lowered them."
    )


class PredictedValue(BaseModel):
    """The orders expected of a customer within a horizon, and what they will cost."""

    name: str
    horizon_days: int
    expected_orders: float | None = Field(description="Days with an order; null where it is not right as a number.")
    expected_cents: float | None = Field(description="Spent on them; null where it is not right as a number.")
    rank: float = Field(description="The share of the customers it was judged on who are expected to spend less.")
    rank_only_because: str | None = Field(
        description="The segment in which the contract on totals did not hold; no_orders of whoever never ordered."
    )
    reasons: list[ValueReason] = Field(description="The three strongest, strongest first.")


__all__ = ["PredictedValue", "ValueReason"]
