"""Bestsellers per segment: planted tastes, shrinkage, windows and decay against plain loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import ConfigError
from features.schema import DAY_MS, EventType, Level
from features.snapshot import Snapshot
from training.bestsellers import STRENGTHS, Bestsellers, loo_strength
from training.recommender import TrainingSet

NOW = 100 * DAY_MS


@pytest.fixture
def two_tastes(make_snapshot: Any) -> Snapshot:
    """60 Germans buy items 0 to 9, 60 Britons items 10 to 19, one item each; nobody's country is known of 20 more."""
    countries = ["DE"] * 60 + ["GB"] * 60 + ["missing"] * 20
    items = [row % 10 for row in range(60)] + [10 + row % 10 for row in range(60)] + [20] * 20
    events = [(row, item, EventType.PURCHASE, NOW - 1 - row) for row, item in enumerate(items)]
    return make_snapshot(events, 140, 30, NOW, {"country": countries})


def top(model: Bestsellers, make_histories: Any, k: int = 10, **attributes: str) -> list[int]:
    question = make_histories([], 1, NOW, attributes={name: [value] for name, value in attributes.items()})
    return model.recommend(question, k)[0][0].tolist()


def test_groups_with_different_tastes_get_different_bestsellers(two_tastes: Snapshot, make_histories: Any) -> None:
    model = Bestsellers().fit(TrainingSet(two_tastes))
    assert set(top(model, make_histories, country="DE")) == set(range(10))
    assert set(top(model, make_histories, country="GB")) == set(range(10, 20))


@pytest.mark.parametrize("attributes", [{}, {"country": "missing"}, {"country": "FR"}, {"size": "DE"}])
def test_who_tells_nothing_gets_everybodys(
    two_tastes: Snapshot, make_histories: Any, attributes: dict[str, str]
) -> None:
    model = Bestsellers().fit(TrainingSet(two_tastes))
    everybody = Bestsellers(by=()).fit(TrainingSet(two_tastes))
    assert top(model, make_histories, **attributes) == top(everybody, make_histories, country="DE")
    assert top(model, make_histories, **attributes)[0] == 20
    question = make_histories([], 1, NOW, attributes={name: [value] for name, value in attributes.items()})
    assert model.explain(question, np.array([20], np.int32))[0].code == "popular"


def test_the_reason_names_the_segment(two_tastes: Snapshot, make_histories: Any) -> None:
    model = Bestsellers().fit(TrainingSet(two_tastes))
    question = make_histories([], 1, NOW, attributes={"country": ["DE"]})
    reason = model.explain(question, np.array([0], np.int32))[0]
    assert (reason.code, reason.detail) == ("bestseller_in", "DE")


def shares(make_snapshot: Any, buyers: int, **config: Any) -> tuple[np.ndarray, np.ndarray]:
    """(the segment's shares, its parent's) where the parent buys items 0 to 4 and the segment items 5 to 9."""
    rows = 1000 + buyers
    items = [row % 5 if row < 1000 else 5 + row % 5 for row in range(rows)]
    events = [(row, item, EventType.PURCHASE, NOW - 1) for row, item in enumerate(items)]
    country = ["DE" if row < 1000 else "LI" for row in range(rows)]
    snapshot = make_snapshot(events, rows, 10, NOW, {"country": country})
    model = Bestsellers(minimum_sales=0, minimum_buyers=0, half_life_days=None, **config).fit(TrainingSet(snapshot))
    question = snapshot.sequences.take(np.array([rows - 1]))
    return model.score_all(question)[0], Bestsellers(by=(), half_life_days=None).fit(TrainingSet(snapshot)).score_all(
        question
    )[0]


