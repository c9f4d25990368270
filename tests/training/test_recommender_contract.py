"""What holds for every registered model, whatever it has learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.zoo  # noqa: F401  # registers the models
from features.errors import ConfigError, NotFoundError
from features.schema import DAY_MS, EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from tests.training.planted import Planted
from training.by_vectors import ByVectors
from training.reasons import WORDS, Reason
from training.recommender import Recommender, TrainingSet, model_class, models, top_k, top_of

SMALL: dict[str, dict[str, Any]] = {
    "transformer": {"width": 16, "epochs": 2, "length": 32},
    "neighbours": {"questions": 500},
    "ranker": {
        "parts": ("bestsellers", "history", "cooccurrence", "live"),
        "candidates": 20,
        "ridges": (0.1,),
    },
    "blend": {"parts": ("bestsellers", "history", "cooccurrence", "live")},
}
FILES = {".json", ".npz", ".safetensors", ".parquet"}


#: Models that have an index of a large catalogue are tried with one, too.
INDEXED = [f"{name}, indexed" for name, kind in sorted(models().items()) if issubclass(kind, ByVectors)]


@pytest.fixture(scope="module", params=[*sorted(models()), *INDEXED])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fitted(name: str, snapshot: Snapshot, asked: Labelled) -> Recommender:
    name, _, indexed = name.partition(", ")
    with pytest.MonkeyPatch.context() as patch:
        if indexed:
            patch.setattr("training.by_vectors.INDEXED_FROM", 1)
            patch.setattr("training.by_vectors.PROBED_AT_MOST", 1.0)
        model = model_class(name)(**SMALL.get(name, {})).fit(TrainingSet(snapshot, asked))
    assert model.is_indexed == bool(indexed)
    return model


@pytest.fixture(scope="module")
def model(name: str, snapshot: Snapshot, asked: Labelled) -> Recommender:
    return fitted(name, snapshot, asked)


@pytest.fixture(scope="module")
def questions(asked: Labelled, asked_live: Labelled) -> Histories:
    """More than one chunk of users between sessions, or some within one: each model gets events that it reads."""
    return asked.histories.take(np.arange(300))


@pytest.fixture(scope="module", params=["between sessions", "within a session"])
def histories(request: pytest.FixtureRequest, questions: Histories, asked_live: Labelled) -> Histories:
    return questions if request.param == "between sessions" else asked_live.histories.take(np.arange(30))


def test_shapes_order_and_ties(model: Recommender, histories: Histories) -> None:
    ids, scores = model.recommend(histories, 15)
    assert ids.shape == scores.shape == (len(histories), 15)
    assert ids.dtype == np.int32 and scores.dtype == np.float32
    assert np.isfinite(scores).all() and (ids >= 0).all() and (ids < model.n_items).all()
    assert all(len(set(row)) == 15 for row in ids.tolist())
    assert (np.diff(scores, axis=1) <= 0).all()
    tied = np.diff(scores, axis=1) == 0
    assert (np.diff(ids, axis=1)[tied] > 0).all()


def test_only_allowed_items_and_padding_behind_them(model: Recommender, histories: Histories) -> None:
    allowed = np.zeros(model.n_items, dtype=bool)
    allowed[[3, 5, 400]] = True
    ids, scores = model.recommend(histories, 5, allowed)
    assert np.array_equal(np.sort(ids[:, :3], axis=1), np.tile([3, 5, 400], (len(histories), 1)))
    assert (ids[:, 3:] == -1).all() and np.isneginf(scores[:, 3:]).all()
    nothing, _ = model.recommend(histories, 2, np.zeros(model.n_items, dtype=bool))
    assert (nothing == -1).all()


def test_more_than_the_catalogue_is_padded(model: Recommender, histories: Histories) -> None:
    few = histories.take(np.arange(3))
    ids, scores = model.recommend(few, model.n_items + 7)
    assert np.array_equal(np.sort(ids[:, : model.n_items], axis=1), np.tile(np.arange(model.n_items), (3, 1)))
    assert (ids[:, model.n_items :] == -1).all() and np.isneginf(scores[:, model.n_items :]).all()


def test_candidates_score_as_they_rank(model: Recommender, histories: Histories) -> None:
    ids, scores = model.recommend(histories, 6)
    lengths = np.arange(len(histories)) % 7
    mask = np.arange(6) < lengths[:, None]
    candidates = Ragged(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), ids[mask])
    found = model.score_candidates(histories, candidates)
    assert found.dtype == np.float32
    assert np.array_equal(found, scores[mask])


def test_a_batch_is_answered_like_one_at_a_time(model: Recommender, histories: Histories) -> None:
    together, scores = model.recommend(histories, 10)
    for row in range(0, len(histories), 11):
        alone, score = model.recommend(histories.take(np.array([row])), 10)
        # The network adds in another order when rows are padded to another length.
        np.testing.assert_allclose(score[0], scores[row], rtol=2e-5)
        assert np.array_equal(alone[0], together[row])


def test_the_questions_are_not_changed(model: Recommender, histories: Histories) -> None:
    before = [histories.items.copy(), histories.event_types.copy(), histories.ts.copy(), histories.offsets.copy()]
    model.recommend(histories, 5)
    after = [histories.items, histories.event_types, histories.ts, histories.offsets]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def nobody(histories: Histories) -> Histories:
    return histories.where(np.zeros(len(histories.items), dtype=bool))


def strangers(histories: Histories) -> Histories:
    return replace(nobody(histories), attributes={})


def unknown_items(histories: Histories) -> Histories:
    return replace(histories, items=np.full_like(histories.items, -1))


@pytest.mark.parametrize("change", [nobody, strangers, unknown_items])
def test_who_is_unknown_is_answered(
    model: Recommender, histories: Histories, change: Callable[[Histories], Histories]
) -> None:
    few = change(histories.take(np.arange(4)))
    ids, scores = model.recommend(few, 10)
    assert np.isfinite(scores).all() and all(len(set(row)) == 10 for row in ids.tolist())
    assert len(model.explain(few.take(np.array([0])), ids[0])) == 10


def test_unknown_items_are_as_if_nothing_had_happened(model: Recommender, histories: Histories) -> None:
    few = histories.take(np.arange(4))
    if model.name == "blend":  # knows that somebody is in a session, whatever they look at
        few = few.past()
    assert np.array_equal(model.recommend(unknown_items(few), 10)[0], model.recommend(nobody(few), 10)[0])


def test_nobody_asks(model: Recommender, histories: Histories) -> None:
    ids, scores = model.recommend(histories.take(np.arange(0)), 4)
    assert ids.shape == scores.shape == (0, 4)


def test_every_item_has_a_reason(model: Recommender, histories: Histories) -> None:
    one = histories.take(np.array([0]))
    reasons = model.explain(one, model.recommend(one, 8)[0][0])
    assert len(reasons) == 8
    assert all(isinstance(reason, Reason) and -1 <= reason.item < model.n_items for reason in reasons)


def test_a_reason_without_words_is_refused() -> None:
    assert all(Reason(code).code in WORDS for code in WORDS)
    with pytest.raises(ConfigError, match="reason must have words, received 'because'"):
        Reason("because")


def test_what_is_saved_answers_equally_without_any_pickle(
    model: Recommender, histories: Histories, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    assert loaded.config == model.config and loaded.n_items == model.n_items
    assert loaded.is_indexed == model.is_indexed
    for one, other in zip(model.recommend(histories, 10), loaded.recommend(histories, 10), strict=True):
        assert np.array_equal(one, other)
    one = histories.take(np.array([0]))
    ids = model.recommend(one, 5)[0][0]
    assert loaded.explain(one, ids) == model.explain(one, ids)
    assert {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()} <= FILES
    for path in (tmp_path / "model").rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[key].dtype != object for key in arrays.files)


def test_the_configuration_round_trips(model: Recommender) -> None:
    text = json.dumps(model.config.model_dump())
    assert type(model)(**json.loads(text)).config == model.config


@pytest.mark.parametrize("name", sorted(models()))
def test_an_unknown_hyper_parameter_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"model {name}: no_such_thing is not a known key"):
        model_class(name)(no_such_thing=1)


def test_equal_seeds_give_equal_models(
    name: str, model: Recommender, snapshot: Snapshot, asked: Labelled, histories: Histories
) -> None:
    again = fitted(name, snapshot, asked)
    for one, other in zip(model.recommend(histories, 20), again.recommend(histories, 20), strict=True):
        assert np.array_equal(one, other)


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(NotFoundError, match=r"received 'oracle'; choose one of .*bestsellers.*transformer"):
        model_class("oracle")


def test_a_large_catalogue_is_scored_for_few_users_at_once(
    snapshot: Snapshot, questions: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.random.default_rng(3).random((len(questions), len(snapshot.items)))
    few = replace(questions, user_ids=np.array([f"u{row}" for row in range(len(questions))], dtype=object))
    whole = Planted(scores)
    expected = whole.recommend(few, 9)
    assert max(map(len, whole.asked)) == 256
    monkeypatch.setattr("training.recommender.SCORES_AT_ONCE", 7 * whole.n_items + 3)
    piecewise = Planted(scores)
    for one, other in zip(expected, piecewise.recommend(few, 9), strict=True):
        assert np.array_equal(one, other)
    piecewise.score_candidates(few, Ragged.from_rows(np.arange(len(few)), expected[0][:, 0], len(few)))
    assert max(map(len, piecewise.asked)) == 7
    monkeypatch.setattr("training.recommender.SCORES_AT_ONCE", 1)
    assert np.array_equal(piecewise.recommend(few.take(np.arange(3)), 9)[0], expected[0][:3])


def test_top_k_is_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, size=(50, 30)).astype(np.float32)
    allowed = rng.random(30) < 0.8
    for k in (1, 7, 29, 30, 31):
        ids, best = top_k(scores, k, allowed)
        for row in range(50):
            expected = sorted(np.flatnonzero(allowed).tolist(), key=lambda item: (-scores[row, item], item))[:k]
            assert ids[row, : len(expected)].tolist() == expected
            assert best[row, : len(expected)].tolist() == scores[row, expected].tolist()
            assert (ids[row, len(expected) :] == -1).all()


def test_top_of_few_items_is_top_k_of_all() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, size=(50, 30)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    scores[7] = -np.inf
    rows, items = np.nonzero(~np.isneginf(scores) | (rng.random(scores.shape) < 0.1))
    few = Ragged.from_rows(rows, items.astype(np.int32), 50)
    for k in (1, 7, 31):
        for one, other in zip(top_of(few, scores[rows, items], k), top_k(scores, k), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "name_and_config",
    [
        ("cooccurrence", {}),
        ("linear", {"ridge": 1.0}),
        ("live", {}),
        ("transformer", {"width": 16, "epochs": 12, "length": 16, "learning_rate": 1e-2, "dropout": 0.0}),
    ],
    ids=lambda pair: pair[0],
)
def test_checkerboard(name_and_config: tuple[str, dict[str, Any]], make_snapshot: Any) -> None:
    """User u takes every item of u's own parity but item u: that is the one that is missing."""
    n_items, copies = 12, 6
    rng = np.random.default_rng(1)
    events = []
    for row in range(n_items * copies):
        own = rng.permutation([item for item in range(row % 2, n_items, 2) if item != row % n_items])
        for place, item in enumerate(own.tolist()):
            visit, minute = divmod(place, 2)
            events.append((row, item, EventType.PURCHASE, visit * DAY_MS + minute * 60_000))
    now = 5 * DAY_MS
    snapshot: Snapshot = make_snapshot(events, n_items * copies, n_items, now)
    name, config = name_and_config
    model = model_class(name)(**config).fit(TrainingSet(snapshot))
    asked = snapshot.sequences
    if name == "live":  # which reads nothing else than what happened since the snapshot
        asked = replace(asked, snapshot_ms=np.zeros(len(asked), dtype=np.int64), live_fresh_s=now // 1_000)
    for row in range(n_items * copies):
        one = asked.take(np.array([row]))
        unseen = ~np.isin(np.arange(n_items), one.items)
        assert unseen.sum() == n_items // 2 + 1
        assert model.recommend(one, 1, unseen)[0].tolist() == [[row % n_items]]
