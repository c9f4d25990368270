"""The linear model against dense algebra written as in the papers, and against an order that is planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.schema import EventType
from features.sequences import Histories
from features.snapshot import Snapshot
from training.interest import event_weights
from training.item_tokens import weighted_tokens
from training.linear import Linear
from training.moments import moments
from training.order import is_ordered, user_steps
from training.recommender import TrainingSet

BUY, CART, VIEW = EventType.PURCHASE, EventType.ADD_TO_CART, EventType.VIEW
N_USERS, N_ITEMS, NOW = 40, 12, 1_000


@pytest.fixture(scope="module")
def some(make_snapshot: Any) -> Snapshot:
    """Random events, some at one instant, some users with one event or none; items with colours and brands."""
    rng = np.random.default_rng(0)
    events = [
        (user, int(rng.integers(N_ITEMS)), (BUY, CART, VIEW)[rng.integers(3)], int(rng.integers(4)))
        for user in range(N_USERS)
        for _ in range(int(rng.integers(9)))
    ]
    snapshot = make_snapshot(events, N_USERS, N_ITEMS, NOW)
    snapshot.item_matrix["colour"] = [("red", "blue", "green|red")[item % 3] for item in range(N_ITEMS)]
    snapshot.item_matrix["brand"] = [f"b{item % 5}" if item else None for item in range(N_ITEMS)]
    return snapshot


def interest(event_type: int) -> float:
    return {BUY.code: 1.0, CART.code: 0.7, VIEW.code: 0.3}[event_type]


def by_hand(histories: Histories, forget: float, ahead: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of past and future, moment by moment."""
    past, future = [], []
    for user in range(len(histories)):
        rows = range(histories.offsets[user], histories.offsets[user + 1])
        instants = sorted({int(histories.ts[row]) for row in rows})
        for moment in range(len(instants) - 1):
            s, t = np.zeros((2, N_ITEMS))
            for row in rows:
                step, weight = instants.index(int(histories.ts[row])), interest(int(histories.event_types[row]))
                if step <= moment:
                    s[histories.items[row]] += weight * forget ** (moment - step)
                else:
                    t[histories.items[row]] += weight * ahead ** (step - moment - 1)
            past.append(s)
            future.append(t)
    return np.array(past), np.array(future)


def dense_x(snapshot: Snapshot) -> np.ndarray:
    """Tokens by hand: idf, then rows of length one."""
    colours, brands = (snapshot.item_matrix[name].tolist() for name in ("colour", "brand"))
    told = [
        {f"colour={word}" for word in colour.split("|")} | ({f"brand={brand}"} if isinstance(brand, str) else set())
        for colour, brand in zip(colours, brands, strict=True)
    ]
    words = sorted({word for item in told for word in item})
    x = np.array([[float(word in item) for word in words] for item in told])
    x = x[:, x.sum(axis=0) >= 2]
    x = x * np.log(N_ITEMS / x.sum(axis=0))
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def test_moments_are_sums_over_every_step_of_every_user(some: Snapshot) -> None:
    gram, cross = moments(some.sequences, N_ITEMS, 0.6, 0.3)
    s, t = by_hand(some.sequences, 0.6, 0.3)
    np.testing.assert_allclose(gram.toarray(), s.T @ s, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cross.toarray(), s.T @ t, rtol=1e-5, atol=1e-6)


def test_only_the_next_step_is_an_answer_where_nothing_further_ahead_counts(some: Snapshot) -> None:
    _, cross = moments(some.sequences, N_ITEMS, 0.6, 0.0)
    s, t = by_hand(some.sequences, 0.6, 0.0)
    np.testing.assert_allclose(cross.toarray(), s.T @ t, rtol=1e-5, atol=1e-6)


def test_what_happens_at_one_instant_is_one_step(make_histories: Any) -> None:
    events = [(0, 1, BUY, 3), (0, 2, BUY, 3), (0, 3, BUY, 5), (2, 4, BUY, 5), (2, 5, BUY, 9)]
    steps, first, last = user_steps(make_histories(events, 3, NOW))
    assert steps.tolist() == [0, 0, 1, 2, 3]
    assert first.tolist() == [0, 0, 0, 2, 2] and last.tolist() == [1, 1, 1, 3, 3]


