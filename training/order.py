"""What the times of a log are good for: an order, and more than an order."""

from __future__ import annotations

import numpy as np

from features.sequences import Histories, Int64s

#: Where fewer of the users with two events or more have them at two instants, there is no order to learn.
ORDERED_FROM = 0.5


def user_steps(events: Histories) -> tuple[Int64s, Int64s, Int64s]:
    """(m,) each: the number of the event's instant through the whole batch, of its user's first and last instant.

    What happened at one instant has no order, and is one step.
    """
    begins = np.zeros(len(events.items), dtype=bool)
    begins[events.offsets[:-1][events.lengths > 0]] = True
    steps = np.cumsum(begins | np.append(True, np.diff(events.ts) != 0)[: len(begins)]) - 1
    of_user = events.lengths > 0
    first, last = (steps[at[of_user]] for at in (events.offsets[:-1], events.offsets[1:] - 1))
    lengths = events.lengths[of_user]
    return steps, np.repeat(first, lengths), np.repeat(last, lengths)


def is_ordered(events: Histories) -> bool:
    """Whether enough users have more than one instant: a published list of pairs has none."""
    _, first, last = user_steps(events)
    several = events.lengths >= 2
    ends = events.offsets[1:][several] - 1
    return bool((last[ends] > first[ends]).mean() >= ORDERED_FROM) if several.any() else True


def is_timed(events: Histories) -> bool:
    """Whether times say more than an order: made up from one, every two that follow each other are equally far apart.

    No real log's are.
    """
    gaps = np.diff(events.ts)[np.diff(events.rows) == 0]
    return len(gaps) == 0 or int(gaps.min()) < int(gaps.max())


__all__ = ["ORDERED_FROM", "is_ordered", "is_timed", "user_steps"]
