"""What may be tried of a model's hyper-parameters; each model says it beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Between:
    """A number from ``low`` to ``high``, both included; whole if both are. ``log`` draws its logarithm evenly."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that the hyper-parameter must accept."""
        return self.low, self.high


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some values without an order between them."""

    values: tuple[str | int | float | bool | None, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that the hyper-parameter must accept."""
        return self.values


#: Hyper-parameter to what may be tried of it.
Space = Mapping[str, Between | OneOf]

__all__ = ["Between", "OneOf", "Space"]
