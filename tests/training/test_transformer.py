"""The sequence transformer: what it is asked, what it learns, and how it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from features.errors import ConfigError
from features.schema import DAY_MS, SESSION_GAP_S, EventType
from features.sequences import Histories
from training.bestsellers import Bestsellers
from training.recommender import TrainingSet
from training.sequence_batches import draw_batches, supervise
from training.transformer import SequenceTransformer

NOW = 100 * DAY_MS
N_ITEMS = 12
PURCHASE = EventType.PURCHASE
SMALL: dict[str, Any] = {"width": 16, "length": 16, "dropout": 0.0, "horizon_days": 2.5, "learning_rate": 1e-2}


def random_log(seed: int, rows: int = 6) -> list[tuple[int, int, EventType, int]]:
    """Distinct times; gaps on both sides of a visit's end, and exactly at it."""
    rng = np.random.default_rng(seed)
    kinds = [EventType.VIEW, EventType.ADD_TO_CART, PURCHASE, EventType.REFUND]
    log = []
    for row in range(rows):
        ts = NOW - 60 * DAY_MS
        for _ in range(30):
            ts += int(rng.choice([1_000, SESSION_GAP_S * 1000 - 1, SESSION_GAP_S * 1000, DAY_MS, 3 * DAY_MS]))
            log.append((row, int(rng.integers(N_ITEMS)), kinds[rng.integers(4)], ts))
    return log


@pytest.mark.parametrize("seed", range(3))
def test_asked_at_the_end_of_visits_about_later_purchases(seed: int, make_histories: Any) -> None:
    log = random_log(seed)
    found = supervise(make_histories(log, 6, NOW), horizon_days=5)
    expected = {}
    for position, (row, _, _, ts) in enumerate(log):
        following = log[position + 1] if position + 1 < len(log) else None
        is_end = following is None or following[0] != row or following[3] - ts >= SESSION_GAP_S * 1000
        answers = [item for r, item, kind, t in log if r == row and kind is PURCHASE and ts < t <= ts + 5 * DAY_MS]
        if is_end and answers:
            expected[position] = answers
    answers = [found.answers[a:b].tolist() for a, b in zip(found.first, found.last, strict=True)]
    assert dict(zip(found.asked.tolist(), answers, strict=True)) == expected


def test_every_question_is_asked_once_an_epoch_with_what_came_before(make_histories: Any) -> None:
    # An item that is its event's position tells which event a window holds.
    log = [(row, position, kind, ts) for position, (row, _, kind, ts) in enumerate(random_log(4))]
    histories: Histories = make_histories(log, 6, NOW)
    supervision = supervise(histories, horizon_days=5)
    rng, asked = np.random.default_rng(0), []
    for batch in draw_batches(histories, supervision, len(log), rng, length=8, batch_size=3, answers=2):
        assert batch.items.shape[0] <= 3 and batch.items.shape[1] <= 8
        for row, column, answers in zip(batch.row.tolist(), batch.column.tolist(), batch.answers.tolist(), strict=True):
            position = int(batch.items[row, column])
            seen = batch.items[row, : column + 1].tolist()
            begin = position - column
            assert seen == list(range(begin, position + 1))
            owner = log[position][0]
            assert log[begin][0] == owner and (len(seen) >= 4 or begin == 0 or log[begin - 1][0] != owner)
            gaps = batch.gaps_ms[row, 1 : column + 1].tolist()
            assert gaps == [log[place][3] - log[place - 1][3] for place in range(begin + 1, position + 1)]
            where = int(np.searchsorted(supervision.asked, position))
            assert set(answers) <= set(supervision.answers[supervision.first[where] : supervision.last[where]].tolist())
            asked.append(position)
    assert sorted(asked) == supervision.asked.tolist()


