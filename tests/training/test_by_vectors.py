"""Models with an index of the catalogue against the same models without, which look at all items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.zoo  # noqa: F401  # registers the models
from features.ids import UNKNOWN
from features.schema import EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from training.by_vectors import ByVectors
from training.recommender import Recommender, TrainingSet, model_class, models
from training.sampled_sum import SAMPLED_ITEMS, SampledSum

SMALL: dict[str, dict[str, Any]] = {"transformer": {"width": 16, "epochs": 2, "length": 32}}
NAMES = sorted(name for name, kind in models().items() if issubclass(kind, ByVectors))
K = 30


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest, snapshot: Snapshot, asked: Labelled) -> tuple[ByVectors, ByVectors]:
    """The same model twice, without and with an index."""
    kind, settings = model_class(request.param), SMALL.get(request.param, {})
    plain = kind(**settings).fit(TrainingSet(snapshot, asked))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.by_vectors.INDEXED_FROM", 1)
        patch.setattr("training.by_vectors.PROBED_AT_MOST", 1.0)
        indexed = kind(**settings).fit(TrainingSet(snapshot, asked))
    assert isinstance(plain, ByVectors) and isinstance(indexed, ByVectors)
    assert indexed.is_indexed and not plain.is_indexed
    return plain, indexed


@pytest.fixture
def exhaustive(pair: tuple[ByVectors, ByVectors], monkeypatch: pytest.MonkeyPatch) -> tuple[ByVectors, ByVectors]:
    """All groups are asked: nothing is missed."""
    assert pair[1]._nearest is not None
    monkeypatch.setattr(pair[1]._nearest, "probes", 10**6)
    return pair


@pytest.fixture(scope="module")
def questions(asked: Labelled) -> Histories:
    """Users with a past, others without, in two chunks."""
    return asked.histories.take(np.arange(300))


def mostly(n_items: int) -> np.ndarray:
    return np.random.default_rng(4).random(n_items) < 0.7


def rarely(n_items: int) -> np.ndarray:
    return np.random.default_rng(4).random(n_items) < 0.02


def same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("choice", [None, mostly, rarely])
@pytest.mark.parametrize("k", [1, K, 5_000])
def test_what_an_index_finds_in_all_groups_is_what_a_look_at_all_items_finds(
    exhaustive: tuple[ByVectors, ByVectors], questions: Histories, choice: Any, k: int
) -> None:
    plain, indexed = exhaustive
    allowed = None if choice is None else choice(plain.n_items)
    some = questions if k < plain.n_items else questions.take(np.arange(0, 300, 29))
    _, best = plain.recommend(some, k, allowed)
    ids, scores = indexed.recommend(some, k, allowed)
    same(scores, best)
    # Equally good items come in any order: each is allowed, comes once, and has the score that is told.
    truth = plain.score_all(some)
    for row, (items, told) in enumerate(zip(ids, scores, strict=True)):
        items, told = items[items >= 0], told[items >= 0]
        assert len(set(items.tolist())) == len(items) == np.isfinite(best[row]).sum()
        assert allowed is None or allowed[items].all()
        same(told, truth[row, items])


def test_nearly_all_of_the_best_are_found_in_few_groups(
    pair: tuple[ByVectors, ByVectors], questions: Histories
) -> None:
    plain = pair[0]
    known = questions.take(np.flatnonzero(plain.user_vectors(questions).any(axis=1)))
    for allowed in (None, mostly(plain.n_items)):
        best, found = (model.recommend(known, K, allowed)[0] for model in pair)
        shared = [len(set(mine) & set(theirs)) for mine, theirs in zip(best.tolist(), found.tolist(), strict=True)]
        assert np.mean(shared) >= 0.98 * K
        assert (found >= 0).all()


def test_what_somebody_had_is_not_missed_however_few_groups_are_asked(
    pair: tuple[ByVectors, ByVectors], questions: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item that nobody else took has a vector unlike its neighbours', so a group of the index hardly leads to it."""
    plain, indexed = pair
    monkeypatch.setattr(indexed._nearest, "probes", 1)
    best, found = (model.recommend(questions, K, mostly(plain.n_items))[0].tolist() for model in pair)
    had = [set(questions.take(np.array([row])).items.tolist()) for row in range(len(questions))]
    expected = [set(row) & items for row, items in zip(best, had, strict=True)]
    assert sum(map(len, expected)) > 300
    assert [items - set(row) for row, items in zip(found, expected, strict=True)] == len(questions) * [set()]


def test_any_items_are_scored_as_among_all_items(exhaustive: tuple[ByVectors, ByVectors], questions: Histories) -> None:
    plain, indexed = exhaustive
    rows = np.repeat(np.arange(300), 4)
    items = np.random.default_rng(2).integers(plain.n_items, size=1_200).astype(np.int32)
    few = Ragged.from_rows(rows, items, 300)
    expected = plain.score_candidates(questions, few)
    np.testing.assert_allclose(indexed.score_candidates(questions, few), expected, rtol=2e-4, atol=1e-6)


