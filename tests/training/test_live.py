"""Live co-occurrence against plain loops over visits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from features.schema import DAY_MS, SESSION_GAP_S, EventType
from training.interest import INTEREST
from training.live import LiveCooccurrence
from training.recommender import TrainingSet

NOW = 100 * DAY_MS
N_ITEMS = 9
Log = list[tuple[int, int, EventType, int]]
VIEW, CART, PURCHASE = EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE


def random_log(seed: int) -> Log:
    rng = np.random.default_rng(seed)
    kinds = list(EventType)
    log: Log = []
    for row in range(8):
        ts = NOW - 9 * DAY_MS
        for _ in range(40):
            ts += int(rng.choice([1_000, 60_000, SESSION_GAP_S * 1000 - 1, SESSION_GAP_S * 1000, DAY_MS]))
            log.append((row, int(rng.integers(N_ITEMS)), kinds[rng.integers(len(kinds))], ts))
    return log


def plain_visits(log: Log) -> list[Log]:
    visits: list[Log] = []
    for event in log:
        if event[2] in INTEREST:
            new = not visits or visits[-1][-1][0] != event[0] or event[3] - visits[-1][-1][3] >= SESSION_GAP_S * 1000
            if new:
                visits.append([])
            visits[-1].append(event)
    return visits


@pytest.mark.parametrize("seed", range(3))
def test_against_plain_loops(seed: int, make_snapshot: Any) -> None:
    log = random_log(seed)
    shrinkage, share, half_life = 3.0, 0.25, 2.0
    model = LiveCooccurrence(shrinkage=shrinkage, share=share, half_life_events=half_life)
    snapshot = make_snapshot(log, 8, N_ITEMS, NOW)
    model.fit(TrainingSet(snapshot))
    pairs, visited = np.zeros((N_ITEMS, N_ITEMS)), np.zeros(N_ITEMS)
    for visit in plain_visits(log):
        taken = {item for _, item, _, _ in visit}
        bought = {item for _, item, kind, _ in visit if kind is PURCHASE}
        looked = {item for _, item, kind, _ in visit if kind is not PURCHASE}
        for i in taken:
            visited[i] += 1
            for j in taken - {i}:
                pairs[i, j] += (j in bought) + share
            pairs[i, i] += i in bought and i in looked
    towards = pairs / (visited + shrinkage)[:, None]
    since = NOW - 3 * DAY_MS
    expected = np.zeros((8, N_ITEMS))
    for row in range(8):
        live = [event for event in log if event[0] == row and event[3] >= since and event[2] in INTEREST]
        interest = np.zeros(N_ITEMS)
        for back, (_, item, kind, _) in enumerate(reversed(live)):
            interest[item] = max(interest[item], INTEREST[kind] * 0.5 ** (back / half_life))
        expected[row] = interest @ towards
        expected[row, [item for _, item, kind, _ in live if kind is PURCHASE]] = 0
    assert expected.any()
    earlier = replace(snapshot.sequences, snapshot_ms=np.full(8, NOW - 30 * DAY_MS, dtype=np.int64))
    asked = replace(earlier, live_fresh_s=3 * DAY_MS // 1000)
    np.testing.assert_allclose(model.score_all(asked), expected, rtol=1e-5)


@pytest.fixture
def model(make_snapshot: Any) -> LiveCooccurrence:
    """Whoever looks at item 0 buys item 0; whoever buys item 1 takes item 2 along; nobody looks at item 1."""
    log = [(row, 0, VIEW, 0) for row in range(9)] + [(row, 0, PURCHASE, 1) for row in range(9)]
    log += [(row, 1, PURCHASE, DAY_MS) for row in range(9)] + [(row, 2, PURCHASE, DAY_MS + 1) for row in range(9)]
    return LiveCooccurrence().fit(TrainingSet(make_snapshot(log, 9, 4, NOW)))


def scores(model: LiveCooccurrence, make_histories: Any, *events: tuple[int, EventType]) -> list[bool]:
    log = [(0, item, kind, NOW + place) for place, (item, kind) in enumerate(events)]
    return (model.score_all(make_histories(log, 1, NOW + 100, NOW))[0] > 0).tolist()


def test_what_is_looked_at_may_be_bought(model: LiveCooccurrence, make_histories: Any) -> None:
    assert scores(model, make_histories, (0, VIEW)) == [True, False, False, False]
    # Item 1 was only ever bought at once: a look at it does not say that it will be.
    assert scores(model, make_histories, (1, VIEW)) == [False, False, True, False]


def test_what_was_bought_leads_to_others_but_not_to_itself(model: LiveCooccurrence, make_histories: Any) -> None:
    assert scores(model, make_histories, (0, VIEW), (0, PURCHASE)) == [False] * 4
    assert scores(model, make_histories, (0, PURCHASE), (0, VIEW)) == [False] * 4
    assert scores(model, make_histories, (1, PURCHASE)) == [False, False, True, False]


def test_the_snapshots_own_events_are_not_read(model: LiveCooccurrence, make_histories: Any) -> None:
    assert not model.score_all(make_histories([(0, 0, VIEW, NOW - 1)], 1, NOW + 100, NOW)).any()
    assert model.score_all(make_histories([(0, 0, VIEW, NOW)], 1, NOW + 100, NOW)).any()


def test_the_latest_look_weighs_most(model: LiveCooccurrence, make_histories: Any) -> None:
    first_zero = make_histories([(0, 0, VIEW, NOW), (0, 1, VIEW, NOW + 1)], 1, NOW + 9, NOW)
    first_one = make_histories([(0, 1, VIEW, NOW), (0, 0, VIEW, NOW + 1)], 1, NOW + 9, NOW)
    assert model.score_all(first_zero)[0, 0] < model.score_all(first_one)[0, 0]


def test_a_search_moves_nothing_further_away(model: LiveCooccurrence, make_histories: Any) -> None:
    """Snapshots carry no searches, the service does: both must give one answer."""
    plain = [(0, 0, VIEW, NOW), (0, 1, VIEW, NOW + 5)]
    searching = [*plain, (0, -1, EventType.SEARCH, NOW + 3), (0, -1, EventType.SEARCH, NOW + 7)]
    one, other = (model.score_all(make_histories(log, 1, NOW + 9, NOW)) for log in (plain, searching))
    assert one.any() and np.array_equal(one, other)


def test_the_reason_is_the_item_of_now(model: LiveCooccurrence, make_histories: Any) -> None:
    question = make_histories([(0, 0, VIEW, NOW), (0, 1, VIEW, NOW + 1)], 1, NOW + 9, NOW)
    same, other = model.explain(question, np.array([0, 2], np.int32))
    assert same.code == "interested_now"
    assert (other.code, other.item) == ("goes_with_now", 1)
