"""Candidates against a plain loop that draws the parts' best items in turn."""

from __future__ import annotations

import numpy as np
import pytest

from training.candidates import candidates


def drawn_in_turn(
    scores: np.ndarray, each: int, cap: int, allowed: np.ndarray
) -> tuple[list[int], dict[int, list[int]]]:
    """One question's (parts, n_items) scores to its candidates and their place in every part's list."""
    lists = []
    for of_part in scores.tolist():
        good = [item for item, score in enumerate(of_part) if score > 0 and allowed[item]]
        lists.append(sorted(good, key=lambda item: (-of_part[item], item))[:each])
    chosen: list[int] = []
    for turn in range(each):
        for best in lists:
            if turn < len(best) and best[turn] not in chosen and len(chosen) < cap:
                chosen.append(best[turn])
    return sorted(chosen), {item: [best.index(item) if item in best else each for best in lists] for item in chosen}


@pytest.mark.parametrize(("each", "cap"), [(1, 100), (4, 100), (4, 5), (30, 7), (30, 100), (50, 1)])
def test_parts_propose_in_turn(each: int, cap: int) -> None:
    rng = np.random.default_rng(each * cap)
    scores = np.maximum(rng.integers(-3, 6, size=(3, 40, 30)), 0).astype(np.float32)
    scores[:, 7] = 0.0
    allowed = rng.random(30) < 0.8
    chosen, places = candidates(scores, each, cap, allowed)
    assert len(chosen) == 40 and chosen.values.dtype == np.int32 and places.shape == (3, len(chosen.values))
    for row in range(40):
        flat = slice(int(chosen.offsets[row]), int(chosen.offsets[row + 1]))
        items, place = drawn_in_turn(scores[:, row], each, cap, allowed)
        assert chosen.values[flat].tolist() == items
        assert places[:, flat].T.tolist() == [place[item] for item in items]
    assert chosen.lengths[7] == 0


def test_everything_is_allowed_if_nothing_is_said() -> None:
    scores = np.array([[[0.0, 2.0, 1.0]], [[3.0, 0.0, 0.0]]], dtype=np.float32)
    chosen, places = candidates(scores, 3, 3)
    assert chosen.values.tolist() == [0, 1, 2]
    assert places.tolist() == [[3, 0, 1], [0, 3, 3]]


@pytest.mark.parametrize("shape", [(2, 0, 5), (2, 3, 0), (0, 3, 5)])
def test_nobody_nothing_and_no_part(shape: tuple[int, int, int]) -> None:
    chosen, places = candidates(np.zeros(shape, dtype=np.float32), 4, 10)
    assert len(chosen) == shape[1] and len(chosen.values) == 0 and places.shape == (shape[0], 0)
