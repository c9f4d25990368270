"""The network of the sequence transformer: events in, one vector per event out, items scored by their embedding."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from training.sequence_copies import DISTANCES, CopyHead, by_distance

#: Gaps between events are embedded by bucket: under a minute, then doubling up to about three years.
GAP_BUCKETS = 22

#: Logits are at most this many times a cosine.
STEEPEST = 40.0


def gap_buckets(gaps_ms: Tensor) -> Tensor:
    """int64 bucket of each gap in milliseconds: ``floor(log2(minutes + 1)) + 1``, 0 for no gap at all."""
    minutes = gaps_ms.clamp(min=0).to(torch.float32) / 60_000
    buckets = torch.log2(minutes + 1).floor().to(torch.int64) + (gaps_ms > 0)
    return buckets.clamp(max=GAP_BUCKETS - 1)


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout; on the CPU eight elements share one random number of 64 bits, as drawing is what costs there."""
    if not training or not share or x.device.type != "cpu":
        return F.dropout(x, share, training)
    least = round(share * 256)
    drawn = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = drawn.view(torch.uint8)[: x.numel()].view(x.shape) >= least
    return x * kept.to(x.dtype).mul_(256 / (256 - least))


class ItemEmbedding(nn.Module):
    """An item's vector: its own, plus those of its catalogue tokens, so that what few took is placed by what it is.

    Where there are tokens, an item's own vector counts ``n / (n + 1)`` if it was taken n times: of what nobody took
    nothing else is known, and its own vector would only learn that nobody took it.
    """

    def __init__(self, n_items: int, width: int, tokens: sparse.csr_array) -> None:
        super().__init__()
        self.own = nn.Embedding(n_items, width)
        nn.init.normal_(self.own.weight, std=0.05)
        self.n_tokens = tokens.shape[1]
        self.tokens = nn.Embedding(max(self.n_tokens, 1), width)
        nn.init.normal_(self.tokens.weight, std=0.05)
        counts = torch.from_numpy(tokens.indptr).long().diff()
        self.offsets: Tensor
        self.listed: Tensor
        self.share: Tensor
        self.trust: Tensor
        self.register_buffer("offsets", torch.from_numpy(tokens.indptr).long(), persistent=False)
        self.register_buffer("listed", torch.from_numpy(tokens.indices).long(), persistent=False)
        self.register_buffer("share", counts.clamp(min=1).rsqrt(), persistent=False)
        self.register_buffer("trust", torch.ones(n_items, 1))

    def count(self, taken: NDArray[np.int32]) -> None:
        """Learn how often each item was taken; until then all are trusted.

        Args:
            taken: (m,) the item of each event.
        """
        n = torch.from_numpy(np.bincount(taken, minlength=len(self.trust))[:, None]).to(self.trust)
        self.trust.copy_(n / (n + 1))

    def forward(self, items: Tensor) -> Tensor:
        """(u, width) float32 of the items (u,)."""
        own: Tensor = self.own(items)
        if not self.n_tokens:
            return own
        start, stop = self.offsets[items], self.offsets[items + 1]
        counts = stop - start
        ends = counts.cumsum(0)
        owner = torch.repeat_interleave(torch.arange(len(items), device=items.device), counts)
        listed = self.listed[torch.arange(len(owner), device=items.device) + (start - ends + counts)[owner]]
        weights = self.share[items][owner]
        bags = F.embedding_bag(listed, self.tokens.weight, ends - counts, mode="sum", per_sample_weights=weights)
        return own * self.trust[items] + bags


class Block(nn.Module):
    """Pre-norm transformer block with causal attention that knows how many events ago something was."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.distances = nn.Parameter(torch.zeros(heads, DISTANCES))
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) to the same shape; position ``t`` sees positions up to ``t``."""
        b, length, width = x.shape
        queries, keys, values = self.qkv(self.norm_attention(x)).view(b, length, 3, self.heads, -1).unbind(2)
        queries, keys, values = (part.transpose(1, 2).flatten(0, 1) for part in (queries, keys, values))
        nearness = by_distance(self.distances, length)
        scale = 1 / math.sqrt(width // self.heads)
        scores = torch.baddbmm(nearness.repeat(b, 1, 1), queries, keys.transpose(1, 2), alpha=scale)
        attended = torch.bmm(torch.softmax(scores, dim=-1), values).view(b, self.heads, length, -1)
        x = x + drop(self.out(attended.transpose(1, 2).reshape(x.shape)), self.dropout, self.training)
        return x + drop(self.feed(self.norm_feed(x)), self.dropout, self.training)


class SequenceEncoder(nn.Module):
    """SASRec (Kang and McAuley 2018) over (item, item's tokens, event type, time gap), with cosine logits and copies.

    Rows are padded on the right: causal attention never looks there, so no mask is needed. An item id of ``n_items`` is
    padding or an unknown item.
    """

    def __init__(
        self,
        tokens: sparse.csr_array,
        n_types: int,
        *,
        width: int,
        blocks: int,
        heads: int,
        length: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.n_items = tokens.shape[0]
        self.items = ItemEmbedding(self.n_items, width, tokens)
        self.types = nn.Embedding(n_types, width)
        self.gaps = nn.Embedding(GAP_BUCKETS, width)
        self.places = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(self.n_items))
        self.steepness = nn.Parameter(torch.tensor(math.log(14.0)))  # a temperature of 0.07 to begin with
        self.copies = CopyHead(width, n_types)
        self.dropout = dropout
        self._catalogue: tuple[Tensor, Tensor] | None = None
        for embedding in (self.types, self.gaps, self.places):
            nn.init.normal_(embedding.weight, std=0.05)

    def forward(self, embedded: Tensor, types: Tensor, gaps_ms: Tensor) -> Tensor:
        """(batch, length, width) embedded items, event types and gaps to (batch, length, width) vectors.

        All vectors have the same length, which is what a cosine is multiplied with.
        """
        length = embedded.shape[1]
        x = embedded + self.types(types) + self.gaps(gap_buckets(gaps_ms)) + self.places.weight[:length]
        x = drop(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.norm(x), dim=-1) * self.steepness.exp().clamp(max=STEEPEST)

    def embed(self, items: Tensor, used: Tensor, table: Tensor) -> Tensor:
        """Embedded ``items`` of any shape; zeros for ``n_items``.

        Args:
            used: (u,) sorted distinct items, all of ``items`` but ``n_items`` among them.
            table: (u, width) their embeddings.
        """
        place = torch.searchsorted(used, items)
        return F.embedding(place, F.pad(table, (0, 0, 0, 1)))

    def catalogue(self) -> tuple[Tensor, Tensor]:
        """(n_items, width) embeddings and the same with length one, kept until the network is trained again."""
        if self._catalogue is None:
            embeddings = self.items(torch.arange(self.n_items, device=self.bias.device))
            self._catalogue = embeddings, F.normalize(embeddings, dim=-1)
        return self._catalogue

    def train(self, mode: bool = True) -> SequenceEncoder:
        """Forgets the catalogue, which is about to change."""
        self._catalogue = None
        return super().train(mode)


__all__ = ["GAP_BUCKETS", "ItemEmbedding", "SequenceEncoder", "gap_buckets"]
