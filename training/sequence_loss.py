"""The softmax loss of the sequence transformer, computed without ever holding all logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: Logits that are held at once, four megabytes: more leave the caches, and with fewer the products' rows are too few to
#: be worth what a product does to its candidates first (with a quarter of them a loss takes a sixth longer in one
#: thread, a quarter to a half longer in two).
HELD_LOGITS = 1 << 20


@dataclass(frozen=True, slots=True)
class Bonus:
    """What is added to some logits of each question: ``values[q, p]`` to that of candidate ``candidates[q, p]``.

    Attributes:
        candidates: (q, p) int64; one that comes twice in a row gets both values.
        values: (q, p) float32.
    """

    candidates: Tensor
    values: Tensor


def softmax_loss(vectors: Tensor, candidates: Tensor, bias: Tensor, bonus: Bonus, answers: Tensor) -> Tensor:
    """Mean over questions and their answers of ``log sum_c exp(logit_c) - logit_answer``.

    ``logit = vectors @ candidates.T + bias + bonus``. Gradients are computed block by block together with the loss, so
    that memory does not grow with questions times candidates, and a block's logits stay in the processor's cache. The
    precision is single at least, whatever the network computes with.

    Args:
        vectors: (q, width), q at least 1.
        candidates: (c, width) of length one at most: a vector's length then bounds its logits, and nothing overflows
            while vectors are shorter than 40 and ``bias + bonus`` is below 40.
        bias: (c,), as for instance the correction for candidates that were sampled.
        answers: (q, a) int64 positions among the candidates.
    """
    parts = [
        part.float() if part.dtype is torch.bfloat16 else part for part in (vectors, candidates, bias, bonus.values)
    ]
    with torch.autocast(vectors.device.type, enabled=False):
        loss: Tensor = _SoftmaxLoss.apply(*parts, bonus.candidates, answers)
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    """Two columns beside the vectors make bias and stability part of the products: ``[v, 1, -|v|] [w, b, 1]``."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, candidates: Tensor, bias: Tensor, values: Tensor, places: Tensor, answers: Tensor
    ) -> Tensor:
        q, c = len(vectors), len(candidates)
        share = 1.0 / answers.shape[1]
        ones = vectors.new_ones
        left = torch.cat([vectors, ones(q, 1), -vectors.norm(dim=1, keepdim=True)], 1)
        right = torch.cat([candidates, bias[:, None], ones(c, 1)], 1)
        of_vectors, of_values = torch.empty_like(vectors), torch.empty_like(values)
        of_right = torch.zeros_like(right[:, :-1])
        rows = max(HELD_LOGITS // max(c, 1), 16)
        held = vectors.new_empty(min(rows, q), c)
        loss = vectors.new_zeros(())
        for start in range(0, q, rows):
            block = slice(start, min(start + rows, q))
            logits = torch.mm(left[block], right.T, out=held[: block.stop - start])
            logits.scatter_add_(1, places[block], values[block])
            of_answers = logits.gather(1, answers[block])
            total = logits.exp_().sum(1, keepdim=True)
            loss += (total.log() - of_answers).sum()
            # From here on the block is total * (softmax - share of the answers), the gradient of its logits.
            logits.scatter_add_(1, answers[block], (-share * total).expand(-1, answers.shape[1]))
            torch.mm(logits, candidates, out=of_vectors[block]).div_(total)
            of_right.addmm_(logits.T, left[block, :-1] / total)
            torch.gather(logits, 1, places[block], out=of_values[block]).div_(total)
        ctx.save_for_backward(of_vectors, of_right, of_values)
        ctx.questions = q
        return loss / answers.numel()

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        factor = outputs[0] / ctx.questions
        of_vectors, of_right, of_values = ctx.saved_tensors
        of_right = of_right * factor
        return of_vectors * factor, of_right[:, :-1], of_right[:, -1], of_values * factor, None, None


__all__ = ["Bonus", "softmax_loss"]
