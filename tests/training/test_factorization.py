"""The factorization against dense least squares written as in its docstring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from features.schema import EventType
from features.sequences import Histories
from features.snapshot import Snapshot
from tests.training.some_pairs import N_ITEMS, N_USERS, NOW, some_pairs
from training import factorization
from training.factorization import Factorization, Solver, alike
from training.reasons import Reason
from training.recommender import TrainingSet


@pytest.fixture(scope="module")
def some(make_snapshot: Any) -> Snapshot:
    return make_snapshot(some_pairs(), N_USERS, N_ITEMS, NOW)


def by_hand(interest: np.ndarray, columns: np.ndarray, unobserved: float, penalty: float) -> np.ndarray:
    """(rows, width): each row's least squares, as the zero of its gradient."""
    vectors = np.zeros((len(interest), columns.shape[1]))
    for row, weights in enumerate(interest):
        held = weights > 0
        if held.any():
            size = held.sum() + unobserved * len(columns)
            system = unobserved * columns.T @ columns + penalty * size * np.eye(columns.shape[1])
            for weight, column in zip(weights[held], columns[held], strict=True):
                system += weight * np.outer(column, column)
            vectors[row] = np.linalg.solve(system, columns.T @ weights)
    return vectors


def loss(interest: np.ndarray, users: np.ndarray, items: np.ndarray, a: float, penalty: float) -> float:
    """The sum that the docstring says is the least."""
    scores = users @ items.T
    taken = interest > 0
    total = float((interest * (scores - 1) ** 2)[taken].sum() + a * (scores**2).sum())
    for vectors, sizes, others in ((users, taken.sum(1), len(items)), (items, taken.sum(0), len(users))):
        total += penalty * float(((sizes + a * others) * (vectors**2).sum(1)).sum())
    return total


@pytest.mark.parametrize("at_once", [factorization.AT_ONCE, 1, 200])
@pytest.mark.parametrize("width", [2, 6])
def test_rows_are_solved_exactly(width: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factorization, "AT_ONCE", at_once)
    rng = np.random.default_rng(1)
    interest = rng.choice([0.0, 0.3, 1.0], size=(20, 9), p=[0.6, 0.2, 0.2]).astype(np.float32)
    interest[[3, 7]] = 0
    columns = rng.normal(size=(9, width))
    found, _ = Solver(torch.from_numpy(columns), 0.05, 0.2).solve(sparse.csr_array(interest))
    np.testing.assert_allclose(found.numpy(), by_hand(interest, columns, 0.05, 0.2), rtol=1e-9, atol=1e-12)


def test_what_entries_add_is_the_whole() -> None:
    rng = np.random.default_rng(2)
    interest = sparse.csr_array(np.array([[0, 1, 0.3, 0, 1]], dtype=np.float32))
    found, parts = Solver(torch.from_numpy(rng.normal(size=(5, 3))), 0.05, 0.2).solve(interest)
    assert parts.shape == (3, 3)
    np.testing.assert_allclose(parts.sum(0), found[0], rtol=1e-9)


def test_every_sweep_lowers_the_loss(some: Snapshot) -> None:
    config = {"width": 4, "unobserved": 0.1, "penalty": 0.02}
    found = []
    for sweeps in (1, 2, 4, 200):
        model = Factorization(**config, sweeps=sweeps).fit(TrainingSet(some))
        interest, items = model.past(some.sequences).toarray(), model._items.double().numpy()
        found.append(loss(interest, by_hand(interest, items, 0.1, 0.02), items, 0.1, 0.02))
    assert found == sorted(found, reverse=True) and found[0] > found[2]
    again = by_hand(interest.T, by_hand(interest, items, 0.1, 0.02), 0.1, 0.02)
    np.testing.assert_allclose(items, again, atol=2e-3)  # of vectors of length one or so: nothing is left to gain


def test_scores_are_those_of_the_vectors(some: Snapshot) -> None:
    model = Factorization(width=4).fit(TrainingSet(some))
    items = model._items.double().numpy()
    expected = by_hand(model.past(some.sequences).toarray(), items, 0.005, 0.014) @ items.T
    np.testing.assert_allclose(model.score_all(some.sequences), expected, rtol=1e-4, atol=1e-6)
    assert not model.score_all(some.sequences)[-1].any()


