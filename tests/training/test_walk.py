"""Walks of two steps against dense algebra and pairs counted in plain loops."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from features.schema import DAY_MS, EventType
from features.sequences import Histories
from training.recommender import TrainingSet
from training.walk import BACK, RECENT, Walk, close_pairs, in_order

NOW = 100 * DAY_MS
N_ITEMS = 9


def log(lists: list[list[int]], kind: EventType = EventType.VIEW) -> list[tuple[int, int, EventType, int]]:
    return [
        (row, item, kind, NOW - (len(items) - place) * 60_000)
        for row, items in enumerate(lists)
        for place, item in enumerate(items)
    ]


def random_lists(seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(N_ITEMS, size=rng.integers(0, 15)).tolist() for _ in range(12)]


def plain_pairs(lists: list[list[int]], reach: int) -> np.ndarray:
    found: dict[tuple[int, int], float] = defaultdict(float)
    for items in lists:
        for first in range(len(items)):
            for second in range(first + 1, min(first + reach, len(items) - 1) + 1):
                if items[first] != items[second]:
                    found[items[first], items[second]] += 1 / (second - first)
                    found[items[second], items[first]] += BACK / (second - first)
    pairs = np.zeros((N_ITEMS, N_ITEMS))
    for cell, value in found.items():
        pairs[cell] = value
    return pairs


@pytest.mark.parametrize("reach", [1, 4])
def test_pairs_are_those_of_plain_loops(make_histories: Any, reach: int) -> None:
    lists = random_lists(0)
    events: Histories = make_histories(log(lists), len(lists), NOW)
    np.testing.assert_allclose(
        close_pairs(events, N_ITEMS, reach).toarray(), plain_pairs(lists, reach), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_dense_algebra(make_snapshot: Any, make_histories: Any, seed: int) -> None:
    lists, asks = random_lists(seed), random_lists(seed + 10)
    model = Walk(forget=0.6, dampening=0.4, shrinkage=3.0, reach=2, near=0.3)
    model.fit(TrainingSet(make_snapshot(log(lists), len(lists), N_ITEMS, NOW)))
    pairs = plain_pairs(lists, 2)
    step = pairs * (pairs.sum(axis=0) + 3.0) ** -0.4
    step /= np.maximum(step.sum(axis=1, keepdims=True), 1e-12)
    scores = model.score_all(make_histories(log(asks), len(asks), NOW))
    for row, items in enumerate(asks):
        past = np.zeros(N_ITEMS)
        for since, item in enumerate(reversed(items[-RECENT:])):
            past[item] += 0.6**since
        np.testing.assert_allclose(scores[row], past @ (step @ step + 0.3 * step), rtol=1e-5, atol=1e-7)


def test_what_was_never_taken_together_is_reached(make_snapshot: Any, make_histories: Any) -> None:
    model = Walk().fit(TrainingSet(make_snapshot(log([[0, 1], [1, 2], [3, 4]]), 3, N_ITEMS, NOW)))
    scores = model.score_all(make_histories(log([[0]]), 1, NOW))[0]
    assert scores[2] > 0 and not scores[[3, 4, 5]].any()


def test_steps_lead_to_the_strongest_only(make_snapshot: Any) -> None:
    lists = random_lists(0)
    model = Walk(neighbours=2).fit(TrainingSet(make_snapshot(log(lists), len(lists), N_ITEMS, NOW)))
    whole = Walk().fit(TrainingSet(make_snapshot(log(lists), len(lists), N_ITEMS, NOW)))
    kept, dense = model._towards.toarray(), whole._towards.toarray()
    for row in range(N_ITEMS):
        assert sorted(kept[row][kept[row] > 0]) == pytest.approx(sorted(dense[row])[-2:])


def test_the_order_within_one_instant_is_not_that_of_item_numbers(make_histories: Any) -> None:
    """Two baskets of all items: both are read in one order, which is not the one they are listed in."""
    n = 40
    baskets = [(row, item, EventType.PURCHASE, NOW - 1) for row in range(2) for item in range(n)]
    read = in_order(make_histories(baskets, 2, NOW), n)
    assert read.items[:n].tolist() == read.items[n:].tolist()
    assert sorted(read.items[:n].tolist()) == list(range(n))
    assert np.mean(np.diff(read.items[:n]) == 1) < 0.2
    later = [(row, item, kind, ts - (n - item)) for row, item, kind, ts in baskets]
    assert in_order(make_histories(later, 2, NOW), n).items[:n].tolist() == list(range(n))


def test_refunds_tell_no_interest(make_snapshot: Any, make_histories: Any) -> None:
    lists = random_lists(0)
    model = Walk().fit(TrainingSet(make_snapshot(log(lists), len(lists), N_ITEMS, NOW)))
    assert not model.score_all(make_histories(log([[1, 2]], EventType.REFUND), 1, NOW)).any()
