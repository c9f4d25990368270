"""What a lift decides: ``ship``, ``hold`` or ``cannot_tell``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from experiments.statistics import Lift

#: Fewer users are reported, not judged.
MIN_USERS = 500
#: With fewer users whose value changes, the bootstrap ships too often by chance: in 4,000 simulations without any
#: effect the one-sided error was 7.5 % with 5 such users, 3.6 % with 20, 3.1 % with 30 and, as intended, 2.5 % with 50.
MIN_CHANGED = 50


class Verdict(StrEnum):
    """Whether an arm may replace the control."""

    SHIP = "ship"
    HOLD = "hold"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and, in words, what it rests on; ``judged`` is false where there were too few users to ask."""

    verdict: Verdict
    reason: str
    judged: bool = True


def judge(lift: Lift, *, min_users: int = MIN_USERS, min_changed: int = MIN_CHANGED) -> Judgement:
    """Ship if the whole interval lies above zero, hold if it lies below, else nobody can tell."""
    if lift.n_users < min_users:
        reason = f"not judged: {lift.n_users:,} users, {min_users:,} are needed"
        return Judgement(Verdict.CANNOT_TELL, reason, judged=False)
    if lift.n_changed < min_changed:
        reason = f"only {lift.n_changed:,} users fare differently than under the control, {min_changed:,} are needed"
        return Judgement(Verdict.CANNOT_TELL, reason)
    interval = f"the interval from {lift.low:+.4g} to {lift.high:+.4g}"
    if lift.low > 0:
        return Judgement(Verdict.SHIP, f"{interval} lies above zero")
    if lift.high < 0:
        return Judgement(Verdict.HOLD, f"{interval} lies below zero")
    return Judgement(Verdict.CANNOT_TELL, f"{interval} holds zero")


__all__ = ["MIN_CHANGED", "MIN_USERS", "Judgement", "Verdict", "judge"]
