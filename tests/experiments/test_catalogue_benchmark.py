"""The benchmark of a large catalogue on a small one: its parts belong together, and its crossover is arithmetic."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks.catalogue.planted import PER_USER, planted, planted_vectors
from experiments.benchmarks.catalogue.run import benchmark_catalogue, render_catalogue
from experiments.benchmarks.catalogue.sizes import crossover
from experiments.terminal import terminal
from training.item_tokens import item_tokens

SMALL: dict[str, dict[str, Any]] = {
    "transformer": {"epochs": 1, "width": 16, "negatives": 64},
    "factorization": {"width": 16, "sweeps": 1},
}


def test_everything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    result = benchmark_catalogue(
        1_200, 4_000, lambda stage, *_: told.append(stage), users=50, sizes=(600, 1_200, 2_400), settings=SMALL
    )
    assert json.loads(json.dumps(result)) == result
    assert [size["items"] for size in result["sizes"]] == [600, 1_200]
    assert all(size["recall"] >= 0.99 and size["exact_ms"] > 0 and size["index_ms"] > 0 for size in result["sizes"])
    assert [row["model"] for row in result["rows"]] == ["transformer", "factorization"]
    for row in result["rows"]:
        # So few items have no index: it is exact search twice.
        assert not row["indexed"] and row["metrics"]["recall"] == 1
        assert row["metrics"]["hit"] == row["metrics"]["hit_exact"]
        assert [stage["stage"] for stage in row["stages"]] == [
            "log",
            "fit and index",
            "save",
            "load",
            "retrieve",
            "retrieve exactly",
        ]
        assert row["n"] == 50 and row["peak_mb"] >= row["stages"][-1]["peak_mb"] > 100
    assert told[-1] == "done" and len(told) == 5
    terminal().print(render_catalogue(result))
    shown = capsys.readouterr()
    assert "fit and index" in (shown.out + shown.err)


def test_the_planted_log_is_one_of_kinds() -> None:
    world = planted(5_000, 20_000)
    snapshot = world.snapshot
    items, kinds = snapshot.sequences.items.reshape(-1, PER_USER), snapshot.item_matrix["category"].to_numpy()
    assert len(snapshot.items) == 5_000 and len(world.answers) == len(snapshot.users) == 1_000
    assert snapshot.sequences.ts.max() < snapshot.as_of_ms
    assert all((np.diff(row) >= 0).all() for row in snapshot.sequences.ts.reshape(-1, PER_USER))
    assert np.array_equal(snapshot.item_matrix["popularity"], np.bincount(items.ravel(), minlength=5_000))
    seen_before = [kinds[answer] in set(kinds[row]) for row, answer in zip(items, world.answers, strict=True)]
    # 85 % are of a liked kind, nearly all of which were seen; of the rest a few are of a seen kind by chance.
    assert 0.8 < np.mean(seen_before) < 0.95
    assert any(name.startswith("category=d") for name in item_tokens(snapshot).names)
    again = planted(5_000, 20_000)
    assert again.snapshot.digest == snapshot.digest and np.array_equal(again.answers, world.answers)


def test_planted_vectors_have_the_lengths_of_trained_ones() -> None:
    items, users = planted_vectors(3_000, 40, 16)
    assert items.shape == (3_000, 17) and users.shape == (40, 17) and items.dtype == users.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(items[:, :-1], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(users[:, :-1], axis=1), 22, rtol=1e-5)
    assert (users[:, -1] == 1).all()


@pytest.mark.parametrize(
    ("exact", "index", "expected"),
    [
        ((1.0, 10.0, 100.0), (10.0, 10.0, 10.0), 1_000),
        ((1.0, 100.0, 100.0), (10.0, 10.0, 10.0), 316),
        ((20.0, 30.0, 100.0), (10.0, 10.0, 10.0), 100),
        ((20.0, 5.0, 20.0), (10.0, 10.0, 10.0), 3_162),
        ((1.0, 20.0, 5.0), (10.0, 10.0, 10.0), None),
    ],
)
def test_the_crossover(exact: tuple[float, ...], index: tuple[float, ...], expected: int | None) -> None:
    sizes = [
        {"items": items, "exact_ms": one, "index_ms": other}
        for items, one, other in zip((100, 1_000, 10_000), exact, index, strict=True)
    ]
    found = crossover(sizes)
    assert found == expected or (expected == 1_000 and found in (999, 1_000, 1_001))
