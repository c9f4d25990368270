"""What events say of the interest in their items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from features.schema import EventType
from features.sequences import Histories

#: Relative to a purchase.
INTEREST = {EventType.PURCHASE: 1.0, EventType.ADD_TO_CART: 0.7, EventType.VIEW: 0.3}


def event_weights(events: Histories, weights: Mapping[EventType, float] = INTEREST) -> NDArray[np.float64]:
    """(m,) the weight of each event's type, 0 of types that have none."""
    by_code = np.zeros(len(EventType))
    for event_type, weight in weights.items():
        by_code[event_type.code] = weight
    return by_code[events.event_types]


__all__ = ["INTEREST", "event_weights"]
