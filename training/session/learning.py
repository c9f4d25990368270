"""What the session network is trained on and towards."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from features.errors import InputError
from features.schema import SESSION_GAP_S
from training.session.batches import Batch
from training.session.network import SessionNetwork
from training.session.steps import Int64s, Steps

#: Fewer finished sessions teach nothing that may be served.
FEWEST_SESSIONS = 200
#: Batches of an epoch: a small shop's network needs as many steps as a large one's.
FEWEST_BATCHES, SMALLEST_BATCH = 40, 64


def finished(steps: Steps, as_of_ms: int) -> Int64s:
    """Sessions that nothing can be added to any more, in the order in which they began.

    Raises:
        InputError: There are fewer than ``FEWEST_SESSIONS``.
    """
    over = steps.ts[steps.offsets[1:] - 1] < as_of_ms - 1_000 * SESSION_GAP_S
    chosen = np.flatnonzero(over)
    if len(chosen) < FEWEST_SESSIONS:
        mend = "use a longer log, or leave session intent out"
        raise InputError("sessions", f"must be at least {FEWEST_SESSIONS} finished ones", len(chosen), mend)
    return chosen[np.argsort(steps.ts[steps.offsets[chosen]], kind="stable")]


def batch_events(steps: Steps, learned: Int64s, most: int) -> int:
    """Events in a batch: at most ``most``, and so few that an epoch of ``learned`` has ``FEWEST_BATCHES``."""
    events = int(np.diff(steps.offsets)[learned].sum())
    return min(most, max(events // FEWEST_BATCHES, SMALLEST_BATCH))


def session_loss(network: SessionNetwork, batch: Batch, device: torch.device) -> Tensor:
    """Mean over events of the sum of all cross entropies: each target's, of the next type, and of the next group."""
    logits, groups = network(batch.sessions.to(device)), batch.next_group.to(device)
    happened = F.binary_cross_entropy_with_logits(logits.happens, batch.happened.to(device), reduction="none")
    loss = happened.sum(dim=1).mean() + F.cross_entropy(logits.next_type, batch.next_type.to(device))
    if network.n_groups:
        of_groups = F.cross_entropy(logits.next_group, groups, ignore_index=-1, reduction="sum")
        loss = loss + of_groups / len(groups)
    return loss


__all__ = ["FEWEST_SESSIONS", "batch_events", "finished", "session_loss"]
