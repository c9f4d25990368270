"""Tripwire: instants must be in the order in which a training needs them, and nobody may decide twice."""

from __future__ import annotations

import numpy as np

from features.snapshot import Snapshot
from features.split import Labelled
from training.tripwires.alarms import Alarm

WIRE = "protocol"


def protocol(snapshot: Snapshot, stopping: Labelled, blending: Labelled) -> list[Alarm]:
    """Alarms about what models are decided with.

    Args:
        snapshot: What they learn from.
        stopping: Questions that stop their epochs.
        blending: Questions that blends learn from.
    """
    alarms = []
    learned = int(snapshot.sequences.ts.max(initial=-1))
    for name, asked in (("stopping", stopping), ("blending", blending)):
        histories = asked.histories
        if len(histories) and int(histories.as_of_ms.min()) < snapshot.as_of_ms:
            alarms.append(Alarm(WIRE, f"{name} questions", "are asked before the snapshot that models learn from"))
        if (histories.ts >= np.repeat(histories.as_of_ms, histories.lengths)).any():
            alarms.append(Alarm(WIRE, f"{name} questions", "hold events from after their own instant"))
        if len(histories) and learned >= int(histories.as_of_ms.min()):
            alarms.append(Alarm(WIRE, "snapshot", f"holds events from after the instant of {name} questions"))
    if both := set(stopping.histories.user_ids) & set(blending.histories.user_ids):
        alarms.append(Alarm(WIRE, "users", f"decide twice, {len(both)} of them: when to stop, and how to blend"))
    return alarms


__all__ = ["WIRE", "protocol"]
