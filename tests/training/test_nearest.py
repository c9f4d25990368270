"""The index of nearest items against a look at all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.nearest import DEPTH, Nearest

N, WIDTH, LENGTH = 20_000, 17, 12.0


def planted(seed: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of items in clusters with a popularity in the last place, and 300 users who are near a cluster or two."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(60, WIDTH - 1))
    vectors = centres[rng.integers(60, size=n)] + 0.6 * rng.normal(size=(n, WIDTH - 1))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    users = centres[rng.integers(60, size=300)] + 0.5 * centres[rng.integers(60, size=300)]
    users *= LENGTH / np.linalg.norm(users, axis=1, keepdims=True)
    popularity = rng.gumbel(size=(n, 1)) / LENGTH
    items = np.concatenate([vectors, popularity], axis=1).astype(np.float32)
    return items, np.concatenate([users, np.full((300, 1), LENGTH)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def world() -> tuple[Nearest, np.ndarray, np.ndarray]:
    """An index that was built with half of the users, and the other half to ask."""
    vectors, users = planted(0)
    return Nearest.build(vectors, users[:150]), vectors, users[150:]


def best(vectors: np.ndarray, question: np.ndarray, k: int, allowed: np.ndarray) -> list[int]:
    order = np.argsort(-(vectors @ question), kind="stable")
    return order[allowed[order]][:k].tolist()


def recall(found: np.ndarray, vectors: np.ndarray, users: np.ndarray, allowed: np.ndarray) -> float:
    hits = [
        len(set(row) & set(best(vectors, user, found.shape[1], allowed)))
        for row, user in zip(found.tolist(), users, strict=True)
    ]
    return float(np.mean(hits)) / found.shape[1]


def test_nearly_all_of_the_best_are_found_in_few_groups(world: tuple[Nearest, np.ndarray, np.ndarray]) -> None:
    index, vectors, users = world
    found = index.search(users, DEPTH)
    assert found.dtype == np.int32
    assert recall(found, vectors, users, np.ones(N, dtype=bool)) >= 0.99
    assert index.probes <= 200 / 6  # of 200 groups
    products = np.einsum("nw,nkw->nk", users, vectors[found])
    assert (np.diff(products, axis=1) <= 1e-4).all()


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_what_is_forbidden_is_not_found_and_the_best_of_the_rest_are(
    world: tuple[Nearest, np.ndarray, np.ndarray], share: float
) -> None:
    index, vectors, users = world
    allowed = np.random.default_rng(1).random(N) < share
    found = index.search(users, 50, allowed)
    assert allowed[found].all()
    assert recall(found, vectors, users, allowed) >= 0.99


def test_a_forbidden_neighbourhood_does_not_make_the_answer_short(
    world: tuple[Nearest, np.ndarray, np.ndarray],
) -> None:
    index, vectors, users = world
    one = users[:1]
    allowed = np.ones(N, dtype=bool)
    allowed[best(vectors, one[0], N // 2, allowed)] = False
    found = index.search(one, 400, allowed)[0]
    assert len(set(found.tolist())) == 400 and allowed[found].all()


def test_few_allowed_items_are_all_found_and_padded(world: tuple[Nearest, np.ndarray, np.ndarray]) -> None:
    index, vectors, users = world
    allowed = np.zeros(N, dtype=bool)
    allowed[[3, 77, 19_999]] = True
    found = index.search(users[:20], 5, allowed)
    assert found[:, :3].tolist() == [best(vectors, user, 3, allowed) for user in users[:20]]
    assert (found[:, 3:] == -1).all()
    assert (index.search(users[:2], 5, np.zeros(N, dtype=bool)) == -1).all()


def test_more_than_there_are_is_padded() -> None:
    vectors, users = planted(2, 30)
    found = Nearest.build(vectors, users).search(users[:4], 40)
    assert found[:, :30].tolist() == [best(vectors, user, 30, np.ones(30, dtype=bool)) for user in users[:4]]
    assert (found[:, 30:] == -1).all()


def test_nothing_to_find_and_nobody_to_ask() -> None:
    empty = Nearest.build(np.zeros((0, 4), np.float32), np.ones((3, 4), np.float32))
    assert (empty.search(np.ones((2, 4), np.float32), 3) == -1).all()
    vectors, users = planted(3, 500)
    unasked = Nearest.build(vectors, np.zeros((5, WIDTH), np.float32))
    assert unasked.search(users[:0], 3).shape == (0, 3)
    assert unasked.search(users[:1], 3)[0].tolist() == best(vectors, users[0], 3, np.ones(500, dtype=bool))


def test_items_that_are_alike_are_as_good_as_each_other() -> None:
    """Ten thousand items of one kind, as of what nobody took yet: any of them is right, and none comes twice."""
    vectors, users = planted(4)
    vectors[:10_000] = vectors[0]
    index = Nearest.build(vectors, users[:150])
    question = LENGTH * LENGTH * vectors[:1]
    found = index.search(question, 60)[0]
    products = vectors @ question[0]
    assert len(set(found.tolist())) == 60
    np.testing.assert_allclose(np.sort(products[found]), np.sort(products)[-60:], rtol=1e-5)
    assert index.probes < 200


def test_what_is_saved_answers_equally(world: tuple[Nearest, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    index, vectors, users = world
    index.save(tmp_path / "nearest.npz")
    loaded = Nearest.load(tmp_path / "nearest.npz", vectors)
    assert loaded.probes == index.probes
    assert np.array_equal(loaded.search(users, 40), index.search(users, 40))


def test_an_index_is_built_alike_twice(world: tuple[Nearest, np.ndarray, np.ndarray]) -> None:
    index, vectors, users = world
    again = Nearest.build(*(part.copy() for part in (vectors, planted(0)[1][:150])))
    assert np.array_equal(again.search(users, 40), index.search(users, 40))
