"""Blends over a catalogue too large to rank as a whole against the same blends ranking all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.schema import DAY_MS, EventType, Level
from features.sequences import Histories
from features.snapshot import Snapshot
from features.split import Labelled
from tests.training.planted import Planted
from training.blend import Blend
from training.bundle import Bundle, save_bundle
from training.factorization import Factorization
from training.ranker import Ranker
from training.recommender import TrainingSet, model_class
from training.shortlist import shortlists

N, N_ITEMS, NOW = 60, 400, 100 * DAY_MS
SETTINGS: dict[str, Any] = {"parts": ("one", "other", "live")}


class Indexed(Planted):
    """As if it found its best without a look at all items."""

    @property
    def is_indexed(self) -> bool:
        return True


@pytest.fixture(scope="module")
def said() -> dict[str, np.ndarray]:
    """Of a third of the users nobody says anything, and of most items neither; scores below 0 are nothing, too."""
    rng = np.random.default_rng(0)
    said = {name: np.round(rng.normal(size=(N, N_ITEMS)), 2) for name in SETTINGS["parts"]}
    for scores in said.values():
        scores[(rng.random(scores.shape) < 0.6) | (np.arange(N)[:, None] % 3 == 0)] = 0.0
    return said


@pytest.fixture(scope="module")
def world(make_snapshot: Any) -> Snapshot:
    rng = np.random.default_rng(1)
    users, items = rng.integers(N, size=500), (rng.exponential(60, size=500) % N_ITEMS).astype(int)
    events = [(int(u), int(i), EventType.VIEW, NOW - DAY_MS) for u, i in zip(users, items, strict=True)]
    snapshot: Snapshot = make_snapshot(events, N, N_ITEMS, NOW)
    return snapshot


def blend(kind: type[Blend], said: dict[str, np.ndarray], world: Snapshot, indexed: str, each: int) -> Blend:
    """A blend of which one part has an index, or none."""
    levels = {"one": Level.PREFERENCE, "other": Level.BEHAVIOUR, "live": Level.LIVE}
    parts = {name: (Indexed if name == indexed else Planted)(said[name], level) for name, level in levels.items()}
    made = kind(**SETTINGS, candidates=each).with_parts(parts, world)
    made.scales = np.array([0.5, 1.0, 2.0])
    made.quiet = np.array([[0.3, 1.0], [0.8, 0.1], [0.0, 0.0]])
    made.live = np.array([[0.1, 0.4], [0.2, 0.1], [1.0, 2.0]])
    return made


@pytest.fixture(scope="module")
def questions(world: Snapshot) -> Histories:
    """Every second user is in a session."""
    asked = world.sequences
    live = np.arange(N) % 2 == 0
    return replace(asked, snapshot_ms=np.where(live, NOW - 2 * DAY_MS, NOW), live_fresh_s=2 * 86_400)


@pytest.mark.parametrize("indexed", ["one", "live"])
@pytest.mark.parametrize("kind", [Blend, Ranker])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
def test_a_shortlist_of_all_that_is_spoken_for_ranks_as_the_whole_catalogue(
    said: dict[str, np.ndarray], world: Snapshot, questions: Histories, indexed: str, kind: type[Blend], share: float
) -> None:
    allowed = None if share == 1.0 else np.random.default_rng(2).random(N_ITEMS) < share
    whole, short = (blend(kind, said, world, name, N_ITEMS) for name in ("", indexed))
    assert short.is_indexed and not whole.is_indexed
    for k in (1, 20, N_ITEMS + 3):
        expected, found = (model.rank(questions, k, allowed, frozenset({"other"})) for model in (whole, short))
        for name in ("ids", "scores", "parts"):
            assert np.array_equal(getattr(expected, name), getattr(found, name)), name
        assert np.array_equal(short.recommend(questions, k, allowed)[0], whole.recommend(questions, k, allowed)[0])


def test_the_best_of_all_parts_are_on_a_short_list(
    said: dict[str, np.ndarray], world: Snapshot, questions: Histories
) -> None:
    parts = blend(Blend, said, world, "one", 9).parts
    allowed = np.random.default_rng(3).random(N_ITEMS) < 0.6
    always = np.array([17, 5, 17], dtype=np.int32)
    lists = list(shortlists(parts, questions, 9, allowed, frozenset({"other"}), always))
    live = questions.live().lengths > 0
    assert 10 < live.sum() < 50
    for row, (items, scores) in enumerate(lists):
        assert items.tolist() == sorted(set(items.tolist())) and scores.shape == (3, 1, len(items))
        wanted = {5, 17}
        for position, name in enumerate(parts):
            mine = np.maximum(said[name][row], 0).astype(np.float32)
            if name == "other" or (name == "live" and not live[row]):
                mine = np.zeros(N_ITEMS, dtype=np.float32)
            assert np.array_equal(scores[position, 0], mine[items])
            best = np.argsort(-np.where(allowed, mine, -1), kind="stable")[:9]
            wanted |= {item for item in [*best.tolist(), int(mine.argmax())] if mine[item] > 0}
        assert wanted <= set(items.tolist())
    assert max(len(items) for items, _ in lists) < 60


def test_nothing_may_be_shown_and_nobody_asks(
    said: dict[str, np.ndarray], world: Snapshot, questions: Histories
) -> None:
    short = blend(Blend, said, world, "one", 5)
    ranking = short.rank(questions, 3, np.zeros(N_ITEMS, dtype=bool))
    assert (ranking.ids == -1).all() and np.isneginf(ranking.scores).all() and (ranking.parts == -1).all()
    assert short.rank(questions.take(np.arange(0)), 3).ids.shape == (0, 3)


def test_who_is_unknown_gets_what_is_popular(
    said: dict[str, np.ndarray], world: Snapshot, questions: Histories
) -> None:
    whole, short = (blend(Blend, said, world, name, 5) for name in ("", "one"))
    strangers = questions.take(np.arange(0, N, 3))
    allowed = np.ones(N_ITEMS, dtype=bool)
    allowed[short._by_popularity[:200]] = False
    for mask in (None, allowed):
        assert np.array_equal(short.recommend(strangers, 30, mask)[0], whole.recommend(strangers, 30, mask)[0])


@pytest.fixture(scope="module")
def factorization(snapshot: Snapshot) -> Factorization:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.by_vectors.INDEXED_FROM", 1)
        patch.setattr("training.by_vectors.PROBED_AT_MOST", 1.0)
        return Factorization(width=24).fit(TrainingSet(snapshot))


def test_real_parts_on_a_shop(
    snapshot: Snapshot, asked: Labelled, asked_live: Labelled, factorization: Factorization
) -> None:
    parts = {name: model_class(name)().fit(TrainingSet(snapshot)) for name in ("bestsellers", "history", "live")}
    short = Blend(parts=("bestsellers", "history", "factorization", "live"))
    short.with_parts(parts | {"factorization": factorization}, snapshot).learn(asked.take(np.arange(300)), asked_live)
    plain = Factorization(width=24).fit(TrainingSet(snapshot))
    whole = short.reweighted(parts | {"factorization": plain}, snapshot)
    allowed = snapshot.item_matrix["available"].to_numpy(dtype=bool)
    for histories in (asked.histories.take(np.arange(300, 360)), asked_live.histories.take(np.arange(30))):
        expected, found = (model.recommend(histories, 10, allowed)[0] for model in (whole, short))
        shared = [len(set(mine) & set(theirs)) for mine, theirs in zip(expected.tolist(), found.tolist(), strict=True)]
        assert np.mean(shared) >= 9.8


def test_a_bundle_of_one_model_keeps_its_index_and_its_answers(
    snapshot: Snapshot, factorization: Factorization, tmp_path: Path
) -> None:
    alone = Blend.of_one("factorization", factorization, snapshot)
    save_bundle(tmp_path / "bundle", alone, snapshot, arm="alone", policy={})
    bundle = Bundle.load(tmp_path / "bundle")
    bundle.check_recorded()
    assert bundle.blend.is_indexed
    users = snapshot.sequences.user_ids[:8].tolist()
    told = bundle.recommend(users, 10)
    for row, user in enumerate(users):
        ids, scores = factorization.recommend(snapshot.sequences.take(np.array([row])), 10, bundle.available)
        positive = ids[0][scores[0] > 0]
        mine = told[told["user_id"] == user]["item_id"].tolist()
        assert mine[: len(positive)] == snapshot.items.decode(positive).tolist()