def test_the_reason_is_the_item_that_adds_most(some: Snapshot) -> None:
    model = Factorization(width=4).fit(TrainingSet(some))
    user = int(np.argmax(some.sequences.lengths))
    one = some.sequences.take(np.array([user]))
    ids, scores = model.recommend(one, 5)
    items, past = model._items.double(), model.past(one)
    _, parts = model._solver.solve(past)
    shares = (parts @ items[torch.from_numpy(ids[0].astype(np.int64))].T).numpy()
    np.testing.assert_allclose(shares.sum(0), scores[0], rtol=1e-4, atol=1e-6)
    for reason, share in zip(model.explain(one, ids[0]), shares.T, strict=True):
        assert reason.code == "same_taste_as" and reason.item == past.indices[share.argmax()]


def test_batches_hold_every_row_once() -> None:
    lengths = np.random.default_rng(3).integers(0, 50, size=300)
    batches = list(alike(lengths, 100_000))
    assert sorted(np.concatenate(batches).tolist()) == np.flatnonzero(lengths).tolist()
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() * 100_000 <= factorization.AT_ONCE


def test_nothing_was_taken(make_snapshot: Any) -> None:
    snapshot = make_snapshot([(0, 1, EventType.REFUND, 1)], 2, N_ITEMS, NOW)
    scores = Factorization().fit(TrainingSet(snapshot)).score_all(snapshot.sequences)
    assert scores.shape == (2, N_ITEMS) and not scores.any()


def test_unknown_items_are_left_out(some: Snapshot) -> None:
    model = Factorization(width=4).fit(TrainingSet(some))
    one = some.sequences.take(np.array([0]))
    more = replace(one, items=np.where(np.arange(len(one.items)) == 0, -1, one.items).astype(np.int32))
    fewer = one.where(np.arange(len(one.items)) != 0)
    assert np.array_equal(model.score_all(more), model.score_all(fewer))


CAMPS = {"camp": ["a" if user < N_USERS // 2 else "b" for user in range(N_USERS)]}


@pytest.fixture(scope="module")
def camps(make_snapshot: Any) -> Snapshot:
    """One half of the users takes even items, the other odd ones; all but the last told their half, the last two items
    are new and belong to one half each.
    """
    rng = np.random.default_rng(4)
    pairs = [
        (user, 2 * int(rng.integers((N_ITEMS - 2) // 2)) + int(user >= N_USERS // 2), EventType.PURCHASE, 1)
        for user in range(N_USERS - 1)
        for _ in range(4)
    ]
    snapshot: Snapshot = make_snapshot(pairs, N_USERS, N_ITEMS, NOW, CAMPS)
    items = snapshot.item_matrix.assign(category=["even" if item % 2 == 0 else "odd" for item in range(N_ITEMS)])
    return replace(snapshot, item_matrix=items)


def newcomers(make_histories: Any, *camps: str) -> Histories:
    found: Histories = make_histories([], len(camps), NOW, attributes={"camp": list(camps)})
    return found


def test_who_is_new_gets_what_those_who_tell_the_same_took(camps: Snapshot, make_histories: Any) -> None:
    model = Factorization(width=4).fit(TrainingSet(camps))
    scores = model.score_all(newcomers(make_histories, "a", "b", "missing"))
    even = np.arange(N_ITEMS) % 2 == 0
    assert scores[0, even].min() > scores[0, ~even].max() and scores[1, ~even].min() > scores[1, even].max()
    assert not scores[2].any()
    assert not Factorization(width=4, attributes=0).fit(TrainingSet(camps)).score_all(camps.sequences)[-1].any()


def test_what_is_new_is_placed_with_what_is_like_it(camps: Snapshot) -> None:
    model = Factorization(width=4).fit(TrainingSet(camps))
    scores = model.score_all(camps.sequences)
    first = np.arange(N_USERS - 1) < N_USERS // 2
    assert (scores[:-1, -2] > scores[:-1, -1])[first].all() and (scores[:-1, -2] < scores[:-1, -1])[~first].all()
    # All others are scored as without attributes.
    alone = Factorization(width=4, attributes=0).fit(TrainingSet(camps))
    assert not alone.score_all(camps.sequences)[:, -2:].any()
    np.testing.assert_array_equal(model._items[:-2], alone._items[:-2])


def test_the_reason_of_a_newcomer_is_what_they_told(camps: Snapshot, make_histories: Any, tmp_path: Path) -> None:
    Factorization(width=4).fit(TrainingSet(camps)).save(tmp_path)
    model = Factorization.load(tmp_path)
    ids = np.array([0, 2], dtype=np.int32)
    assert model.explain(newcomers(make_histories, "a"), ids) == [Reason("liked_in", detail="a")] * 2
    assert model.explain(newcomers(make_histories, "missing"), ids) == [Reason("unexplained")] * 2