def test_products_are_the_scores_of_what_has_no_bonus(pair: tuple[ByVectors, ByVectors], questions: Histories) -> None:
    for model in pair:
        wanted = model.wanted(questions)
        products = wanted.vectors @ model.item_vectors().T
        rows = np.repeat(np.arange(300), 5)
        few = Ragged.from_rows(rows, np.tile(np.arange(0, 50, 10), 300).astype(np.int32), 300)
        expected = products[rows, few.values]
        for row, item, bonus in zip(wanted.own.rows, wanted.own.values, wanted.bonus, strict=True):
            expected[(rows == row) & (few.values == item)] += bonus
        np.testing.assert_allclose(model.logits(wanted, few), expected, rtol=1e-4, atol=1e-5)
        assert np.array_equal(model.item_vectors(np.array([7, 3], dtype=np.int32)), model.item_vectors()[[7, 3]])


def test_only_a_large_catalogue_is_indexed(
    pair: tuple[ByVectors, ByVectors], snapshot: Snapshot, questions: Histories, tmp_path: Path
) -> None:
    plain, indexed = pair
    plain.save(tmp_path / "plain")
    indexed.save(tmp_path / "indexed")
    assert {path.name for path in (tmp_path / "indexed").iterdir()} - {
        path.name for path in (tmp_path / "plain").iterdir()
    } == {"nearest.npz"}
    loaded = type(indexed).load(tmp_path / "indexed")
    for one, other in zip(indexed.recommend(questions, K), loaded.recommend(questions, K), strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(plain.recommend(questions, K), Recommender.recommend(plain, questions, K), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("spread", [0.05, 50.0])
def test_an_index_that_would_ask_nearly_all_of_its_groups_is_left_out(
    make_snapshot: Any, monkeypatch: pytest.MonkeyPatch, spread: float
) -> None:
    """Of items in tight clusters few groups have the best; without clusters, and as many dimensions, hardly any has."""
    rng = np.random.default_rng(0)
    n, width = 4_000, 64
    centres = rng.normal(size=(40, width))
    vectors = (centres[rng.integers(40, size=n)] + spread * rng.normal(size=(n, width))).astype(np.float32)
    users = (centres[rng.integers(40, size=300)] + 0.05 * rng.normal(size=(300, width))).astype(np.float32)
    monkeypatch.setattr("training.by_vectors.INDEXED_FROM", n)
    model = model_class("factorization")()
    assert isinstance(model, ByVectors)
    model.n_items = n
    monkeypatch.setattr(model, "item_vectors", lambda: vectors)
    monkeypatch.setattr(model, "user_vectors", lambda histories: users[: len(histories)])
    views = [(user, user, EventType.VIEW, 1_000) for user in range(300)]
    model.index(make_snapshot(views, 300, n, 10**12).sequences)
    assert model.is_indexed == (spread < 1)


def test_an_empty_catalogue_and_a_shop_without_users(make_snapshot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.by_vectors.INDEXED_FROM", 0)
    monkeypatch.setattr("training.by_vectors.PROBED_AT_MOST", 1.0)
    for n, n_items in ((3, 0), (0, 5)):
        snapshot = make_snapshot([], n, n_items, 10**12)
        model = model_class("factorization")().fit(TrainingSet(snapshot))
        assert model.is_indexed
        strangers = make_snapshot([], 2, n_items, 10**12).sequences
        ids, scores = model.recommend(strangers, 4)
        assert ids.tolist() == 2 * [[*range(min(n_items, 4)), *[UNKNOWN] * (4 - min(n_items, 4))]]
        assert ((scores == 0) == (ids >= 0)).all()


def test_the_sum_of_all_others_is_estimated() -> None:
    """A softmax as peaked as a trained one's, of which the best hundred are known."""
    rng = np.random.default_rng(0)
    n_items, width = 60_000, 32
    vectors = rng.normal(size=(n_items, width)).astype(np.float32)
    questions = (rng.normal(size=(40, width)) * 2.2 / np.sqrt(width)).astype(np.float32)
    logits = questions @ vectors.T
    top = np.sort(np.argsort(-logits, axis=1)[:, :100], axis=1)
    rows = np.repeat(np.arange(40), 100)
    given = logits[rows, top.ravel()] + 1.0  # a bonus
    truth = logits.astype(np.float64)
    truth[rows, top.ravel()] += 1.0
    expected = np.log(np.exp(truth).sum(axis=1))
    drawn = SampledSum.drawn(n_items, 0)
    assert len(drawn) == SAMPLED_ITEMS == len(np.unique(drawn))
    found = SampledSum(drawn, vectors[drawn], n_items).log(questions, Ragged.from_rows(rows, top.ravel(), 40), given)
    # The standard error of a mean of 8,192 log-normal numbers of deviation 2.2, cut off at the best, is 4 %.
    assert np.abs(found - expected).max() < 0.12
    assert abs((found - expected).mean()) < 0.02
    every = SampledSum.drawn(500, 0)
    few = Ragged.from_rows(np.arange(40), np.full(40, 7, dtype=np.int32), 40)
    exact = SampledSum(every, vectors[:500], 500).log(questions, few, logits[:, 7])
    np.testing.assert_allclose(exact, np.log(np.exp(logits[:, :500].astype(np.float64)).sum(axis=1)), rtol=1e-5)
