"""The sequence transformer: what it is asked, what it learns, and how it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn import functional as F

from features.errors import ConfigError
from features.schema import DAY_MS, SESSION_GAP_S, EventType
from features.sequences import Histories
from training.bestsellers import Bestsellers
from training.recommender import TrainingSet
from training.sequence_batches import draw_batches, supervise
from training.sequence_copies import CopyHead, by_distance
from training.sequence_encoder import ItemEmbedding, drop
from training.sequence_loss import HELD_LOGITS, Bonus, softmax_loss
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
    sizes = {"length": 8, "batch_size": 3, "batch_events": 100, "answers": 2}
    for batch in draw_batches(histories, supervision, len(log), rng, **sizes):
        assert batch.items.shape[0] <= 3 and batch.items.shape[1] <= 8
        for row, column, answers in zip(batch.row.tolist(), batch.column.tolist(), batch.answers.tolist(), strict=True):
            position = int(batch.items[row, column])
            seen = batch.items[row, : column + 1].tolist()
            begin = position - column
            assert seen == list(range(begin, position + 1))
            owner = log[position][0]
            assert log[begin][0] == owner and (len(seen) >= 2 or begin == 0 or log[begin - 1][0] != owner)
            gaps = batch.gaps_ms[row, 1 : column + 1].tolist()
            assert gaps == [log[place][3] - log[place - 1][3] for place in range(begin + 1, position + 1)]
            where = int(np.searchsorted(supervision.asked, position))
            assert set(answers) <= set(supervision.answers[supervision.first[where] : supervision.last[where]].tolist())
            asked.append(position)
    assert sorted(asked) == supervision.asked.tolist()


@pytest.mark.parametrize("step_ms", [DAY_MS, 60_000], ids=["a day", "within a session"])
def test_made_times_ask_for_what_comes_next(step_ms: int, make_histories: Any) -> None:
    kind = PURCHASE if step_ms == DAY_MS else EventType.VIEW
    rows = [[3, 1, 4], [5], [9, 2, 6, 5]]
    log = [(r, item, kind, NOW - (len(row) - i) * step_ms) for r, row in enumerate(rows) for i, item in enumerate(row)]
    found = supervise(make_histories(log, 3, NOW), horizon_days=30)
    assert found.asked.tolist() == [0, 1, 4, 5, 6]
    assert [found.answers[a:b].tolist() for a, b in zip(found.first, found.last, strict=True)] == [
        [1],
        [4],
        [2],
        [6],
        [5],
    ]


def test_batches_hold_as_many_events_as_they_may(make_histories: Any) -> None:
    log = [(row, 0, PURCHASE, NOW - i * DAY_MS) for row in range(400) for i in range(1 + row % 30)]
    histories: Histories = make_histories(log, 400, NOW)
    sizes = {"length": 20, "batch_size": 25, "batch_events": 150, "answers": 4}
    epoch = draw_batches(histories, supervise(histories, 30), 1, np.random.default_rng(0), **sizes)
    shapes = [tuple(batch.items.shape) for batch in epoch]
    assert len(shapes) == len(epoch)
    assert all(b <= 25 and b * length <= 150 for b, length in shapes)
    padding = sum(int((batch.items == 1).sum()) for batch in epoch)
    assert padding < 0.03 * sum(b * length for b, length in shapes)


@pytest.mark.parametrize("candidates", [7, HELD_LOGITS // 20], ids=["one block", "many blocks"])
def test_the_loss_and_its_gradients_are_those_of_a_dense_softmax(candidates: int) -> None:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    vectors, table, bias, values = (
        9 * F.normalize(random(50, 5), dim=-1),
        F.normalize(random(candidates, 5), dim=-1),
        random(candidates),
        random(50, 3),
    )
    places = torch.randint(candidates, (50, 3), generator=generator)
    answers = torch.randint(candidates, (50, 2), generator=generator)
    answers[:10, 0] = places[:10, 1]
    inputs = [part.requires_grad_() for part in (vectors, table, bias, values)]
    logits = vectors @ table.T + bias
    logits = logits.scatter_add(1, places, values)
    expected = -torch.log_softmax(logits, dim=-1).gather(1, answers).mean()
    found = softmax_loss(vectors, table, bias, Bonus(places, values), answers)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(2 * found, inputs), torch.autograd.grad(2 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_copies_are_counted_by_type_and_distance() -> None:
    head = CopyHead(4, 3)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    items = torch.tensor([[5, 2, 5, 5], [1, 2, 3, 9]])
    types = torch.tensor([[0, 1, 2, 0], [0, 0, 0, 0]])
    row, column = torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2])
    vectors = torch.randn(3, 4)
    found = head(vectors, items, types, row, column)
    expected = torch.zeros(3, 4)
    for q in range(3):
        r, c = int(row[q]), int(column[q])
        for place in range(c + 1):
            if items[r, place] in items[r, :place]:
                continue
            same = [e for e in range(c + 1) if items[r, e] == items[r, place]]
            total = sum(torch.exp(head.types[types[r, e]] + head.distances[c - e]).item() for e in same)
            expected[q, place] = head.gate(vectors[q]) * np.log1p(total)
    torch.testing.assert_close(found, expected)


def test_distances_are_exact_when_near_and_grow_roughly() -> None:
    weights = torch.arange(32.0).repeat(2, 1)
    table = by_distance(weights, 600)[1]
    distance = torch.arange(600)[:, None] - torch.arange(600)
    assert torch.isneginf(table[distance < 0]).all()
    assert torch.equal(table[(distance >= 0) & (distance < 16)].long(), distance[(distance >= 0) & (distance < 16)])
    of_distance = table[:, 0]
    assert (of_distance.diff() >= 0).all() and of_distance[512] == of_distance[599] == 31


def test_items_are_their_own_vector_and_their_tokens() -> None:
    tokens = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=np.float32)
    embedding = ItemEmbedding(4, 6, sparse.csr_array(tokens))
    share = torch.from_numpy(tokens / np.sqrt(np.maximum(tokens.sum(1, keepdims=True), 1)))
    expected = embedding.own.weight + share @ embedding.tokens.weight
    torch.testing.assert_close(embedding(torch.arange(4)), expected)
    torch.testing.assert_close(embedding(torch.tensor([1, 3])), expected[[1, 3]])


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 100, requires_grad=True)
    dropped = drop(x, 0.4, True)
    share = (dropped == 0).float().mean().item()
    assert share == pytest.approx(0.4, abs=0.01) and dropped.mean().item() == pytest.approx(1, abs=0.01)
    dropped.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, dropped.detach())
    assert drop(x, 0.4, False) is x and drop(x, 0.0, True) is x


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


def test_an_item_that_nobody_took_is_placed_by_what_it_is(make_snapshot: Any) -> None:
    rng = np.random.default_rng(2)
    kinds = np.arange(N_ITEMS) % 3
    taken = [np.setdiff1d(np.flatnonzero(kinds == kind), [9, 10, 11]) for kind in range(3)]
    log = [(row, int(rng.choice(taken[row % 3])), PURCHASE, NOW - i * DAY_MS) for row in range(90) for i in range(1, 7)]
    snapshot = make_snapshot(log, 90, N_ITEMS, NOW)
    snapshot.item_matrix["kind"] = [f"kind {kind}" for kind in kinds]
    model = SequenceTransformer(**SMALL, epochs=20).fit(TrainingSet(snapshot))
    scores = model.score_all(snapshot.sequences)[:, [9, 10, 11]]
    assert (scores.argmax(axis=1) == np.arange(90) % 3).mean() >= 0.95


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


def test_vectors_rank_new_items_as_scores_do(planted: tuple[TrainingSet, Any]) -> None:
    training_set, asked = planted
    model = SequenceTransformer(**SMALL, epochs=1).fit(training_set)
    products = model.user_vectors(asked.histories) @ model.item_vectors().T
    scores = np.log(model.score_all(asked.histories))
    for row in range(len(asked)):
        new = np.setdiff1d(np.arange(N_ITEMS), asked.histories.take(np.array([row])).items)
        np.testing.assert_allclose(np.diff(products[row, new]), np.diff(scores[row, new]), atol=1e-4)
    nobody = asked.histories.where(np.zeros(len(asked.histories.items), dtype=bool))
    assert not model.user_vectors(nobody).any()


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
