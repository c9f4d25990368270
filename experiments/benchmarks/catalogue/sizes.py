"""From which size of a catalogue on an index finds the best sooner than a look at all items does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.catalogue.planted import planted_vectors
from experiments.benchmarks.catalogue.timed import alone_ms
from training.by_vectors import QUESTIONS
from training.nearest import DEPTH, Nearest
from training.recommender import Ids, Scores, top_k

#: Questions that are asked all at once, and those of them asked one by one.
ASKED, ALONE = 256, 64


def at_size(n_items: int) -> dict[str, Any]:
    """Build an index of planted vectors, and ask it and all items for the best ``DEPTH`` of users.

    Times are of the processor, of one thread, per question: alone, as a request comes, and many at once.
    """
    vectors, users = planted_vectors(n_items, QUESTIONS + ASKED)
    start = time.process_time()
    index = Nearest.build(vectors, users[:QUESTIONS])
    build_s = time.process_time() - start
    asked = users[QUESTIONS:]

    def exact(questions: Scores) -> Ids:
        return np.concatenate(
            [top_k(some @ vectors.T, DEPTH)[0] for some in np.array_split(questions, -(-len(questions) // 64))]
        )

    def indexed(questions: Scores) -> Ids:
        return index.search(questions, DEPTH)

    best, found = exact(asked), indexed(asked)
    shared = [len(set(one) & set(other)) for one, other in zip(best.tolist(), found.tolist(), strict=True)]
    return {
        "items": n_items,
        "recall": float(np.mean(shared)) / min(DEPTH, n_items),
        "groups": index.n_groups,
        "probes": index.probes,
        "build_s": build_s,
        "exact_ms": alone_ms(lambda row: exact(asked[row]), ALONE),
        "index_ms": alone_ms(lambda row: indexed(asked[row]), ALONE),
        **{f"{name}_batch_ms": _together_ms(ask, asked) for name, ask in (("exact", exact), ("index", indexed))},
    }


def _together_ms(ask: Callable[[Scores], Ids], questions: Scores) -> float:
    start = time.process_time()
    ask(questions)
    return 1e3 * (time.process_time() - start) / len(questions)


def crossover(sizes: list[dict[str, Any]], exact: str = "exact_ms", index: str = "index_ms") -> int | None:
    """The size from which the index is faster, between two measured ones on a logarithmic scale; None if never."""
    ahead = [math.log(each[exact] / each[index]) for each in sizes]
    for place in range(len(sizes)):
        if min(ahead[place:]) > 0:
            if not place:
                return int(sizes[0]["items"])
            low, high = (math.log(sizes[position]["items"]) for position in (place - 1, place))
            share = -ahead[place - 1] / (ahead[place] - ahead[place - 1])
            return round(math.exp(low + share * (high - low)))
    return None


__all__ = ["at_size", "crossover"]
