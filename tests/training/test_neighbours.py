"""Session neighbours against votes counted in plain loops, derivatives taken numerically, and planted habits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from features.schema import DAY_MS, EventType
from features.sequences import Histories
from features.snapshot import Snapshot
from training import neighbours as module
from training.neighbour_timelines import Asked, Timelines
from training.neighbour_votes import FIRST, N_WEIGHTS, TABLES, Votes, votes
from training.neighbours import Neighbours, likelihood, strengths
from training.recommender import TrainingSet

N_ITEMS = 12
MINUTE_MS = 60_000
END_MS = 1_577_836_800_000


def flat(lists: Sequence[Sequence[int]], end_ms: int = END_MS) -> dict[str, np.ndarray]:
    """Lists that all end at one instant, a minute between two views, as session logs without times are read."""
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    ts = [end_ms - (len(items) - 1 - place) * MINUTE_MS for items in lists for place in range(len(items))]
    items = np.array([item for row in lists for item in row], dtype=np.int32)
    types = np.full(len(items), EventType.VIEW.code, dtype=np.int8)
    return {"offsets": offsets, "items": items, "types": types, "ts": np.array(ts, dtype=np.int64)}


def histories(lists: Sequence[Sequence[int]], name: str = "asks") -> Histories:
    arrays = flat(lists)
    n = len(lists)
    return Histories(
        user_ids=np.array([f"{name} {row}" for row in range(n)], dtype=object),
        as_of_ms=np.full(n, END_MS + 1),
        snapshot_ms=np.full(n, END_MS + 1),
        offsets=arrays["offsets"],
        items=arrays["items"],
        event_types=arrays["types"],
        ts=arrays["ts"],
    )


def snapshot(lists: Sequence[Sequence[int]], n_items: int = N_ITEMS) -> Snapshot:
    sequences = histories(lists, "knows")
    items = pd.DataFrame({"category": "all"}, index=pd.Index([f"i{item}" for item in range(n_items)], name="item_id"))
    return Snapshot(END_MS + 1, "0" * 64, (), pd.DataFrame(index=sequences.user_ids), items, sequences)


def random_lists(n: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(N_ITEMS, size=rng.integers(1, 9)).tolist() for _ in range(n)]


@pytest.fixture
def timelines() -> Timelines:
    return Timelines.of(**flat(random_lists(25)), n_items=N_ITEMS, postings=1_000, is_timed=False)


@pytest.fixture
def asked() -> Asked:
    arrays = flat([*random_lists(12, seed=1), []])
    return Asked(**arrays, at_ms=np.full(13, END_MS + 1), own=np.append(np.arange(12), -1))


def bucket(value: int, borders: Sequence[int]) -> int:
    return sum(value >= border for border in borders)


STEPS = (1, 2, 3, 4, 5, 6, 8, 11, 16)
FAR = (2, 3, 4, 5, 7, 10, 16)


def counted_by_hand(
    known: list[list[int]], asks: list[int], own: int, reach: int, weights: np.ndarray
) -> dict[int, float]:
    """Item to the sum of the votes of other users' events, for one question."""

    def weight(name: str, place: int) -> float:
        return float(weights[FIRST[name] + place])

    popularity = np.bincount([item for row in known for item in row], minlength=N_ITEMS)
    step = {item: len(asks) - 1 - place for place, item in enumerate(asks)}
    found: dict[int, float] = defaultdict(float)
    for user, events in enumerate(known):
        shared = sorted({step[item] for item in events if item in step})
        if user == own or not shared:
            continue
        anchor = asks[len(asks) - 1 - shared[0]]
        few = min(len(shared), 6)
        everything = few >= min(len(step), 6)
        common = weight("shared", few - 1 + 6 * everything)
        second = 5 if len(shared) == 1 else min(shared[1], 4)
        common += weight("second", bucket(shared[0], STEPS) * 6 + second)
        common += weight("anchor_popularity", int(math.log2(popularity[anchor])))
        common += weight("length", int(math.log2(len(events)))) + weight("question", min(len(asks), 8) - 1)
        common += weight("age", 0) + weight("anchor_type", EventType.VIEW.code)
        for place, item in enumerate(events):
            if item != anchor:
                continue
            order = 0
            if place > 0 and shared[0] < len(asks) - 1:
                order = 1 + (events[place - 1] == asks[len(asks) - 2 - shared[0]])
            for other in range(max(place - reach, 0), min(place + reach + 1, len(events))):
                if other == place:
                    continue
                far = bucket(abs(other - place), FAR) + (8 if other < place else 0)
                vote = common + weight("order", order) + weight("gap", 0) + weight("type", EventType.VIEW.code)
                vote += weight("offset", bucket(shared[0], STEPS) * 16 + far)
                vote += weight("popularity", int(math.log2(popularity[events[other]])))
                vote += weight("seen", 1 + bucket(step[events[other]], STEPS) if events[other] in step else 0)
                found[events[other]] += math.exp(vote)
    return found