def test_small_segments_shrink_to_their_parent_and_large_ones_do_not(make_snapshot: Any) -> None:
    """``(sales + m p) / (all sales + m)``: the distance to the parent grows smoothly with the segment's buyers."""
    strength = 100
    distances = []
    for buyers in (5, 20, 80, 320, 1280, 5120):
        own, parent = shares(make_snapshot, buyers, strength=strength)
        assert own.sum() == pytest.approx(1, abs=1e-5)
        expected = (np.repeat([0, buyers / 5], 5) + strength * parent) / (buyers + strength)
        np.testing.assert_allclose(own, expected, rtol=1e-4)
        taste = np.repeat([0, 0.2], 5)
        distances.append(np.abs(own - parent).sum() / np.abs(taste - parent).sum())
    assert distances == sorted(distances)
    assert distances == pytest.approx([n / (n + strength) for n in (5, 20, 80, 320, 1280, 5120)], rel=1e-3)
    few, parent = shares(make_snapshot, 5, strength=strength)
    assert np.argsort(-few, kind="stable")[:5].tolist() == np.argsort(-parent, kind="stable")[:5].tolist()
    many, _ = shares(make_snapshot, 5120, strength=strength)
    assert set(np.argsort(-many)[:5]) == {5, 6, 7, 8, 9}


def test_segments_that_sold_too_little_are_their_parent(make_snapshot: Any) -> None:
    rows = 30
    events = [(row, row % 3, EventType.PURCHASE, NOW - 1) for row in range(rows)]
    snapshot = make_snapshot(events, rows, 3, NOW, {"country": ["DE"] * 19 + ["GB"] * 11})
    model = Bestsellers(minimum_sales=12).fit(TrainingSet(snapshot))
    assert model.segments(snapshot.sequences).tolist() == [1] * 19 + [0] * 11


@pytest.mark.parametrize(("floor", "expected"), [(0, [1, 2]), (10, [1, 2]), (11, [1, 0]), (13, [0, 0])])
def test_segments_of_too_few_buyers_are_their_parent(
    make_snapshot: Any, make_histories: Any, floor: int, expected: list[int]
) -> None:
    """12 Germans buy an item each; 10 Britons buy three each, and 5 more only look; buying twice is no second buyer."""
    events = [(row, row % 3, EventType.PURCHASE, NOW - 1) for row in range(12)]
    events += [(row, item, EventType.PURCHASE, NOW - 1 - item) for row in range(12, 22) for item in range(3)]
    events += [(12, 0, EventType.PURCHASE, NOW - 9), *((row, 0, EventType.VIEW, NOW - 1) for row in range(22, 27))]
    snapshot = make_snapshot(events, 27, 3, NOW, {"country": ["DE"] * 12 + ["GB"] * 15})
    model = Bestsellers(minimum_sales=12, minimum_buyers=floor).fit(TrainingSet(snapshot))
    asked = make_histories([], 2, NOW, attributes={"country": ["DE", "GB"]})
    assert model.segments(asked).tolist() == expected
    everybody = Bestsellers(by=()).fit(TrainingSet(snapshot)).score_all(asked)
    for row in np.flatnonzero(np.array(expected) == 0):
        np.testing.assert_array_equal(model.score_all(asked)[row], everybody[row])


def test_by_default_a_list_tells_of_eleven_people_at_least(make_snapshot: Any) -> None:
    events = [(row, item, EventType.PURCHASE, NOW - 1 - item) for row in range(21) for item in range(20)]
    snapshot = make_snapshot(events, 21, 20, NOW, {"country": ["DE"] * 11 + ["GB"] * 10})
    assert Bestsellers().fit(TrainingSet(snapshot)).segments(snapshot.sequences).tolist() == [1] * 11 + [0] * 10


