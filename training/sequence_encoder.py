"""The network of the sequence transformer: events in, one vector per event out, items scored by their embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Gaps between events are embedded by bucket: under a minute, then doubling up to about three years.
GAP_BUCKETS = 22


def gap_buckets(gaps_ms: Tensor) -> Tensor:
    """int64 bucket of each gap in milliseconds: ``floor(log2(minutes + 1)) + 1``, 0 for no gap at all."""
    minutes = gaps_ms.clamp(min=0).to(torch.float32) / 60_000
    buckets = torch.log2(minutes + 1).floor().to(torch.int64) + (gaps_ms > 0)
    return buckets.clamp(max=GAP_BUCKETS - 1)


class Block(nn.Module):
    """Pre-norm transformer block with causal attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same shape; position ``t`` sees positions up to ``t``."""
        b, length, width = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(b, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        x = x + F.dropout(self.out(attended.transpose(1, 2).reshape(b, length, width)), self.dropout, self.training)
        return x + F.dropout(self.feed(self.norm_feed(x)), self.dropout, self.training)


class SequenceEncoder(nn.Module):
    """SASRec (Kang and McAuley 2018) over (item, event type, time gap), with cosine logits and a copy head.

    The copy head (RepeatNet; Ren et al. 2019) adds ``gate(vector) * log(1 + weighted count of the item in the
    window)``: an embedding alone would have to relearn for every item that people buy again what they bought before.
    Rows are padded on the right: causal attention never looks there, so no mask is needed.
    """

    def __init__(
        self, n_items: int, n_types: int, width: int, blocks: int, heads: int, length: int, dropout: float
    ) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, width, padding_idx=n_items)
        self.types = nn.Embedding(n_types, width)
        self.gaps = nn.Embedding(GAP_BUCKETS, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(n_items))
        self.temperature = nn.Parameter(torch.tensor(2.5))  # logits are exp(2.5), about 12, times the cosine
        self.gate = nn.Linear(width, 1)
        self.copied = nn.Parameter(torch.zeros(n_types))  # log of what an event of each type adds to the count
        self.dropout = dropout
        for embedding in (self.items, self.types, self.gaps, self.places):
            nn.init.normal_(embedding.weight, std=0.05)

    def forward(self, items: Tensor, types: Tensor, gaps_ms: Tensor) -> Tensor:
        """(batch, length) item ids, event types and gaps to (batch, length, width) vectors of length one.

        An item id of ``n_items`` is padding or an unknown item.
        """
        places = torch.arange(items.shape[1], device=items.device)
        x = self.items(items) + self.types(types) + self.gaps(gap_buckets(gaps_ms)) + self.places(places)
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.norm(x), dim=-1)

    def logits(self, vectors: Tensor, seen: Tensor, types: Tensor, candidates: Tensor | None = None) -> Tensor:
        """(q, width) vectors to (q, c) logits.

        Args:
            seen, types: (q, length) items and event types that each vector was made from; ``n_items`` for none.
            candidates: (c,) distinct sorted items; all items if absent.
        """
        weight: Tensor = self.items.weight[:-1]
        bias: Tensor = self.bias
        n_items = len(weight)
        if candidates is not None:
            weight, bias = weight[candidates], bias[candidates]
            place = torch.searchsorted(candidates, seen).clamp(max=len(candidates) - 1)
            seen = torch.where(candidates[place] == seen, place, len(candidates))
            n_items = len(candidates)
        logits = vectors @ F.normalize(weight, dim=-1).T * self.temperature.exp() + bias
        count = torch.zeros(len(vectors), n_items + 1, device=vectors.device)
        count = count.scatter_add(1, seen, self.copied.exp()[types])[:, :n_items]
        return logits + F.softplus(self.gate(vectors)) * torch.log1p(count)


__all__ = ["SequenceEncoder", "gap_buckets"]
