"""Whose value is predicted over which horizons, declared."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from features.schema import DAY_MS


class ValueTarget(BaseModel):
    """The orders of a customer within ``horizon_days``, and what they cost.

    >>> ValueTarget(name="value_90d", horizon_days=90).horizon_ms
    7776000000
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    horizon_days: int = Field(ge=1, le=3650)

    @property
    def horizon_ms(self) -> int:
        """In milliseconds."""
        return self.horizon_days * DAY_MS


__all__ = ["ValueTarget"]