@pytest.mark.parametrize("reach", [2, 20])
def test_votes_are_those_of_plain_loops(timelines: Timelines, asked: Asked, reach: int) -> None:
    weights = np.random.default_rng(3).normal(size=N_WEIGHTS)
    found = votes(timelines, asked, neighbours=100, reach=reach)
    others, _, _ = strengths(weights, found)
    known, asks = random_lists(25), [*random_lists(12, seed=1), []]
    for row in range(13):
        expected = counted_by_hand(known, asks[row], row if row < 12 else -1, reach, weights)
        mine = found.question == row
        sums = np.bincount(found.item[mine], others[mine], N_ITEMS)
        assert sums == pytest.approx([expected.get(item, 0.0) for item in range(N_ITEMS)])


def test_only_the_nearest_neighbours_vote() -> None:
    """Sharing the last item is nearer than sharing two before it: 1 is more than 1 / 2 + 1 / 3."""
    known = [[3, 6], [1, 2, 7], [1, 2, 3, 8], [1, 9]]
    timelines = Timelines.of(**flat(known), n_items=N_ITEMS, postings=10, is_timed=False)
    asked = Asked(**flat([[1, 2, 3]]), at_ms=np.array([END_MS + 1]), own=np.array([-1]))
    for most, expected in ((1, {8}), (2, {8, 6}), (3, {8, 6, 7}), (4, {8, 6, 7, 9})):
        found = votes(timelines, asked, neighbours=most, reach=20)
        assert set(found.item.tolist()) - {1, 2, 3} == expected


def test_of_a_popular_item_those_are_looked_up_who_came_last() -> None:
    arrays = flat([[0, item] for item in range(1, 9)])
    arrays["ts"] = arrays["ts"] - np.repeat([5, 1, 7, 0, 6, 2, 4, 3], 2) * DAY_MS
    timelines = Timelines.of(**arrays, n_items=N_ITEMS, postings=3, is_timed=True)
    asked = Asked(**flat([[0]]), at_ms=np.array([END_MS + 1]), own=np.array([-1]))
    assert set(votes(timelines, asked, neighbours=10, reach=5).item.tolist()) == {4, 2, 6}
    assert timelines.counts[0] == 8


def test_where_times_are_real_nothing_later_than_the_question_is_seen() -> None:
    known = [[0, 1], [0, 2], [3, 0, 4]]
    arrays = flat(known)
    arrays["ts"] = arrays["ts"] - np.repeat([9, 0, 4], [2, 2, 3]) * DAY_MS
    arrays["ts"][-1] += 3 * DAY_MS  # the third user comes back
    asked = Asked(**flat([[0]]), at_ms=np.array([END_MS - 2 * DAY_MS]), own=np.array([-1]))
    real = Timelines.of(**arrays, n_items=N_ITEMS, postings=10, is_timed=True)
    assert set(votes(real, asked, 10, 5).item.tolist()) == {1, 3}
    made_up = replace(real, is_timed=False)
    assert set(votes(made_up, asked, 10, 5).item.tolist()) == {1, 2, 3, 4}


def test_the_gradient_is_the_derivative_of_the_loss(timelines: Timelines, asked: Asked) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=N_WEIGHTS) / 3
    found = votes(timelines, asked, neighbours=5, reach=3)
    answers = rng.integers(N_ITEMS, size=len(asked)).astype(np.int32)
    popularity = np.full(N_ITEMS, 1 / N_ITEMS)
    _, gradient = likelihood(weights, found, answers, popularity)
    assert gradient.shape == (N_WEIGHTS,)
    used = np.flatnonzero(gradient)
    assert len(used) > 60
    for place in rng.permutation(used)[:40]:
        step = np.zeros(N_WEIGHTS)
        step[place] = 1e-5
        above, below = (likelihood(weights + sign * step, found, answers, popularity)[0] for sign in (1, -1))
        assert (above - below) / 2e-5 == pytest.approx(gradient[place], rel=1e-4, abs=1e-8)


