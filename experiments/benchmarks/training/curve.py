"""What a training had reached after each epoch, and when."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Point:
    """After one epoch.

    Attributes:
        epoch: From 1.
        seconds: Of training since it began.
        judging_s: That were spent to be judged since then, and are not in ``seconds``.
        ndcg: NDCG@10 on the validation users.
    """

    epoch: int
    seconds: float
    judging_s: float
    ndcg: float


#: The epochs of one training, in their order.
Curve = Sequence[Point]


def best(curve: Curve) -> Point:
    """The first of the highest points of a curve that has one.

    >>> best([Point(1, 5.0, 0.0, 0.1), Point(2, 9.0, 0.0, 0.3), Point(3, 14.0, 0.0, 0.3)]).seconds
    9.0
    """
    return max(curve, key=lambda point: point.ndcg)


def seconds_to_reach(curve: Curve, target: float) -> float | None:
    """Seconds of training after which NDCG@10 was first ``target`` or more; None if it never was.

    A training is judged where an epoch ends, so that this is later than the truth by less than an epoch.

    >>> curve = [Point(1, 5.0, 0.0, 0.1), Point(2, 9.0, 0.0, 0.3), Point(3, 14.0, 0.0, 0.2)]
    >>> seconds_to_reach(curve, 0.15), seconds_to_reach(curve, 0.31)
    (9.0, None)
    """
    return next((point.seconds for point in curve if point.ndcg >= target), None)


def epoch_seconds(curve: Curve) -> float:
    """The median of what the epochs of a curve that has one took; the first one prepares the data too.

    >>> epoch_seconds([Point(1, 50.0, 0.0, 0.1), Point(2, 54.0, 0.0, 0.3), Point(3, 59.0, 0.0, 0.2)])
    5.0
    """
    ends = [0.0, *(point.seconds for point in curve)]
    return statistics.median(end - begin for begin, end in pairwise(ends))


__all__ = ["Curve", "Point", "best", "epoch_seconds", "seconds_to_reach"]
