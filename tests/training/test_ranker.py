"""The ranker against what was planted, and its features against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.schema import DAY_MS, EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from tests.training.planted import Planted
from training.blend import Blend
from training.cooccurrence import Cooccurrence
from training.history import PersonalHistory
from training.metrics import ranking_metrics
from training.ranker import Ranker, Situation
from training.ranker_features import NAMES, ItemFacts, candidate_features
from training.recommender import Recommender, Scores, TrainingSet

NOW = 100 * DAY_MS
N, N_ITEMS = 600, 40
VIEW, CART, BUY = EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE


def with_columns(snapshot: Snapshot, **columns: Any) -> Snapshot:
    return replace(snapshot, item_matrix=snapshot.item_matrix.assign(**columns))


@pytest.fixture(scope="module")
def past() -> list[tuple[int, int, EventType, int]]:
    """Every second user looked at two items."""
    rng = np.random.default_rng(5)
    return [
        (row, int(item), VIEW, NOW - (2 + place) * DAY_MS)
        for row in range(0, N, 2)
        for place, item in enumerate(rng.choice(N_ITEMS, 2, replace=False))
    ]


@pytest.fixture(scope="module")
def world(past: Any, make_snapshot: Any) -> Snapshot:
    """Categories are the last digit of an item's number; nothing else is known of items."""
    snapshot: Snapshot = make_snapshot(past, N, N_ITEMS, NOW)
    return with_columns(snapshot, category=[f"c{item % 10}" for item in range(N_ITEMS)])


def of_own_category(histories: Histories, rng: np.random.Generator) -> list[list[int]]:
    """Who looked at something buys an item of the same category; strangers buy anything."""
    bought = []
    for row in range(len(histories)):
        seen = histories.items[histories.offsets[row] : histories.offsets[row + 1]].tolist()
        choice = [item for item in range(N_ITEMS) if item % 10 == seen[0] % 10] if seen else list(range(N_ITEMS))
        bought.append([int(rng.choice(choice))])
    return bought


@pytest.fixture(scope="module")
def noise() -> Scores:
    return np.random.default_rng(3).random((N, N_ITEMS)).astype(np.float32) + 0.1


