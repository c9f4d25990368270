"""Sums and recurrences over sessions of different lengths at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the events of sessions of different lengths stand when the first of each session come first, then the
    second, and so on; there is no padding between them.

    Attributes:
        order: (q,) int64, the event at each place; ``back``: (q,) int64, the place of each event.
        sizes: (longest,) int64 on the CPU: how many sessions have a first event, a second, and so on.
    """

    order: Tensor
    back: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor) -> Packed:
        """Args: row, column: (q,) int64: the session of each event, session after session, and its place in it."""
        sessions = int(row[-1]) + 1 if len(row) else 0
        longest_first = torch.argsort(torch.bincount(row, minlength=sessions), descending=True, stable=True)
        place = torch.empty_like(longest_first)
        place[longest_first] = torch.arange(sessions, device=row.device)
        order = torch.argsort(column * sessions + place[row])
        return cls(order, torch.argsort(order), torch.bincount(column).cpu())

    def running(self, x: Tensor, fade: Tensor) -> Tensor:
        """(q, k): the sum of ``x`` (q, k) up to each event in its session, ``fade`` (k,) left of it per event."""
        steps = x[self.order].split(self.sizes.tolist())
        sums = list(steps[:1])
        for step in steps[1:]:
            sums.append(sums[-1][: len(step)] * fade + step)
        return torch.cat(sums)[self.back] if sums else x

    def recurrence(self, network: nn.GRU, x: Tensor) -> Tensor:
        """(q, width) the state of ``network`` after each event."""
        if not len(x):  # the library's recurrence refuses to run over nothing
            return x
        if x.is_cuda or not torch.is_grad_enabled():
            return network(PackedSequence(x[self.order], self.sizes))[0].data[self.back]
        # The CPU's own fills a gradient as large as the batch for every place in a session.
        weights = dict(network.named_parameters())
        given = F.linear(x[self.order], weights["weight_ih_l0"], weights["bias_ih_l0"]).split(self.sizes.tolist())
        state = x.new_zeros(len(given[0]), network.hidden_size)
        states = []
        for step in given:
            state = state[: len(step)]
            reset, update, new = step.chunk(3, dim=1)
            by_state = F.linear(state, weights["weight_hh_l0"], weights["bias_hh_l0"])
            reset_by, update_by, new_by = by_state.chunk(3, dim=1)
            new = torch.tanh(new + torch.sigmoid(reset + reset_by) * new_by)
            state = torch.lerp(new, state, torch.sigmoid(update + update_by))
            states.append(state)
        return torch.cat(states)[self.back]


__all__ = ["Packed"]
