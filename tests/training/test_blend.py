"""The blend against parts whose worth is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from features.errors import ConfigError
from features.schema import DAY_MS, EventType, Level
from features.snapshot import Snapshot
from features.split import Labelled
from tests.training.planted import Planted
from training.blend import POPULARITY_FLOOR, Blend
from training.metrics import ranking_metrics
from training.recommender import Recommender, Scores, TrainingSet
from training.train import Trained

NOW = 100 * DAY_MS
N, N_ITEMS = 1_500, 40


@pytest.fixture(scope="module")
def forty_items(make_snapshot: Any) -> Snapshot:
    events = [(0, item, EventType.VIEW, NOW - 1) for item in range(N_ITEMS) for _ in range(item % 7)]
    return make_snapshot(events, N, N_ITEMS, NOW)


def truth_and_noise(seed: int) -> tuple[list[list[int]], Scores, Scores]:
    """What each user buys, scores that know it half of the time, and scores that know nothing."""
    rng = np.random.default_rng(seed)
    bought = rng.integers(N_ITEMS, size=N)
    good, noise = rng.random((N, N_ITEMS)), rng.random((N, N_ITEMS))
    known = rng.random(N) < 0.5
    good[known, bought[known]] += 3
    return [[int(item)] for item in bought], good.astype(np.float32), noise.astype(np.float32)


@pytest.fixture
def quiet(make_histories: Any, make_labelled: Any) -> Callable[..., Labelled]:
    return lambda bought: make_labelled(make_histories([], N, NOW), bought, N_ITEMS)


@pytest.fixture
def within(make_histories: Any, make_labelled: Any) -> Callable[..., Labelled]:
    """Everybody looked at something since the snapshot."""
    events = [(row, 0, EventType.VIEW, NOW + 1) for row in range(N)]
    return lambda bought: make_labelled(make_histories(events, N, NOW + 2, NOW), bought, N_ITEMS)


def blend_of(snapshot: Snapshot, **parts: Recommender) -> Blend:
    return Blend(parts=tuple(parts), candidates=N_ITEMS).with_parts(parts, snapshot)


def ndcg(model: Recommender, asked: Labelled) -> float:
    return float(ranking_metrics(model.recommend(asked.histories, 10)[0], asked.labels, (10,))["ndcg@10"].mean())


def test_a_useless_part_gets_about_no_weight(forty_items: Snapshot, quiet: Callable[..., Labelled]) -> None:
    bought, good, noise = truth_and_noise(0)
    blend = blend_of(forty_items, good=Planted(good), noise=Planted(noise)).learn(quiet(bought))
    added = blend.contributions(quiet(bought).histories)
    assert added[1].std() < 0.1 * added[0].std()
    other_bought, other_good, other_noise = truth_and_noise(1)
    fresh = quiet(other_bought)
    later = blend.reweighted({"good": Planted(other_good), "noise": Planted(other_noise)}, forty_items)
    assert ndcg(later, fresh) >= ndcg(Planted(other_good), fresh) - 0.01
    assert ndcg(later, fresh) > ndcg(Planted(other_noise), fresh) + 0.2


def test_parts_that_know_different_things_are_better_together(
    forty_items: Snapshot, quiet: Callable[..., Labelled]
) -> None:
    rng = np.random.default_rng(2)

    def draw() -> tuple[list[list[int]], dict[str, Recommender]]:
        bought = rng.integers(N_ITEMS, size=N)
        one, other = np.zeros((2, N, N_ITEMS))
        rows = np.arange(N)
        one[rows, rng.integers(N_ITEMS, size=N)] = other[rows, rng.integers(N_ITEMS, size=N)] = 1
        one[rows[::2], bought[::2]] = other[rows[1::2], bought[1::2]] = 2
        return [[int(item)] for item in bought], {"one": Planted(one), "other": Planted(other)}

    bought, parts = draw()
    blend = blend_of(forty_items, **parts).learn(quiet(bought))
    bought, parts = draw()
    fresh, later = quiet(bought), blend.reweighted(parts, forty_items)
    assert ndcg(later, fresh) > max(ndcg(part, fresh) for part in parts.values()) + 0.2


def test_weights_between_and_within_sessions_are_learned_apart(
    forty_items: Snapshot, quiet: Callable[..., Labelled], within: Callable[..., Labelled]
) -> None:
    bought, good, noise = truth_and_noise(3)
    slow, now = Planted(good), Planted(noise, Level.LIVE)
    blend = blend_of(forty_items, slow=slow, now=now)
    blend.learn(quiet(bought), within([[int(row.argmax())] for row in noise]))
    assert blend.live_is_measured
    assert not blend.quiet[1].any()  # nothing is live between sessions
    between = blend.contributions(quiet(bought).histories).std(axis=(1, 2))
    inside = blend.contributions(within(bought).histories).std(axis=(1, 2))
    assert between[1] == 0 < between[0]
    assert inside[1] > 10 * inside[0]


def test_unmeasured_live_weights(forty_items: Snapshot, quiet: Callable[..., Labelled]) -> None:
    bought, good, noise = truth_and_noise(4)
    blend = blend_of(forty_items, slow=Planted(good), now=Planted(noise, Level.LIVE)).learn(quiet(bought))
    assert not blend.live_is_measured
    assert np.array_equal(blend.live[0], blend.quiet[0])
    assert blend.live[1].tolist() == [2.0, 2.0]


def test_only_the_live_part_sees_what_happened_since(
    forty_items: Snapshot, within: Callable[..., Labelled], quiet: Callable[..., Labelled]
) -> None:
    bought, good, noise = truth_and_noise(5)
    slow, now = Planted(good), Planted(noise, Level.LIVE)
    blend = blend_of(forty_items, slow=slow, now=now)
    blend.part_scores(within(bought).histories)
    assert len(slow.asked[-1].items) == 0 and len(now.asked[-1].items) == N


def test_contributions_add_up_and_the_largest_is_named(trained: Trained, asked_live: Labelled) -> None:
    blend = trained.models["champion"]
    assert isinstance(blend, Blend)
    histories = asked_live.histories.take(np.arange(20))
    ranking = blend.rank(histories, 12)
    ids, scores = blend.recommend(histories, 12)
    assert np.array_equal(ranking.ids, ids) and np.array_equal(ranking.scores, scores)
    added = blend.contributions(histories)
    for row in range(20):
        for place, item in enumerate(ids[row]):
            of_item = added[:, row, item]
            expected = of_item.sum() if of_item.any() else blend.popular[item]
            assert scores[row, place] == pytest.approx(expected, rel=1e-5, abs=1e-12)
            assert ranking.parts[row, place] == (of_item.argmax() if of_item.max() > 0 else -1)


def test_without_some_parts_the_others_answer(trained: Trained, asked: Labelled) -> None:
    blend = trained.models["champion"]
    assert isinstance(blend, Blend)
    histories = asked.histories.take(np.arange(20))
    without = frozenset({"history", "transformer"})
    gone = [position for position, name in enumerate(blend.parts) if name in without]
    added = blend.contributions(histories, without)
    assert not added[gone].any()
    assert np.array_equal(np.delete(added, gone, axis=0), np.delete(blend.contributions(histories), gone, axis=0))
    ranking = blend.rank(histories, 10, unavailable=without)
    assert (ranking.ids >= 0).all() and not np.isin(ranking.parts, gone).any()


def test_popularity_ranks_when_nothing_is_known(trained: Trained, asked: Labelled) -> None:
    blend = trained.models["champion"]
    assert isinstance(blend, Blend)
    ranking = blend.rank(asked.histories.take(np.arange(3)), 10, unavailable=frozenset(blend.parts))
    popularity = trained.snapshot.item_matrix["popularity"].to_numpy(dtype=float)
    expected = np.argsort(-popularity, kind="stable")[:10]
    assert ranking.ids.tolist() == [expected.tolist()] * 3
    assert (ranking.parts == -1).all()
    assert ranking.scores.max() == 0 and ranking.scores.min() >= -np.float32(POPULARITY_FLOOR)


@pytest.mark.parametrize("name", ["bestsellers", "history", "cooccurrence", "transformer", "live"])
def test_a_model_as_a_blend_ranks_as_the_model(name: str, trained: Trained, asked_live: Labelled) -> None:
    model = trained.models[name]
    blend = Blend.of_one(name, model, trained.snapshot)
    histories = asked_live.histories if name == "live" else asked_live.histories.past()
    ids, scores = model.recommend(histories, 10)
    found, _ = blend.recommend(histories, 10)
    assert np.array_equal(found[scores > 0], ids[scores > 0])


def test_what_a_blend_cannot_do_without(forty_items: Snapshot) -> None:
    with pytest.raises(ConfigError, match="validation is what a blend learns its weights from"):
        Blend(parts=("history",)).fit(TrainingSet(forty_items))
    with pytest.raises(ConfigError, match="parts must be fitted models, received 'b'; choose from a"):
        Blend(parts=("a", "b")).with_parts({"a": Planted(np.zeros((N, N_ITEMS)))}, forty_items)


def test_where_nothing_is_to_be_learned_the_mix_is_even(forty_items: Snapshot, quiet: Callable[..., Labelled]) -> None:
    nothing = np.zeros((N, N_ITEMS), dtype=np.float32)
    blend = blend_of(forty_items, one=Planted(nothing)).learn(quiet([[N_ITEMS + 5]] * N))
    assert blend.quiet.tolist() == [[0.0, 1.0]] and np.isfinite(blend.scales).all()


@pytest.mark.parametrize("n", [1, 12, 40])
def test_few_questions_do_not_outweigh_an_even_mix(
    forty_items: Snapshot, quiet: Callable[..., Labelled], n: int
) -> None:
    """Five parts that know a third of what is bought each, all alike: what a few users tell apart is chance."""

    def draw(seed: int) -> tuple[Labelled, dict[str, Recommender]]:
        rng = np.random.default_rng(seed)
        bought = rng.integers(N_ITEMS, size=N)
        parts = {}
        for name in "abcde":
            scores = rng.exponential(size=(N, N_ITEMS)) * (rng.random((N, N_ITEMS)) < 0.3)
            known = rng.random(N) < 0.33
            scores[known, bought[known]] += 2
            parts[name] = Planted(scores)
        return quiet([[int(item)] for item in bought]), parts

    learned_from, parts = draw(1)
    some = learned_from.take(np.arange(n))
    fresh, later = draw(2)
    found = ndcg(blend_of(forty_items, **parts).learn(some).reweighted(later, forty_items), fresh)
    many = ndcg(blend_of(forty_items, **parts).learn(learned_from).reweighted(later, forty_items), fresh)
    even = blend_of(forty_items, **later)
    even.scales, even.quiet = np.ones(5), np.tile([0.0, 1.0], (5, 1))
    even.live = even.quiet
    assert found > ndcg(even, fresh) - 0.015
    assert many > ndcg(even, fresh) - 0.002


def test_more_questions_than_are_needed_are_spread_evenly(
    forty_items: Snapshot, quiet: Callable[..., Labelled]
) -> None:
    bought, good, noise = truth_and_noise(6)
    parts = {"good": Planted(good), "noise": Planted(noise)}
    few = Blend(parts=("good", "noise"), candidates=N_ITEMS, questions=500).with_parts(parts, forty_items)
    every_third = quiet(bought).take(np.linspace(0, N - 1, 500).astype(np.int64))
    few.scales = few._scales(quiet(bought))
    same = few._weights(quiet(bought), in_session=False, again=True)
    np.testing.assert_array_equal(same, few._weights(every_third, in_session=False, again=True))


def test_what_was_seen_and_is_no_answer_teaches_nothing(
    forty_items: Snapshot, make_histories: Any, make_labelled: Any
) -> None:
    bought, good, _ = truth_and_noise(4)
    rng = np.random.default_rng(5)
    seen = [int(rng.choice([item for item in range(N_ITEMS) if item not in answers])) for answers in bought]
    events = [(row, item, EventType.VIEW, NOW - 1) for row, item in enumerate(seen)]
    asked = make_labelled(make_histories(events, N, NOW), bought, N_ITEMS)
    remembers = good.copy()
    remembers[np.arange(N), seen] = 6.0  # knows as much, and puts first what was seen
    part = {"part": Planted(remembers)}
    skipped = blend_of(forty_items, **part).learn(asked, again=False)
    counted = blend_of(forty_items, **part).learn(asked)
    assert skipped.quiet.sum() > 2 * counted.quiet.sum()
    columns, _, owners = skipped._examples(asked, in_session=False, again=False)
    assert len(columns) == len(owners) == N * (N_ITEMS - 1)