@pytest.fixture(scope="module")
def taught(world: Snapshot, noise: Scores, make_labelled: Any) -> tuple[Ranker, Blend, Labelled]:
    """A ranker and a blend over one part that knows nothing, taught by 300 users, and 300 others to ask."""
    bought = of_own_category(world.sequences, np.random.default_rng(8))
    asked: Labelled = make_labelled(world.sequences, bought, N_ITEMS)
    lesson, other = asked.take(np.arange(N // 2)), asked.take(np.arange(N // 2, N))
    parts = {"noise": Planted(noise)}
    settings: dict[str, Any] = {"parts": ("noise",), "candidates": N_ITEMS}
    ranker = Ranker(**settings).with_parts(parts, world).learn(lesson)
    return ranker, Blend(**settings).with_parts(parts, world).learn(lesson), other


def ndcg(model: Recommender, asked: Labelled) -> np.ndarray:
    return ranking_metrics(model.recommend(asked.histories, 20)[0], asked.labels)["ndcg@20"]


def test_what_only_features_know_is_found(taught: tuple[Ranker, Blend, Labelled]) -> None:
    ranker, blend, asked = taught
    known = asked.histories.lengths > 0
    better = (ndcg(ranker, asked) - ndcg(blend, asked))[known]
    assert better.mean() > 5 * better.std() / math.sqrt(len(better))
    # Whoever saw two categories buys of the older one: at best the four items of both come first.
    share = ranker.weights[Situation.KNOWN]
    assert share.gain > 0 and share.of_features[NAMES.index("category_share")] == share.of_features.max()
    mine, truth = ranker.recommend(asked.histories.take(np.flatnonzero(known)), 8)[0], asked.histories.items
    both = {(int(row), int(item) % 10) for row, item in zip(asked.histories.rows, truth, strict=True)}
    rows = np.flatnonzero(known)
    hits = [[(int(row), int(item) % 10) in both for item in ids] for row, ids in zip(rows, mine, strict=True)]
    assert np.mean(hits) > 0.9


def test_strangers_get_the_order_of_the_part_that_speaks(taught: tuple[Ranker, Blend, Labelled], noise: Scores) -> None:
    ranker, _, asked = taught
    assert Situation.SESSION not in ranker.weights
    assert ranker.weights[Situation.STRANGER].base == "even" and math.isinf(ranker.weights[Situation.STRANGER].ridge)
    strangers = asked.histories.take(np.flatnonzero(asked.histories.lengths == 0))
    rows = [int(user_id[1:]) for user_id in strangers.user_ids]
    assert np.array_equal(ranker.recommend(strangers, 12)[0], np.argsort(-noise[rows], axis=1)[:, :12])


def test_few_questions_teach_no_features(world: Snapshot, noise: Scores, make_labelled: Any) -> None:
    bought = of_own_category(world.sequences, np.random.default_rng(8))
    asked = make_labelled(world.sequences, bought, N_ITEMS)
    settings: dict[str, Any] = {"parts": ("noise",), "fewest": 100, "candidates": N_ITEMS}
    for n, learned in ((198, False), (200, True)):
        ranker = Ranker(**settings).with_parts({"noise": Planted(noise)}, world).learn(asked.take(np.arange(n)))
        assert (Situation.KNOWN in ranker.weights) == learned


def test_what_is_no_candidate_follows_in_the_order_of_the_blend(
    taught: tuple[Ranker, Blend, Labelled], world: Snapshot
) -> None:
    ranker, blend, asked = taught
    short = ranker.reweighted(ranker.parts, world)
    short.config = ranker.config.model_copy(update={"candidates": 6})
    known = asked.histories.take(np.flatnonzero(asked.histories.lengths > 0)[:20])
    allowed = np.arange(N_ITEMS) != 3
    mine, theirs = (model.recommend(known, N_ITEMS - 1, allowed)[0] for model in (short, blend))
    best = ranker.parts["noise"].recommend(known, 6, allowed)[0]
    for row in range(len(known)):
        assert set(mine[row, :6].tolist()) == set(best[row].tolist())
        assert mine[row, 6:].tolist() == [item for item in theirs[row].tolist() if item not in best[row]]
    assert np.array_equal(short.rank(known, 6, allowed).ids, mine[:, :6])


def test_features_are_of_the_snapshot_that_is_served(
    taught: tuple[Ranker, Blend, Labelled], world: Snapshot, noise: Scores
) -> None:
    ranker, _, asked = taught
    known = asked.histories.take(np.flatnonzero(asked.histories.lengths > 0))
    shuffled = with_columns(world, category=[f"c{item % 7}" for item in range(N_ITEMS)])
    later = ranker.reweighted({"noise": Planted(noise)}, shuffled)
    assert later.weights == ranker.weights
    assert np.array_equal(later.facts.categories, np.arange(N_ITEMS) % 7)
    assert not np.array_equal(later.recommend(known, 5)[0], ranker.recommend(known, 5)[0])


def test_the_part_that_adds_most_is_named_and_parts_may_be_missing(
    world: Snapshot, noise: Scores, make_labelled: Any
) -> None:
    """One part knows what is bought by half of the items, the other by the other half."""
    rng = np.random.default_rng(11)
    bought = rng.integers(N_ITEMS, size=N)
    scores = np.zeros((2, N, N_ITEMS), dtype=np.float32)
    scores += 0.01 * np.stack([noise, noise[::-1]])
    scores[:, np.arange(N), bought] = 0.0
    scores[(bought >= N_ITEMS // 2).astype(int), np.arange(N), bought] = 1.0
    asked = make_labelled(world.sequences, [[int(item)] for item in bought], N_ITEMS)
    parts = {"low": Planted(scores[0]), "high": Planted(scores[1])}
    ranker = Ranker(parts=("low", "high")).with_parts(parts, world).learn(asked.take(np.arange(400)))
    test = asked.take(np.arange(400, N))
    ranking = ranker.rank(test.histories, 1)
    assert np.array_equal(ranking.ids[:, 0], bought[400:])
    assert np.array_equal(ranking.parts[:, 0], bought[400:] >= N_ITEMS // 2)
    without = ranker.rank(test.histories, 1, unavailable=frozenset({"high"}))
    low = bought[400:] < N_ITEMS // 2
    assert np.array_equal(without.ids[low, 0], bought[400:][low]) and (without.parts == 0).all()
    nobody = ranker.rank(test.histories, 3, unavailable=frozenset({"high", "low"}))
    assert (nobody.parts == -1).all() and all(len(set(row)) == 3 for row in nobody.ids.tolist())


def test_what_is_saved_answers_equally(world: Snapshot, make_labelled: Any, tmp_path: Path) -> None:
    models: dict[str, Recommender] = {"history": PersonalHistory(), "cooccurrence": Cooccurrence(shrinkage=0.0)}
    parts = {name: model.fit(TrainingSet(world)) for name, model in models.items()}
    bought = of_own_category(world.sequences, np.random.default_rng(8))
    asked = make_labelled(world.sequences, bought, N_ITEMS)
    ranker = Ranker(parts=tuple(parts), ridges=(0.1,)).with_parts(parts, world).learn(asked.take(np.arange(300)))
    assert set(ranker.weights) == {Situation.STRANGER, Situation.KNOWN}
    assert math.isinf(ranker.weights[Situation.STRANGER].ridge)  # no part speaks for them
    ranker.save(tmp_path / "ranker")
    loaded = Ranker.load(tmp_path / "ranker")
    for situation, each in ranker.weights.items():
        again = loaded.weights[situation]
        assert (again.base, again.ridge, again.gain) == (each.base, each.ridge, each.gain)
    one, other = ranker.rank(asked.histories, 10), loaded.rank(asked.histories, 10)
    for name in ("ids", "scores", "parts"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


@pytest.fixture(scope="module")
def told(make_histories: Any, make_snapshot: Any) -> tuple[Snapshot, Histories]:
    """A shop of six items, and a question in a session."""
    hour = DAY_MS // 24
    events = [
        (0, 0, BUY, 10 * DAY_MS),
        (0, 0, BUY, 30 * DAY_MS),
        (0, 1, VIEW, 90 * DAY_MS),
        (0, 1, CART, 90 * DAY_MS + 1),
        (1, 2, BUY, 50 * DAY_MS),
        (1, 2, BUY, 60 * DAY_MS),
        (1, 3, VIEW, 99 * DAY_MS),
    ]
    snapshot: Snapshot = make_snapshot(events, 3, 6, NOW)
    columns = {
        "category": ["a", "a", "b", "b", None, "a"],
        "brand": ["x", "y", "x", "y", "x", "x"],
        "price_rank": [0.0, 0.2, 0.4, np.nan, 0.8, 1.0],
        "title_0": [1.0, 0.0, 3.0, 0.0, 0.0, 1.0],
        "title_1": [0.0, 2.0, 4.0, 0.0, 0.0, 1.0],
        "age_days": [7, 21, 0, 70, 7, 0],
    }
    live = [*events, (0, 5, VIEW, NOW + hour), (0, 2, BUY, NOW + hour + 1)]
    return with_columns(snapshot, **columns), make_histories(live, 3, NOW + 2 * hour, NOW)


def test_features_of_pairs_and_users(told: tuple[Snapshot, Histories]) -> None:
    snapshot, histories = told
    rows = [(0, [0, 1, 4, 5]), (1, [2, 3]), (2, [0])]
    chosen = Ragged(np.array([0, 4, 6, 7]), np.array([item for _, items in rows for item in items], dtype=np.int32))
    found = candidate_features(ItemFacts.of(snapshot), histories, chosen)
    assert found.shape == (7, len(NAMES)) and found.dtype == np.float32
    at = {pair: place for place, pair in enumerate((row, item) for row, items in rows for item in items)}
    now = 100 + 2 / 24
    facts = ItemFacts.of(snapshot)
    # Two purchases of item 0 are 20 days apart, two of item 2 ten: 15 on average.
    np.testing.assert_allclose(facts.gaps_days, [(20 + 5 * 15) / 6, 15, (10 + 5 * 15) / 6, 15, 15, 15])
    overdue = math.log((now - 30) / 20)
    title = np.array([1.0, 0.0]) * (0.5 ** ((now - 10) / 30) + 0.5 ** ((now - 30) / 30)) + np.array([0.0, 1.0]) * (
        0.5 ** ((now - 90) / 30) + 0.5 ** ((now - 90) / 30)
    )
    expected: dict[tuple[int, int], dict[str, float]] = {
        (0, 0): {
            "viewed": 0.0,
            "bought": math.log(3),
            "recency": 1 / (1 + (now - 30) / 7),
            "bought_recency": 1 / (1 + (now - 30) / 7),
            "overdue": overdue,
            "due": math.exp(-(overdue**2)),
            "category_share": 1.0,
            "brand_share": 0.5,
            "price_distance": 0.1,
            "title_likeness": title[0] / math.hypot(*title),
            "category_recency": 1 / (1 + (now - 90) / 7),
            "session_category": 0.5,
            "age_days": 0.5,
            "events": math.log(5),
            "purchases": math.log(3),
            "visits": math.log(4),
            "variety": 0.5,
            "repeats": 0.5,
            "price_band": 0.1,
            "session_length": math.log(3),
        },
        (0, 1): {"viewed": math.log(2), "carted": math.log(2), "bought": 0.0, "overdue": 0.0, "brand_share": 0.5},
        (0, 4): {"category_share": 0.0, "category_recency": 0.0, "recency": 0.0, "session_category": 0.0},
        (0, 5): {"session_viewed": math.log(2), "session_bought": 0.0, "viewed": 0.0, "recency": 0.0},
        (1, 2): {"bought": math.log(3), "overdue": math.log((now - 60) / 10), "category_share": 1.0},
        (1, 3): {"viewed": math.log(2), "price_rank": (0.0 + 0.2 + 0.4 + 0.8 + 1.0) / 5, "session_length": 0.0},
        (2, 0): {"events": 0.0, "recency_of_user": 0.0, "price_distance": 0.0, "price_band": 0.5, "repeats": 0.0},
    }
    for pair, values in expected.items():
        for name, value in values.items():
            assert found[at[pair], NAMES.index(name)] == pytest.approx(value, rel=1e-5, abs=1e-6), (pair, name)


def test_features_do_not_depend_on_who_else_is_asked(told: tuple[Snapshot, Histories]) -> None:
    snapshot, histories = told
    facts = ItemFacts.of(snapshot)
    every = Ragged(np.arange(0, 19, 6), np.tile(np.arange(6, dtype=np.int32), 3))
    together = candidate_features(facts, histories, every)
    for row in range(3):
        alone = candidate_features(facts, histories.take(np.array([row])), every.take(np.array([row])))
        np.testing.assert_array_equal(alone, together[6 * row : 6 * row + 6])