def test_attributes_are_rare_words_of_unit_length(some: Snapshot) -> None:
    x, expected = weighted_tokens(some).toarray(), dense_x(some)
    np.testing.assert_allclose(x @ x.T, expected @ expected.T, atol=1e-6)


def answers(snapshot: Snapshot, *, ridge: float, forget: float, ahead: float, weight: float) -> np.ndarray:
    """(users, items) of the class's formula, in double precision."""
    s, t = by_hand(snapshot.sequences, forget, ahead)
    x = dense_x(snapshot)
    system = s.T @ s + weight * x @ x.T + ridge * np.eye(N_ITEMS)
    b = np.linalg.inv(system) @ (s.T @ t + weight * x @ x.T)
    histories = snapshot.sequences
    scores = np.zeros((len(histories), N_ITEMS))
    for user in range(len(histories)):
        rows = list(range(histories.offsets[user], histories.offsets[user + 1]))
        instants = sorted({int(histories.ts[row]) for row in rows})
        for row in rows:
            back = len(instants) - 1 - instants.index(int(histories.ts[row]))
            scores[user] += interest(int(histories.event_types[row])) * forget**back * b[histories.items[row]]
    return scores


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_scores_are_the_closed_form(some: Snapshot, weight: float) -> None:
    model = Linear(ridge=5, forget=0.6, ahead=0.3, attributes=weight)
    found = model.fit(TrainingSet(some)).score_all(some.sequences)
    expected = answers(some, ridge=5, forget=0.6, ahead=0.3, weight=weight)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_each_row_by_itself_is_exact_where_its_equations_hold_all_that_matters(make_snapshot: Any) -> None:
    """Two departments, in each of which all items come together, and nobody shops in both."""
    rng = np.random.default_rng(3)
    events = [
        (user, int(rng.integers(6)) + 6 * (user % 2), BUY, instant) for user in range(200) for instant in range(4)
    ]
    snapshot = make_snapshot(events, 200, N_ITEMS, NOW)
    snapshot.item_matrix["brand"] = ["a"] * 6 + ["b"] * 6
    gram, _ = moments(snapshot.sequences, N_ITEMS, 0.6, 0.3)
    assert gram.nnz == 2 * 6 * 6
    settings = {"ridge": 5, "forget": 0.6, "ahead": 0.3, "attributes": 2}
    apart = Linear(**settings, exact_items=0, support=6).fit(TrainingSet(snapshot))
    whole = Linear(**settings).fit(TrainingSet(snapshot))
    np.testing.assert_allclose(
        apart.score_all(snapshot.sequences), whole.score_all(snapshot.sequences), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("exact_items", [0, 100], ids=["row by row", "at once"])
def test_pairs_without_an_order_are_ease(make_snapshot: Any, exact_items: int) -> None:
    """Steck 2019, equation 8: ``B = I - P diag(1 / diag(P))``."""
    rng = np.random.default_rng(4)
    x = rng.random((60, N_ITEMS)) < 0.5
    snapshot = make_snapshot([(user, item, BUY, 7) for user, item in np.argwhere(x).tolist()], 60, N_ITEMS, NOW)
    assert not is_ordered(snapshot.sequences)
    x = x.astype(float)
    p = np.linalg.inv(x.T @ x + 5 * np.eye(N_ITEMS))
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    model = Linear(ridge=5, exact_items=exact_items).fit(TrainingSet(snapshot))
    np.testing.assert_allclose(model.score_all(snapshot.sequences), x @ b, rtol=1e-4, atol=1e-5)


def test_without_an_order_users_are_asked_as_they_were_learned_from(make_snapshot: Any, tmp_path: Path) -> None:
    """Who viewed and bought an item at one instant took it once, as strongly as who only bought it."""
    bought = [(user, item, BUY, 7) for user in range(40) for item in range(user % 3, N_ITEMS, 3)]
    viewed = [(user, item, VIEW, 7) for user, item, _, _ in bought if user < 20]
    snapshot = make_snapshot([*bought, *viewed], 40, N_ITEMS, NOW)
    model = Linear().fit(TrainingSet(snapshot))
    model.save(tmp_path / "model")
    for one in (model, Linear.load(tmp_path / "model")):
        scores = one.score_all(snapshot.sequences)
        np.testing.assert_allclose(scores[:20], scores[[user % 3 + 21 for user in range(20)]], rtol=1e-5)


def test_an_order_is_found(make_snapshot: Any) -> None:
    """Item i is always followed by i + 1, and never by i - 1."""
    rng = np.random.default_rng(1)
    events = []
    for user in range(60):
        start = int(rng.integers(N_ITEMS))
        events += [(user, (start + step) % N_ITEMS, BUY, step) for step in range(4)]
    snapshot = make_snapshot(events, 60, N_ITEMS, NOW)
    ids, _ = Linear(ridge=1).fit(TrainingSet(snapshot)).recommend(snapshot.sequences, 1)
    last = snapshot.sequences.items[snapshot.sequences.offsets[1:] - 1]
    assert np.array_equal(ids[:, 0], (last + 1) % N_ITEMS)


def test_an_item_that_nobody_took_is_found_by_its_attributes(make_snapshot: Any) -> None:
    """The last item is new; it has the brand of item 0."""
    events = [(user, item, BUY, step) for user in range(30) for step, item in enumerate((0, 1 + user % 10))]
    snapshot = make_snapshot(events, 30, N_ITEMS, NOW)
    snapshot.item_matrix["brand"] = ["a" if item in (0, 11) else "b" for item in range(N_ITEMS)]
    one = snapshot.sequences.take(np.array([0])).tail(2).where(np.array([True, False]))
    scores = Linear().fit(TrainingSet(snapshot)).score_all(one)[0]
    without = Linear(attributes=0).fit(TrainingSet(snapshot)).score_all(one)[0]
    assert without[11] == 0 < scores[11]


def test_the_reason_is_the_item_that_adds_most(some: Snapshot) -> None:
    model = Linear(ridge=5).fit(TrainingSet(some))
    user = int(np.argmax(some.sequences.lengths))
    one = some.sequences.take(np.array([user]))
    ids, _ = model.recommend(one, 5)
    past = model.past(one).toarray()[0]
    alone = [model.score_all(replace(one, items=np.full_like(one.items, item)))[0] for item in range(N_ITEMS)]
    whole = float(model.past(replace(one, items=np.zeros_like(one.items))).toarray()[0, 0])
    for item, reason in zip(ids[0].tolist(), model.explain(one, ids[0]), strict=True):
        added = {other: past[other] * alone[other][item] / whole for other in np.flatnonzero(past).tolist()}
        assert reason.code == "often_taken_after" and added[reason.item] == pytest.approx(max(added.values()))


def test_weights_of_events(make_histories: Any) -> None:
    events = [(0, 1, BUY, 1), (0, 1, VIEW, 2), (0, 1, EventType.REFUND, 3)]
    assert event_weights(make_histories(events, 1, NOW)).tolist() == [np.float32(1), np.float32(0.3), 0]


def test_few_neighbours_are_the_strongest(some: Snapshot, tmp_path: Path) -> None:
    model = Linear(neighbours=3, attributes=0).fit(TrainingSet(some))
    whole = Linear(attributes=0).fit(TrainingSet(some))
    model.save(tmp_path)
    loaded = Linear.load(tmp_path)
    for item in range(N_ITEMS):
        one = replace(some.sequences.take(np.array([0])), items=np.array([item], dtype=np.int32))
        one = replace(one, offsets=np.array([0, 1]), event_types=np.array([BUY.code], np.int8), ts=np.array([1]))
        kept, full = loaded.score_all(one)[0], whole.score_all(one)[0]
        strongest = np.sort(np.argsort(-np.abs(full), kind="stable")[:3])
        assert np.array_equal(np.flatnonzero(kept), strongest[full[strongest] != 0])
        np.testing.assert_allclose(kept[strongest], full[strongest], rtol=1e-6)
