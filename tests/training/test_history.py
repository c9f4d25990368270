"""Personal history against a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from features.errors import ConfigError
from features.schema import DAY_MS, EventType
from training.history import PersonalHistory
from training.recommender import TrainingSet

NOW = 100 * DAY_MS
N_ITEMS = 12


def random_log(seed: int, rows: int) -> list[tuple[int, int, EventType, int]]:
    rng = np.random.default_rng(seed)
    kinds = list(EventType)
    return [
        (
            int(rng.integers(rows)),
            int(rng.integers(N_ITEMS)),
            kinds[rng.integers(len(kinds))],
            int(NOW - 1 - rng.integers(60 * DAY_MS)),
        )
        for _ in range(200)
    ]


@pytest.mark.parametrize("half_life_days", [None, 5.0])
def test_against_a_plain_loop(make_snapshot: Any, half_life_days: float | None) -> None:
    events = random_log(3, 10)
    snapshot = make_snapshot(events, 10, N_ITEMS, NOW)
    weights = {EventType.PURCHASE: 2.0, EventType.ADD_TO_CART: 0.75, EventType.VIEW: 0.0}
    model = PersonalHistory(
        purchase=2.0, add_to_cart=0.75, view=0.0, half_life_days=half_life_days, popularity_window_days=20
    ).fit(TrainingSet(snapshot))
    expected = np.zeros((10, N_ITEMS))
    recent = np.zeros(N_ITEMS)
    for row, item, kind, ts in events:
        weight = weights.get(kind, 0.0)
        decayed = 1.0 if half_life_days is None else 2 ** (-(NOW - ts) / DAY_MS / half_life_days)
        expected[row, item] += weight * decayed
        recent[item] += weight > 0 and ts >= NOW - 20 * DAY_MS
    expected += np.minimum(expected, 1) * 1e-3 * recent / recent.max()
    np.testing.assert_allclose(model.score_all(snapshot.sequences), expected, rtol=1e-5)


def test_ties_are_broken_by_recent_popularity(make_snapshot: Any) -> None:
    events = [(0, item, EventType.PURCHASE, NOW - 40 * DAY_MS) for item in range(3)]
    events += [(1, 2, EventType.VIEW, NOW - 1), (2, 2, EventType.VIEW, NOW - 1), (1, 1, EventType.VIEW, NOW - 1)]
    snapshot = make_snapshot(events, 3, 5, NOW)
    model = PersonalHistory().fit(TrainingSet(snapshot))
    assert model.recommend(snapshot.sequences, 5)[0][0].tolist() == [2, 1, 0, 3, 4]


def test_popularity_does_not_outrank_what_faded_less(make_snapshot: Any) -> None:
    """Both were viewed long ago, item 0 six half-lives after item 1, which everybody else views now."""
    events = [(0, 0, EventType.VIEW, NOW - 60 * DAY_MS), (0, 1, EventType.VIEW, NOW - 90 * DAY_MS)]
    events += [(row, 1, EventType.VIEW, NOW - 1) for row in range(1, 9)]
    snapshot = make_snapshot(events, 9, 2, NOW)
    model = PersonalHistory(half_life_days=5).fit(TrainingSet(snapshot))
    assert model.recommend(snapshot.sequences, 2)[0][0].tolist() == [0, 1]


def test_without_a_recent_event_nothing_breaks(make_snapshot: Any) -> None:
    snapshot = make_snapshot([(0, 1, EventType.PURCHASE, NOW - 90 * DAY_MS)], 1, 3, NOW)
    assert PersonalHistory().fit(TrainingSet(snapshot)).score_all(snapshot.sequences).tolist() == [[0, 1, 0]]


def test_reasons(make_snapshot: Any) -> None:
    events = [(0, 0, EventType.PURCHASE, NOW - 2), (0, 1, EventType.VIEW, NOW - 1)]
    snapshot = make_snapshot(events, 1, 3, NOW)
    model = PersonalHistory().fit(TrainingSet(snapshot))
    codes = [reason.code for reason in model.explain(snapshot.sequences, np.array([0, 1], np.int32))]
    assert codes == ["bought_before", "seen_before"]


@pytest.mark.parametrize("config", [{"view": -1}, {"half_life_days": 0}, {"popularity_window_days": 0}])
def test_impossible_hyper_parameters(config: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"model history: {next(iter(config))} is not usable"):
        PersonalHistory(**config)