def test_the_loss_is_that_of_the_scores() -> None:
    model = Neighbours(questions=40).fit(TrainingSet(snapshot(random_lists(30))))
    asks, answers = histories(random_lists(10, seed=2)), np.arange(10, dtype=np.int32)
    scores = model.score_all(asks)
    assert scores.shape == (10, N_ITEMS) and (scores > 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    found: Votes = model._votes(model._asked(asks))
    loss, _ = likelihood(model._weights, found, answers, model._popularity())
    assert loss == pytest.approx(-np.log(scores[np.arange(10), answers]).mean(), rel=1e-5)


def test_ones_own_timeline_does_not_answer() -> None:
    """Nobody else took what this user took: all they are told is their own and popularity."""
    lists = [*random_lists(30), [10, 11, 10]]
    lists = [[item % 10 for item in row] for row in lists[:-1]] + lists[-1:]
    model = Neighbours().fit(TrainingSet(snapshot(lists)))
    mine = histories(lists, "knows").take(np.array([30]))
    assert len(model._votes(model._asked(mine)).item) == 0
    stranger = replace(mine, user_ids=np.array(["somebody"], dtype=object))
    assert set(model._votes(model._asked(stranger)).item.tolist()) == {10, 11}


@pytest.mark.parametrize(
    ("habit", "asks", "expected"),
    [
        (lambda a, b, rest: [a, *rest, b], lambda a, b: [a, 8, 9], lambda a, b: b),  # the item that opened it decides
        (lambda a, b, rest: [*rest, a, b], lambda a, b: [8, 9, a], lambda a, b: b),  # the last item decides
        (lambda a, b, rest: [a, *rest, a], lambda a, b: [a, 8, 9], lambda a, b: a),  # the first item comes again
    ],
)
def test_a_planted_habit_is_learned(
    habit: Callable[[int, int, list[int]], list[int]],
    asks: Callable[[int, int], list[int]],
    expected: Callable[[int, int], int],
) -> None:
    rng = np.random.default_rng(0)
    lists = []
    for _ in range(300):
        a = int(rng.integers(4))
        lists.append(habit(a, a + 4, (8 + rng.permutation(4)[:2]).tolist()))
    model = Neighbours().fit(TrainingSet(snapshot(lists)))
    found, _ = model.recommend(histories([asks(a, a + 4) for a in range(4)]), 1)
    assert found[:, 0].tolist() == [expected(a, a + 4) for a in range(4)]


def test_learning_lowers_the_loss_and_can_be_read() -> None:
    told: list[tuple[int, int, float]] = []
    rng = np.random.default_rng(0)
    lists = [[int(a), (int(a) + 1) % N_ITEMS, (int(a) + 2) % N_ITEMS] for a in rng.integers(N_ITEMS, size=300)]
    model = Neighbours().fit(
        TrainingSet(snapshot(lists)), lambda done, of, told_: told.append((done, of, told_["loss"]))
    )
    assert [done for done, _, _ in told] == [1, 2, 3, 4] and told[-1][2] < told[0][2] < math.log(N_ITEMS)
    read = model.weights()
    assert {name: len(values) for name, values in read.items()} == TABLES
    # What comes right after the last item counts more than what comes right before it.
    assert read["offset"][0] > read["offset"][8] + 1


def test_reasons_name_the_shared_item_or_say_that_it_comes_again() -> None:
    lists = [[1, 2], [1, 2], [1, 2], [3, 4], [5, 5, 5], [5, 5]] * 20
    model = Neighbours().fit(TrainingSet(snapshot(lists)))
    reasons = model.explain(histories([[5, 1]]), np.array([2, 5, 9], dtype=np.int32))
    assert (reasons[0].code, reasons[0].item) == ("often_taken_with", 1)
    assert reasons[1].code == "seen_before"
    assert reasons[2].code == "unexplained"


def test_who_asks_nothing_is_told_nothing() -> None:
    model = Neighbours().fit(TrainingSet(snapshot(random_lists(30))))
    assert not model.score_all(histories([[], []])).any()


def test_a_log_from_which_nothing_can_be_learned() -> None:
    model = Neighbours().fit(TrainingSet(snapshot([[1], [2]])))
    scores = model.score_all(histories([[1]]))
    assert np.isfinite(scores).all() and scores[0].argmax() == 1


def test_events_that_tell_no_interest_are_not_read() -> None:
    lists = random_lists(30)
    model = Neighbours().fit(TrainingSet(snapshot(lists)))
    asks = histories([[1, 2, 3]])
    refunded = replace(asks, event_types=np.array([0, 0, EventType.REFUND.code], dtype=np.int8))
    assert np.array_equal(model.score_all(refunded), model.score_all(asks.where(np.array([True, True, False]))))


def test_the_order_in_which_users_are_listed_means_little() -> None:
    """Ties are broken by a draw, and questions are drawn: what is learned from all of them is the same."""
    lists = random_lists(60)
    asks = histories(random_lists(10, seed=4))
    one = Neighbours().fit(TrainingSet(snapshot(lists)))
    other = Neighbours().fit(TrainingSet(snapshot(lists[::-1])))
    other._weights = one._weights
    np.testing.assert_allclose(one.score_all(asks), other.score_all(asks), rtol=1e-5)


def test_learning_holds_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "HELD_BYTES", 1)
    model = Neighbours().fit(TrainingSet(snapshot(random_lists(60))))
    assert np.isfinite(model._weights).all() and model._weights.any()
