"""The spectral model against dense algebra written as in its docstring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from features.schema import EventType
from features.snapshot import Snapshot
from tests.training.some_pairs import BUY, N_ITEMS, N_USERS, NOW, some_pairs
from training.factorization import Factorization
from training.graph_patterns import MOST_ENTRIES, patterns
from training.recommender import TrainingSet
from training.spectral import Spectral


@pytest.fixture(scope="module")
def some(make_snapshot: Any) -> Snapshot:
    return make_snapshot(some_pairs(), N_USERS, N_ITEMS, NOW)


def powers(counts: np.ndarray, exponent: float) -> np.ndarray:
    return np.diag([count**exponent if count else 0.0 for count in counts])


def by_hand(snapshot: Snapshot, rank: int, graph: float, guess: np.ndarray | float = 0.0) -> np.ndarray:
    """(users, items) in double precision, with a full decomposition."""
    h = snapshot.sequences
    past = np.zeros((N_USERS, N_ITEMS))
    for row, item, event_type in zip(h.rows, h.items, h.event_types, strict=True):
        past[row, item] = max(past[row, item], 1.0 if event_type == BUY.code else 0.3)
    r = (past > 0).astype(float)
    users, items = r.sum(axis=1), r.sum(axis=0)
    v = np.linalg.svd(powers(users, -0.25) @ r @ powers(items, -0.4))[2][:rank].T
    smooth = past @ powers(items, -0.2) @ v @ v.T @ powers(items, 0.2)
    step = past @ powers(items, -0.5) @ r.T @ powers(users, -0.84) @ r @ powers(items, -0.3)
    total = np.zeros_like(past)
    for weight, scores in ((1.0, smooth), (graph, step), (2.5, np.zeros_like(past) + guess)):
        deviation = np.where(past > 0, 0, scores).std(axis=1, keepdims=True)
        total += weight * scores / np.where(deviation > 0, deviation, 1)
    return total


@pytest.mark.parametrize(("rank", "graph"), [(4, 0.0), (4, 0.6), (7, 2.0)])
def test_scores_are_those_of_the_docstring(some: Snapshot, rank: int, graph: float) -> None:
    model = Spectral(rank=rank, graph=graph, regression=0).fit(TrainingSet(some))
    expected = by_hand(some, rank, graph)
    np.testing.assert_allclose(model.score_all(some.sequences), expected, rtol=1e-3, atol=1e-4)
    assert not model.score_all(some.sequences)[-1].any()


def test_the_regression_starts_from_the_patterns_and_is_added(some: Snapshot) -> None:
    model = Spectral(rank=4).fit(TrainingSet(some))
    factorization = Factorization()
    factorization.n_items = N_ITEMS
    interest = factorization.past(some.sequences)
    factorization.learn(interest, patterns(interest.astype(bool), 4, 0.25, 0.4))
    expected = by_hand(some, 4, 0.6, factorization.score_all(some.sequences))
    np.testing.assert_allclose(model.score_all(some.sequences), expected, rtol=1e-3, atol=1e-3)


def test_patterns_are_at_most_half_of_what_there_is(some: Snapshot) -> None:
    model = Spectral(rank=500, regression=0).fit(TrainingSet(some))
    np.testing.assert_allclose(model.score_all(some.sequences), by_hand(some, N_ITEMS // 2, 0.6), rtol=1e-3, atol=1e-4)
    assert MOST_ENTRIES // 1_000_000 == 60  # a million items fit


def test_the_reason_is_the_item_with_the_largest_share(some: Snapshot) -> None:
    model = Spectral(rank=4, graph=0, regression=0).fit(TrainingSet(some))
    user = int(np.argmax(some.sequences.lengths))
    one = some.sequences.take(np.array([user]))
    ids, _ = model.recommend(one, 5)
    held = sorted(set(one.items.tolist()))
    shares = {}
    for item in held:
        only = one.where(one.items == item)
        # Undo what makes users comparable: it depends on the rest of the history.
        shares[item] = model.score_all(only)[0] * deviation_of(model, only)
    for item, reason in zip(ids[0].tolist(), model.explain(one, ids[0]), strict=True):
        assert reason.code == "same_taste_as"
        assert shares[reason.item][item] == pytest.approx(max(share[item] for share in shares.values()), rel=1e-3)


def deviation_of(model: Spectral, only: Any) -> float:
    """What ``score_all`` divides by, from the history's only item, whose own smooth score is known."""
    item = int(only.items[0])
    past = float(model.past(only).toarray()[0, item])
    own = past * float(model._patterns[item] @ model._patterns[item])
    return own / float(model.score_all(only)[0, item])


def test_nothing_was_taken(make_snapshot: Any) -> None:
    snapshot = make_snapshot([(0, 1, EventType.REFUND, 1)], 2, N_ITEMS, NOW)
    scores = Spectral().fit(TrainingSet(snapshot)).score_all(snapshot.sequences)
    assert scores.shape == (2, N_ITEMS) and not scores.any()


def test_unknown_items_are_left_out(some: Snapshot) -> None:
    model = Spectral(rank=4).fit(TrainingSet(some))
    one = some.sequences.take(np.array([0]))
    more = replace(one, items=np.where(np.arange(len(one.items)) == 0, -1, one.items).astype(np.int32))
    fewer = one.where(np.arange(len(one.items)) != 0)
    assert np.array_equal(model.score_all(more), model.score_all(fewer))
