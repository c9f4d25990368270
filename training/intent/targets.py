"""What is predicted of a user, declared: which events, within how many days."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from features.definitions import ACTIVITY
from features.schema import DAY_MS, EventType


class Target(BaseModel):
    """The chance that a user does one of ``events`` within ``horizon_days``, or with ``absent`` none of them.

    With a ``category`` only events with its items count: those whose category path is it or begins with it.

    >>> Target(name="buy_7d", events=("purchase",), horizon_days=7).horizon_ms
    604800000
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    events: tuple[EventType, ...] = Field(min_length=1)
    horizon_days: float = Field(gt=0, le=3650)
    absent: bool = False
    category: str | None = Field(default=None, min_length=1)

    @property
    def horizon_ms(self) -> int:
        """In milliseconds."""
        return round(self.horizon_days * DAY_MS)


TARGETS = (
    Target(name="buy_7d", events=(EventType.PURCHASE,), horizon_days=7),
    Target(name="buy_30d", events=(EventType.PURCHASE,), horizon_days=30),
    Target(name="inactive_30d", events=tuple(ACTIVITY), horizon_days=30, absent=True),
)


__all__ = ["TARGETS", "Target"]
