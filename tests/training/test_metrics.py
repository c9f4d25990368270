"""Ranking metrics against numbers worked out by hand and against scikit-learn."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from features.errors import ConfigError
from features.sequences import Ragged
from training.metrics import coverage, ranking_metrics, relevance


def ragged(*rows: list[int]) -> Ragged:
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return Ragged(offsets, np.array([item for row in rows for item in row], dtype=np.int32))


def lists(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


def test_by_hand() -> None:
    # Ranks 2 and 4 of four are right, and so would have been a third item that is not shown.
    found = ranking_metrics(lists([5, 1, 7, 3]), ragged([1, 3, 9]), (2, 4))
    assert found["ndcg@4"][0] == pytest.approx((1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / 2))
    assert found["ndcg@2"][0] == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    assert found["recall@4"][0] == pytest.approx(2 / 3)
    assert found["recall@2"][0] == pytest.approx(1 / 3)
    assert found["mrr@4"][0] == found["mrr@2"][0] == 0.5
    assert (found["purchases@4"][0], found["purchases@2"][0]) == (2, 1)


def test_labels_that_the_catalogue_does_not_know_are_missed() -> None:
    found = ranking_metrics(lists([0, 1]), ragged([0, 500]), (2,))
    assert found["recall@2"][0] == 0.5
    assert found["ndcg@2"][0] == pytest.approx(1 / (1 + 1 / log2(3)))


def test_fewer_labels_than_ranks_can_still_be_perfect() -> None:
    found = ranking_metrics(lists([4, 0, 1]), ragged([4]), (3,))
    assert {name: values[0] for name, values in found.items()} == {
        "ndcg@3": 1.0,
        "recall@3": 1.0,
        "mrr@3": 1.0,
        "purchases@3": 1.0,
    }


def test_an_empty_list_catches_nothing() -> None:
    found = ranking_metrics(lists([-1, -1], [-1, 2]), ragged([0], [2]), (2,))
    assert found["purchases@2"].tolist() == [0, 1]
    assert found["ndcg@2"].tolist() == pytest.approx([0, 1 / log2(3)])
    assert found["mrr@2"].tolist() == [0, 0.5]


def test_no_users() -> None:
    found = ranking_metrics(np.empty((0, 5), np.int32), ragged(), (5,))
    assert all(len(values) == 0 for values in found.values())


def test_padding_is_not_the_previous_users_last_item() -> None:
    assert not relevance(lists([0, 3], [-1, -1]), ragged([3], [1]))[1].any()


def test_the_same_item_means_nothing_for_another_user() -> None:
    assert relevance(lists([1, 2], [1, 2]), ragged([1], [2])).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("ids", "labels", "ks", "message"),
    [
        (lists([1, 1]), ragged([1]), (2,), "item twice"),
        (lists([1, 2, 1]), ragged([1]), (2,), "item twice"),
        (lists([1, 2]), ragged([1]), (3,), "k must be at most the 2 items"),
        (lists([1, 2]), ragged([1], [2]), (2,), "one row per user, 2, received 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(ids: np.ndarray, labels: Ragged, ks: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ranking_metrics(ids, labels, ks)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_ndcg_is_that_of_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    n, n_items = 40, 30
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=float), (n, 1)), axis=1)
    relevant = rng.random((n, n_items)) < 0.2
    relevant[np.arange(n), rng.integers(n_items, size=n)] = True
    ids = np.argsort(-scores, axis=1)[:, :20].astype(np.int32)
    found = ranking_metrics(ids, ragged(*(np.flatnonzero(row).tolist() for row in relevant)), (k,))[f"ndcg@{k}"]
    for row in range(n):
        expected = ndcg_score(relevant[row : row + 1], scores[row : row + 1], k=k)
        assert found[row] == pytest.approx(expected, rel=1e-12)


def test_coverage_counts_items_once_and_padding_never() -> None:
    assert coverage(lists([0, 1], [1, -1]), 8) == 0.25