@pytest.fixture(scope="module")
def planted(make_snapshot: Any, make_histories: Any, make_labelled: Any) -> tuple[TrainingSet, Any]:
    """After an even item 2i comes 2i + 1 on the next visit; what follows that is drawn at random."""
    rng = np.random.default_rng(0)

    def log(rows: int, visits: int) -> tuple[list[tuple[int, int, EventType, int]], list[list[int]]]:
        events, following = [], []
        for row in range(rows):
            item = 1
            for visit in range(visits):
                item = item + 1 if item % 2 == 0 else 2 * int(rng.integers(N_ITEMS // 2))
                events.append((row, item, PURCHASE, NOW - (visits - visit) * 2 * DAY_MS))
            following.append([item + 1])
        return events, following

    snapshot = make_snapshot(log(60, 9)[0], 60, N_ITEMS, NOW)
    events, following = log(40, 5)
    asked = make_labelled(make_histories(events, 40, NOW), following, N_ITEMS)
    return TrainingSet(snapshot), asked


def hits(model: Any, asked: Any) -> float:
    return float((model.recommend(asked.histories, 1)[0][:, 0] == asked.labels.values).mean())


@pytest.mark.parametrize("negatives", [8_192, 4], ids=["all items", "sampled negatives"])
def test_learns_what_follows_what(planted: tuple[TrainingSet, Any], negatives: int) -> None:
    training_set, asked = planted
    model = SequenceTransformer(**SMALL, epochs=15, negatives=negatives).fit(training_set)
    assert hits(model, asked) >= 0.95
    assert hits(Bestsellers().fit(training_set), asked) <= 0.4
    assert model.curve is not None and model.curve.loss[-1] < model.curve.loss[0]


def test_validation_chooses_the_epochs_and_a_refit_keeps_them(planted: tuple[TrainingSet, Any]) -> None:
    training_set, asked = planted
    told: list[int] = []
    model = SequenceTransformer(**SMALL, epochs=30, patience=2)
    model.fit(TrainingSet(training_set.snapshot, asked), lambda done, of, metrics: told.append(done))
    curve = model.curve
    assert curve is not None
    assert curve.best_epoch == 1 + int(np.argmax(curve.validation))
    assert len(curve.validation) == min(curve.best_epoch + 2, 30) == len(told)
    assert model._validate(asked) == max(curve.validation)
    again = model.refit(training_set)
    assert again is not model and again.config == model.config  # the same schedule, stopped earlier
    assert again.curve is not None and len(again.curve.loss) == curve.best_epoch and again.curve.validation == []


def test_the_global_state_before_does_not_matter(planted: tuple[TrainingSet, Any]) -> None:
    training_set, asked = planted

    def scores(disturbance: int) -> np.ndarray:
        torch.manual_seed(disturbance)
        return SequenceTransformer(**SMALL, epochs=1).fit(training_set).score_all(asked.histories)

    assert np.array_equal(scores(1), scores(2))


def test_only_the_last_events_are_read(planted: tuple[TrainingSet, Any]) -> None:
    training_set, asked = planted
    model = SequenceTransformer(**SMALL | {"length": 3}, epochs=1).fit(training_set)
    assert np.array_equal(model.score_all(asked.histories), model.score_all(asked.histories.tail(3)))
    assert not np.array_equal(model.score_all(asked.histories), model.score_all(asked.histories.tail(2)))


def test_scores_are_probabilities_or_nothing(planted: tuple[TrainingSet, Any]) -> None:
    training_set, asked = planted
    model = SequenceTransformer(**SMALL, epochs=1).fit(training_set)
    np.testing.assert_allclose(model.score_all(asked.histories).sum(axis=1), 1, rtol=1e-5)
    assert not model.score_all(asked.histories.where(np.zeros(len(asked.histories.items), dtype=bool))).any()


def test_a_shop_where_nobody_came_back_teaches_nothing(make_snapshot: Any) -> None:
    snapshot = make_snapshot([(row, row, PURCHASE, NOW - 1) for row in range(5)], 5, 5, NOW)
    model = SequenceTransformer(**SMALL, epochs=2).fit(TrainingSet(snapshot))
    assert model.curve is not None and model.curve.loss == []
    assert np.isfinite(model.refit(TrainingSet(snapshot)).recommend(snapshot.sequences, 3)[1]).all()


def test_any_device_that_is_there(planted: tuple[TrainingSet, Any]) -> None:
    training_set, asked = planted
    model = SequenceTransformer(**SMALL, epochs=1, device="auto").fit(training_set)
    assert np.isfinite(model.recommend(asked.histories, 3)[1]).all()
    with pytest.raises(ConfigError, match="device must be one that this machine has"):
        SequenceTransformer(**SMALL, device="cuda:999").fit(training_set)
