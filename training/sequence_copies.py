"""What a user did before and will do again, or never again: the copy head of the sequence transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Distances between events are told apart one by one up to ``NEAR``, then ever more roughly up to ``FAR``.
DISTANCES, NEAR, FAR = 32, 16, 512


def by_distance(weights: Tensor, length: int) -> Tensor:
    """(h, length, length): what ``weights`` says of column k seen from row q, minus infinity where it is not before.

    Distances are exact below ``NEAR``, logarithmic from there on (Raffel et al. 2020, T5).

    Args:
        weights: (h, DISTANCES).
    """
    before = torch.arange(length - 1, -1, -1, device=weights.device)
    rough = NEAR + (before.clamp(min=1) / NEAR).log() / math.log(FAR / NEAR) * (DISTANCES - NEAR)
    buckets = torch.where(before < NEAR, before, rough.long().clamp(max=DISTANCES - 1))
    # Row q is this line from length - 1 - q on: equal distances share one number, and gradients are sums of diagonals.
    line = F.pad(weights[:, buckets], (0, length - 1), value=-math.inf)
    return line.unfold(1, length, 1).flip(1)


class CopyHead(nn.Module):
    """``gate(vector) * log(1 + sum of weights of the item's events so far)`` for each item of the window.

    An event's weight depends on its type and on how many events ago it was. The head is in the spirit of RepeatNet (Ren
    et al. 2019): an embedding alone would have to learn for every item anew that people take again what they took
    before. The gate may be negative, and is where nobody ever takes an item twice.
    """

    def __init__(self, width: int, n_types: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1)
        self.types = nn.Parameter(torch.zeros(n_types))
        self.distances = nn.Parameter(torch.zeros(DISTANCES))
        nn.init.normal_(self.gate.weight, std=0.05)
        nn.init.constant_(self.gate.bias, 0.5)

    def forward(self, vectors: Tensor, items: Tensor, types: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """What to add to the logits of the items that each question has seen.

        Args:
            vectors: (q, width) at ``[row, column]`` of the windows.
            items, types: (b, length) windows.

        Returns:
            (q, length) float32, of the item at each place of the question's window; of an item that came several times
            at the first of them, 0 elsewhere.
        """
        length = items.shape[1]
        place = torch.arange(length, device=items.device)
        past = place <= place[:, None]
        near = by_distance(self.distances[None], length)[0].exp()
        weight = near * self.types.exp()[types][:, None]  # (b, length, length): of each event for each place
        same = items[:, :, None] == items[:, None, :]
        first = same.to(torch.uint8).argmax(-1)
        if bool((first != place).any()):
            weight = torch.zeros_like(weight).scatter_add(2, first[:, None].expand_as(weight), weight)
        counts = (past & (first == place)[:, None])[row, column]
        return self.gate(vectors) * torch.log1p(weight[row, column]) * counts


__all__ = ["DISTANCES", "CopyHead", "by_distance"]
