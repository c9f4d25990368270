"""Co-occurrence in visits against plain sets."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from features.schema import DAY_MS, SESSION_GAP_S, EventType
from training.cooccurrence import Cooccurrence
from training.interest import INTEREST
from training.item_to_item import strongest_neighbours
from training.recommender import TrainingSet

NOW = 100 * DAY_MS
N_ITEMS = 10
Log = list[tuple[int, int, EventType, int]]


def random_log(seed: int) -> Log:
    """Distinct times, so that there is one order; gaps on both sides of a visit's end, and exactly at it."""
    rng = np.random.default_rng(seed)
    kinds = list(EventType)
    log: Log = []
    for row in range(8):
        ts = NOW - 50 * DAY_MS
        for _ in range(40):
            ts += int(rng.choice([1_000, 60_000, SESSION_GAP_S * 1000 - 1, SESSION_GAP_S * 1000, DAY_MS]))
            log.append((row, int(rng.integers(N_ITEMS)), kinds[rng.integers(len(kinds))], ts))
    return log


def plain_visits(log: Log) -> list[set[int]]:
    """The items of each visit; only interactions count, for its length too."""
    visits: list[set[int]] = []
    previous: tuple[int, int] | None = None
    for row, item, kind, ts in log:
        if kind in INTEREST:
            if previous is None or previous[0] != row or ts - previous[1] >= SESSION_GAP_S * 1000:
                visits.append(set())
            visits[-1].add(item)
            previous = (row, ts)
    return visits


@pytest.mark.parametrize("seed", range(3))
def test_against_plain_sets(seed: int, make_snapshot: Any) -> None:
    log = random_log(seed)
    snapshot = make_snapshot(log, 8, N_ITEMS, NOW)
    model = Cooccurrence(shrinkage=2.0, half_life_days=9.0).fit(TrainingSet(snapshot))
    alone: dict[int, int] = defaultdict(int)
    together: dict[tuple[int, int], int] = defaultdict(int)
    for visit in plain_visits(log):
        for item in visit:
            alone[item] += 1
        for one, other in combinations(sorted(visit), 2):
            together[one, other] += 1
    similarity = np.zeros((N_ITEMS, N_ITEMS))
    for (one, other), n in together.items():
        similarity[one, other] = similarity[other, one] = n / (sqrt(alone[one] * alone[other]) + 2.0)
    interest = np.zeros((8, N_ITEMS))
    for row, item, kind, ts in log:
        points = INTEREST.get(kind, 0) * 0.5 ** ((NOW - ts) / DAY_MS / 9.0)
        interest[row, item] = max(interest[row, item], points)
    np.testing.assert_allclose(model.score_all(snapshot.sequences), interest @ similarity, rtol=1e-5)


def test_an_item_never_leads_to_itself(make_snapshot: Any) -> None:
    events = [(0, 0, EventType.PURCHASE, 0), (0, 0, EventType.PURCHASE, 1), (0, 1, EventType.VIEW, 2)]
    snapshot = make_snapshot(events, 1, 3, NOW)
    model = Cooccurrence().fit(TrainingSet(snapshot))
    only_zero = snapshot.sequences.where(snapshot.sequences.items == 0)
    assert (model.score_all(only_zero)[0] > 0).tolist() == [False, True, False]
    assert model.explain(only_zero, np.array([1], np.int32))[0].item == 0


def test_only_the_strongest_neighbours_stay_and_ties_go_to_the_lower_item() -> None:
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 5, size=(20, 15)).astype(np.float32)
    kept = strongest_neighbours(sparse.csr_array(dense), 4).toarray()
    for row in range(20):
        best = sorted(np.flatnonzero(dense[row]).tolist(), key=lambda item: (-dense[row, item], item))[:4]
        expected = np.zeros(15)
        expected[best] = dense[row, best]
        assert kept[row].tolist() == expected.tolist()


def test_nothing_was_taken_together(make_snapshot: Any) -> None:
    events = [(0, 0, EventType.VIEW, 0), (0, 1, EventType.VIEW, DAY_MS)]
    snapshot = make_snapshot(events, 1, 3, NOW)
    assert not Cooccurrence().fit(TrainingSet(snapshot)).score_all(snapshot.sequences).any()
