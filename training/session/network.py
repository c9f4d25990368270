"""The network of session intent: events in, after each of them chances of what follows."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.session.packed import Packed

#: What is left of what an item of the session says after one more event.
FADE = 0.8
#: What each source of the next group counts for at first: the last event, then those that are counted.
TRUST = (1.0, 0.5, 0.5, 0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The q events of b sessions, session after session.

    Attributes:
        row, column: (q,) int64: which session an event is of, and its place in it.
        types: (q,) int64.
        groups: (q,) int64, the number of groups where unknown.
        numbers: (q, k) float32.
        follow: (q, groups) float32, how often each group came near the event's item.
        earlier: (b, groups) float32, how often each group came before the session.
    """

    row: Tensor
    column: Tensor
    types: Tensor
    groups: Tensor
    numbers: Tensor
    follow: Tensor
    earlier: Tensor

    def to(self, device: torch.device) -> Sessions:
        """The same on ``device``."""
        return Sessions(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Logits:
    """(q, targets), (q, types) and (q, groups): after each event."""

    happens: Tensor
    next_type: Tensor
    next_group: Tensor


class SessionNetwork(nn.Module):
    """A gated recurrent network (Cho et al. 2014) over events, read out after every one of them.

    What a session was about so far is given as counts too, and straight to the answer: that the next event is about
    the same group as the last, or as most, need not be found by the recurrence.
    """

    def __init__(
        self, n_numbers: int, n_types: int, n_next: int, n_groups: int, n_targets: int, *, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_groups, self.dropout = n_groups, dropout
        self.types = nn.Embedding(n_types, width)
        self.groups = nn.Embedding(n_groups + 1, width)
        self.numbers = nn.Linear(n_numbers, width)
        self.counts = nn.Linear(5 * n_groups, width) if n_groups else None
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.mixed = nn.Linear(2 * width, width)
        self.happens = nn.Linear(width, n_targets)
        self.directly = nn.Linear(n_numbers, n_targets, bias=False)
        nn.init.zeros_(self.directly.weight)
        self.next_type = nn.Linear(width, n_next)
        self.frequent = nn.Parameter(torch.zeros(n_groups))
        self.trust = nn.Linear(width, len(TRUST))
        for embedding in (self.types, self.groups):
            nn.init.normal_(embedding.weight, std=0.1)
        nn.init.zeros_(self.trust.weight)
        with torch.no_grad():
            self.trust.bias.copy_(torch.tensor(TRUST))

    def expect(self, counts: Tensor) -> None:
        """Begin with what groups are frequent.

        Args:
            counts: (groups,) how often each came next.
        """
        with torch.no_grad():
            self.frequent.copy_((counts + 1).log() - (counts + 1).log().mean())

    def forward(self, sessions: Sessions) -> Logits:
        """After an event nothing but it and those before it in its session is read."""
        packed, n = Packed.of(sessions.row, sessions.column), self.n_groups
        last = F.one_hot(sessions.groups, n + 1)[:, :-1].float()
        fade = last.new_tensor([1.0, FADE, FADE]).repeat_interleave(n)
        so_far, lately, around = packed.running(torch.cat([last, last, sessions.follow], 1), fade).tensor_split(3, 1)
        earlier = sessions.earlier.log1p()[sessions.row]
        counted = [so_far.log1p(), lately, earlier, sessions.follow.log1p(), around.log1p()]
        x = self.types(sessions.types) + self.groups(sessions.groups) + self.numbers(sessions.numbers)
        if self.counts is not None:
            x = x + self.counts(torch.cat(counted, dim=-1))
        x = F.dropout(F.silu(self.norm_in(x)), self.dropout, self.training)
        hidden = packed.recurrence(self.recurrent, x)
        mixed = F.silu(self.mixed(torch.cat([x, self.norm_out(hidden)], dim=-1)))
        mixed = F.dropout(mixed, self.dropout, self.training)
        sources = torch.stack([last, *counted], dim=-1)
        next_group = (sources @ self.trust(mixed)[..., None])[..., 0] + self.frequent
        happens = self.happens(mixed) + self.directly(sessions.numbers)
        return Logits(happens, self.next_type(mixed), next_group)


__all__ = ["Logits", "SessionNetwork", "Sessions"]