def test_what_is_below_the_floor_has_no_segments_inside(make_snapshot: Any) -> None:
    """Of three Britons too few buy; although a finer segment cannot be larger, none may come back further down."""
    rows = 40
    events = [(row, row % 4, EventType.PURCHASE, NOW - 1) for row in range(rows)]
    attributes = {"country": ["DE"] * 37 + ["GB"] * 3, "gender": ["female", "male"] * (rows // 2)}
    snapshot = make_snapshot(events, rows, 4, NOW, attributes)
    model = Bestsellers(minimum_sales=0, minimum_buyers=4).fit(TrainingSet(snapshot))
    assert sorted(model._segments) == [(), ("DE",), ("DE", "female"), ("DE", "male")]
    assert set(model.segments(snapshot.sequences)[37:]) == {0}


def behavioural(make_snapshot: Any) -> Snapshot:
    """Germans who buy groceries and Germans who buy shoes; only the country is what they told."""
    items = [row % 5 for row in range(30)] + [5 + row % 5 for row in range(30)]
    events = [(row, item, EventType.PURCHASE, NOW - 1 - row) for row, item in enumerate(items)]
    attributes = {"country": ["DE"] * 60, "top_category": ["grocery"] * 30 + ["shoes"] * 30}
    return replace(make_snapshot(events, 60, 10, NOW, attributes), attributes=("country",))


def test_behaviour_is_a_link_of_the_chain_where_it_is_asked_for(
    make_snapshot: Any, make_histories: Any, tmp_path: Path
) -> None:
    snapshot = behavioural(make_snapshot)
    told = Bestsellers().fit(TrainingSet(snapshot))
    assert (told.by, told.level) == (("country",), Level.DEMOGRAPHIC)
    model = Bestsellers(by=("country", "top_category")).fit(TrainingSet(snapshot))
    assert (model.level, Bestsellers.level) == (Level.BEHAVIOUR, Level.DEMOGRAPHIC)
    assert set(top(model, make_histories, 5, country="DE", top_category="grocery")) == {0, 1, 2, 3, 4}
    assert set(top(model, make_histories, 5, country="DE", top_category="shoes")) == {5, 6, 7, 8, 9}
    # Nothing is known of what a new user does.
    assert top(model, make_histories, country="DE") == top(told, make_histories, country="DE")
    question = make_histories([], 1, NOW, attributes={"country": ["DE"], "top_category": ["shoes"]})
    assert model.explain(question, np.array([5], np.int32))[0].detail == "DE, shoes"
    model.save(tmp_path / "model")
    loaded = Bestsellers.load(tmp_path / "model")
    assert (loaded.by, loaded.level) == (model.by, model.level)
    assert model.refit(TrainingSet(snapshot)).level is Level.BEHAVIOUR


@pytest.mark.parametrize(
    ("by", "level"),
    [
        ((), Level.DEMOGRAPHIC),
        (("country",), Level.DEMOGRAPHIC),
        (("top_category",), Level.BEHAVIOUR),
        (("top_category", "country"), Level.BEHAVIOUR),
    ],
)
def test_one_link_of_behaviour_makes_the_chain_level_two(make_snapshot: Any, by: tuple[str, ...], level: Level) -> None:
    assert Bestsellers(by=by).fit(TrainingSet(behavioural(make_snapshot))).level is level


def test_a_link_that_nothing_is_known_by_is_refused(make_snapshot: Any) -> None:
    snapshot = behavioural(make_snapshot)
    with pytest.raises(ConfigError, match=r"must name text columns.*'contry'.*choose from country, top_category"):
        Bestsellers(by=("contry",)).fit(TrainingSet(snapshot))
    nothing = make_snapshot([(0, 0, EventType.PURCHASE, NOW - 1)], 1, 1, NOW)
    with pytest.raises(ConfigError, match="write `by: \[\]`"):
        Bestsellers(by=("country",)).fit(TrainingSet(nothing))


def test_a_segment_without_any_sale_is_its_parent(make_snapshot: Any) -> None:
    events = [(0, 0, EventType.PURCHASE, NOW - 1), (1, 1, EventType.VIEW, NOW - 1)]
    snapshot = make_snapshot(events, 2, 2, NOW, {"country": ["DE", "GB"]})
    model = Bestsellers(minimum_sales=0, minimum_buyers=0).fit(TrainingSet(snapshot))
    assert model.segments(snapshot.sequences).tolist() == [1, 0]
    assert np.isfinite(model.score_all(snapshot.sequences)).all()


def test_the_chain_ends_at_the_first_missing_attribute(make_snapshot: Any, make_histories: Any) -> None:
    rows = 80
    events = [(row, row % 4, EventType.PURCHASE, NOW - 1) for row in range(rows)]
    attributes = {"country": ["DE"] * rows, "gender": ["female", "male"] * (rows // 2)}
    model = Bestsellers().fit(TrainingSet(make_snapshot(events, rows, 4, NOW, attributes)))
    told = {"country": ["DE", "DE", "missing", "DE"], "gender": ["female", "missing", "female", "other"]}
    female, country, nothing, other = model.segments(make_histories([], 4, NOW, attributes=told)).tolist()
    assert nothing == 0 and country == other == 1 and female > 1
    flipped = Bestsellers(by=("gender",)).fit(TrainingSet(make_snapshot(events, rows, 4, NOW, attributes)))
    assert flipped.segments(make_histories([], 1, NOW, attributes={"gender": ["female"]})).tolist() == [1]


def random_log(seed: int) -> list[tuple[int, int, EventType, int]]:
    rng = np.random.default_rng(seed)
    kinds = [EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE]
    return [
        (int(rng.integers(20)), int(rng.integers(8)), kinds[rng.integers(3)], int(NOW - 1 - rng.integers(60 * DAY_MS)))
        for _ in range(300)
    ]


@pytest.mark.parametrize(("window_days", "half_life_days"), [(None, None), (30, None), (None, 7.0), (10, 3.0)])
def test_window_and_half_life_against_a_plain_loop(
    make_snapshot: Any, window_days: int | None, half_life_days: float | None
) -> None:
    events = random_log(1)
    snapshot = make_snapshot(events, 20, 8, NOW)
    config: dict[str, Any] = {"by": (), "window_days": window_days, "half_life_days": half_life_days}
    found = Bestsellers(**config).fit(TrainingSet(snapshot)).score_all(snapshot.sequences)[0]
    sold = [1e-6] * 8
    for _, item, kind, ts in events:
        if kind is EventType.PURCHASE and (window_days is None or ts >= NOW - window_days * DAY_MS):
            age = (NOW - ts) // DAY_MS
            sold[item] += 1.0 if half_life_days is None else 0.5 ** (age / half_life_days)
    np.testing.assert_allclose(found, np.array(sold) / sum(sold), rtol=1e-6)


def test_the_window_is_half_open(make_snapshot: Any) -> None:
    edge = NOW - 10 * DAY_MS
    events = [(0, 0, EventType.PURCHASE, edge), (0, 1, EventType.PURCHASE, edge - 1)]
    snapshot = make_snapshot(events, 1, 2, NOW)
    found = Bestsellers(window_days=10, half_life_days=None).fit(TrainingSet(snapshot)).score_all(snapshot.sequences)
    assert found[0].tolist() == pytest.approx([1, 0], abs=1e-5)


def test_a_shop_without_sales_ranks_by_interactions(make_snapshot: Any) -> None:
    events = [(0, 1, EventType.VIEW, NOW - 1), (0, 1, EventType.VIEW, NOW - 2), (0, 0, EventType.VIEW, NOW - 3)]
    snapshot = make_snapshot(events, 1, 3, NOW)
    assert Bestsellers().fit(TrainingSet(snapshot)).recommend(snapshot.sequences, 3)[0].tolist() == [[1, 0, 2]]


def test_what_was_sent_back_or_taken_out_is_no_sale(make_snapshot: Any) -> None:
    """Nothing was bought lately, but much was refunded and removed: the older sales rank."""
    events = [(0, 0, EventType.PURCHASE, NOW - 60 * DAY_MS - ago) for ago in range(3)]
    events += [(0, 1, EventType.REFUND, NOW - 1 - ago) for ago in range(9)]
    events += [(0, 2, EventType.REMOVE_FROM_CART, NOW - 1 - ago) for ago in range(9)]
    snapshot = make_snapshot(events, 1, 3, NOW)
    found = Bestsellers(window_days=30).fit(TrainingSet(snapshot)).score_all(snapshot.sequences)[0]
    assert found[0] > 0.99
    looks = [*events[3:], (0, 0, EventType.VIEW, NOW - 1)]
    snapshot = make_snapshot(looks, 1, 3, NOW)
    assert Bestsellers().fit(TrainingSet(snapshot)).score_all(snapshot.sequences)[0][0] > 0.99


def test_nested_segments_against_a_plain_loop(make_snapshot: Any, make_histories: Any, tmp_path: Path) -> None:
    """Each segment mixes its sales with its parent's shares, whatever its depth; a saved model does the same."""
    events = random_log(5)
    attributes = {"country": ["DE", "GB"] * 10, "gender": ["f", "f", "m", "m"] * 5, "age": ["x"] * 12 + ["y"] * 8}
    strength = 4.0
    config: dict[str, Any] = {"strength": strength, "minimum_sales": 0, "minimum_buyers": 0, "half_life_days": 20.0}
    snapshot = make_snapshot(events, 20, 8, NOW, attributes)
    model = Bestsellers(**config).fit(TrainingSet(snapshot))
    names = snapshot.attributes
    expected = np.zeros((20, 8))
    for user in range(20):
        chain = [attributes[name][user] for name in names]
        for depth in range(len(chain) + 1):
            inside = [row for row in range(20) if [attributes[name][row] for name in names[:depth]] == chain[:depth]]
            sold, pairs = np.zeros(8), set()
            for row, item, kind, ts in events:
                if row in inside and kind is EventType.PURCHASE:
                    sold[item] += 0.5 ** ((NOW - ts) // DAY_MS / 20)
                    pairs.add((row, item))
            if not depth:
                expected[user] = (sold + 1e-6) / (sold + 1e-6).sum()
            elif sold.sum():
                weight = strength * sold.sum() / len(pairs)
                expected[user] = (sold + weight * expected[user]) / (sold.sum() + weight)
    np.testing.assert_allclose(model.score_all(snapshot.sequences), expected, rtol=1e-4)
    model.save(tmp_path / "model")
    loaded = Bestsellers.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_all(snapshot.sequences), model.score_all(snapshot.sequences))


def test_many_small_segments_keep_no_more_than_they_sold(make_snapshot: Any) -> None:
    """1,000 cities of a shop with 20,000 items would be 80 MB of shares."""
    rng = np.random.default_rng(0)
    users, items = 5_000, 20_000
    events = [
        (user, int(item), EventType.PURCHASE, NOW - 1) for user in range(users) for item in rng.integers(items, size=4)
    ]
    snapshot = make_snapshot(events, users, items, NOW, {"city": [f"c{user % 1_000}" for user in range(users)]})
    model = Bestsellers(minimum_sales=0, minimum_buyers=0).fit(TrainingSet(snapshot))
    assert len(model._segments) == 1_001 and model._own.nnz <= len(events)
    np.testing.assert_allclose(model.score_all(snapshot.sequences.take(np.arange(9))).sum(axis=1), 1, rtol=1e-4)


def brute_force(counts: Sequence[np.ndarray], parents: Sequence[np.ndarray]) -> float:
    """Take every single purchase out, predict it from the others, and see which strength does best."""
    best, best_likelihood = 0.0, -inf
    for strength in STRENGTHS:
        likelihood = 0.0
        for count, parent in zip(counts, parents, strict=True):
            for item, times in enumerate(count):
                for _ in range(int(times)):
                    rest = count.copy()
                    rest[item] -= 1
                    likelihood += log((rest[item] + strength * parent[item]) / (rest.sum() + strength))
        if likelihood > best_likelihood:
            best, best_likelihood = float(strength), likelihood
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_strength_is_the_best_at_leaving_one_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = rng.dirichlet(np.ones(12))
    tastes = rng.dirichlet(parent * [3, 30, 300][seed % 3] + 1e-3, size=5)
    counts = [rng.multinomial(120, taste).astype(float) for taste in tastes]
    assert loo_strength(counts, [parent] * 5) == brute_force(counts, [parent] * 5)


def test_equal_tastes_are_pooled_and_different_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    parent = np.full(10, 0.1)
    same = [rng.multinomial(300, parent).astype(float) for _ in range(20)]
    different = [rng.multinomial(300, rng.dirichlet(np.full(10, 0.3))).astype(float) for _ in range(20)]
    assert loo_strength(same, [parent] * 20) >= 1000
    assert loo_strength(different, [parent] * 20) <= 10
