"""How large the simulated shop is, and how strong each effect that it plants."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from features.errors import ConfigError
from features.schema import DAY_MS

#: 2025-01-01T00:00:00Z: a fixed date, so that one seed means one log whenever it is made.
NEW_YEAR_2025_MS = 1_735_689_600_000

#: A day is simulated at once, so this bounds memory.
MOST_EVENTS_PER_DAY = 2_000_000

#: A user comes at most once a day; this many events are typical of one visit.
EVENTS_PER_VISIT = 6.3


class ShopConfig(BaseModel):
    """Size, seed and planted effects of a simulated shop. All strengths are in logits unless they are shares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    events: int = Field(default=200_000, ge=1_000, le=50_000_000, description="rows of the log, met within 10 %")
    users: int | None = Field(default=None, ge=1, description="default: one per 24 events, more if the time is short")
    items: int | None = Field(
        default=None, ge=100, le=1_000_000, description="default: 200 to 100,000, more with more events"
    )
    days: int = Field(default=120, ge=1, le=3_650)
    start_ms: int = Field(default=NEW_YEAR_2025_MS, ge=0)
    null: bool = Field(default=False, description="no taste of any kind: what is bought depends on popularity alone")

    group_taste: float = Field(default=1.6, ge=0, description="spread of taste between demographic groups")
    user_taste: float = Field(default=1.3, ge=0, description="spread of taste between the users of one group")
    price_taste: float = Field(default=0.5, ge=0, description="spread of the liking for dear over cheap items")
    season: float = Field(default=0.8, ge=0, description="largest yearly swing of a category")
    need: float = Field(default=2.0, ge=0, description="how much more a staple is wanted when it has run out")
    popularity_skew: float = Field(default=1.0, ge=0, description="spread of the items' popularity")
    restock: float = Field(default=0.3, ge=0, le=1, description="share of visits made to buy a staple again")
    project: float = Field(
        default=0.5, ge=0, le=1, description="share of other visits made for the project of these weeks"
    )
    complement: float = Field(
        default=0.4, ge=0, le=1, description="share of second pages and next projects that go with the first"
    )
    exploration: float = Field(default=0.1, ge=0, le=1, description="share of slots that the shop fills at random")
    new_items: float = Field(default=0.25, ge=0, lt=1, description="share of items that appear after the first day")
    new_users: float = Field(default=0.4, ge=0, lt=1, description="share of users who register after the first day")
    growth: float = Field(default=0.8, ge=0, description="how much more often members come at the end than at first")
    missing: float = Field(default=0.08, ge=0, le=1, description="share of users of whom a given attribute is unknown")

    @classmethod
    def of(cls, **values: object) -> Self:
        """The configuration with these values; whatever is wrong is a ``ConfigError`` that names the field."""
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(part) for part in first["loc"]) or "size"
            raise ConfigError(f"shop: {path}", f"is not usable: {first['msg']}", first["input"]) from None
        return config

    @property
    def n_items(self) -> int:
        """Items in the catalogue."""
        return self.items or int(np.clip(2_000 * (self.events / 200_000) ** 0.7, 200, 100_000))

    @property
    def n_users(self) -> int:
        """Users in the population: enough that not everyone has to come every day."""
        return self.users or max(self.events // 24, int(4 * self.events / (EVENTS_PER_VISIT * self.days)), 10)

    @property
    def end_ms(self) -> int:
        """The first instant after the log."""
        return self.start_ms + self.days * DAY_MS

    @model_validator(mode="after")
    def _is_feasible(self) -> Self:
        if self.events > MOST_EVENTS_PER_DAY * self.days:
            raise ValueError(f"at most {MOST_EVENTS_PER_DAY} events a day; give more days")
        if self.users is not None and 3 * self.events > EVENTS_PER_VISIT * self.users * self.days:
            raise ValueError("too few users for so many events in so few days; a user comes at most once a day")
        return self


__all__ = ["EVENTS_PER_VISIT", "NEW_YEAR_2025_MS", "ShopConfig"]
