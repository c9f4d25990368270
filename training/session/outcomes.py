"""What is asked of a session after each of its events, declared, and what the rest of the session answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.schema import EventType
from training.session.steps import Int64s, Steps


class SessionTarget(BaseModel):
    """The chance that one of ``events`` still happens in the session; with ``absent``, that none of them does.

    Attributes:
        with_cart: And that the session ends with something in the cart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    events: tuple[EventType, ...] = Field(min_length=1)
    absent: bool = False
    with_cart: bool = False


SESSION_TARGETS = (
    SessionTarget(name="buy_in_session", events=(EventType.PURCHASE,)),
    SessionTarget(name="cart_in_session", events=(EventType.ADD_TO_CART,)),
    SessionTarget(name="leave_cart_behind", events=(EventType.PURCHASE,), absent=True, with_cart=True),
)

#: What comes next in a session: an event of some type, or nothing more.
LEAVE = "leave"
NEXT = (*(kind.value for kind in EventType), LEAVE)


@dataclass(frozen=True, slots=True)
class SessionOutcomes:
    """What followed each event in its session.

    Attributes:
        happened: Name of a target to (m,) bool.
        next_type: (m,) int64, position in ``NEXT``.
        next_group: (m,) int64, the group of the next event's item; -1 where none follows or its group is unknown.
    """

    happened: Mapping[str, NDArray[np.bool_]]
    next_type: Int64s
    next_group: Int64s


def outcomes_of(
    steps: Steps, groups: NDArray[np.int32], targets: tuple[SessionTarget, ...] = SESSION_TARGETS
) -> SessionOutcomes:
    """Of finished sessions.

    Args:
        groups: (n_items,) int32, -1 where unknown.
    """
    m, lengths = len(steps.items), np.diff(steps.offsets)
    last = np.repeat(steps.offsets[1:] - 1, lengths)
    happened: dict[str, NDArray[np.bool_]] = {}
    for target in targets:
        total = np.cumsum(np.isin(steps.types, [kind.code for kind in target.events]))
        found = np.asarray(total[last] > total) != target.absent
        happened[target.name] = found & (steps.cart[last] > 0) if target.with_cart else found
    ends = np.arange(m) == last
    following = np.minimum(np.arange(m) + 1, max(m - 1, 0))
    next_type = np.where(ends, len(NEXT) - 1, steps.types[following]).astype(np.int64)
    return SessionOutcomes(happened, next_type, next_groups(steps, groups_of(groups, steps.items)))


def next_groups(steps: Steps, groups: Int64s) -> Int64s:
    """(m,) int64: of the (m,) groups of the events' items, the one of the session's next event, -1 after the last."""
    following = np.append(groups[1:], -1)
    following[steps.offsets[1:] - 1] = -1
    return following[: len(groups)]


def groups_of(groups: NDArray[np.int32], items: NDArray[np.int32]) -> Int64s:
    """(m,) int64: the group of each item, -1 where item or group is unknown."""
    return np.append(groups, -1)[np.maximum(items, -1)].astype(np.int64)


__all__ = [
    "LEAVE",
    "NEXT",
    "SESSION_TARGETS",
    "SessionOutcomes",
    "SessionTarget",
    "groups_of",
    "next_groups",
    "outcomes_of",
]
