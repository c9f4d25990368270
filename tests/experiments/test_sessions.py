"""The sessions benchmark on a folder whose right answers are planted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.benchmarks.published import sessions as sessions_module
from experiments.benchmarks.published.arms import SESSIONS, Arms
from experiments.benchmarks.published.fitted import Material
from experiments.benchmarks.published.questions import seen_share
from experiments.benchmarks.published.session_questions import Lists, hold_out, questions, shortest_prefix
from experiments.benchmarks.published.sessions import benchmark_sessions, render_sessions
from features.errors import ConfigError, InputError, NotFoundError
from features.snapshot import Snapshot
from features.split import Labelled
from training.train import build_models

N_ITEMS = 20
ARMS: Arms = {
    "bestsellers": {"model": "bestsellers"},
    "neighbours": {"model": "neighbours"},
    "blend": {"model": "blend", "parts": ("bestsellers", "neighbours")},
}


def sessions(n: int = 120) -> list[list[int]]:
    """Item i is followed by i + 1 and then by i again, in sessions of 3 to 6 clicks."""
    rng = np.random.default_rng(0)
    begins, lengths = rng.integers(N_ITEMS, size=n), rng.integers(3, 7, size=n)
    return [
        [int(begin + place % 2) % N_ITEMS for place in range(length)]
        for begin, length in zip(begins, lengths, strict=True)
    ]


def frame(lists: list[list[int]]) -> pd.DataFrame:
    return pd.DataFrame({"session_idx": range(len(lists)), "items": [np.array(row) for row in lists]})


def write(folder: Path, test: list[tuple[list[int], int]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    frame(sessions()).to_parquet(folder / "train_sequences.parquet")
    asked = pd.DataFrame({"prefix": [row[0] for row in test], "target": [row[1] for row in test]})
    asked.to_parquet(folder / "test.parquet")
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished benchmark, what it was told on the way and what it learned from."""
    test = [([item, item + 1], item) for item in range(10)] + [([3, 4, 3], 77)]
    folder = write(tmp_path_factory.mktemp("published") / "planted", test)
    told: list[str] = []
    kept: list[Material] = []

    def held_out(*arguments: Any) -> Material:
        kept.append(hold_out(*arguments))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions_module, "hold_out", held_out)
        result = benchmark_sessions(folder, range(2), lambda stage, *_: told.append(stage), ARMS)
    return result, told, kept[0]


@pytest.fixture(scope="module")
def material(planted: Any) -> Material:
    kept: Material = planted[2]
    return kept


def clicked(snapshot: Snapshot, row: int) -> list[int]:
    one = snapshot.sequences.take(np.array([row]))
    return [int(name) for name in snapshot.items.decode(one.items)]


def as_asked(asked: Labelled) -> list[tuple[list[int], int]]:
    found = []
    for row in range(len(asked)):
        one = asked.take(np.array([row]))
        names = [int(name) for name in asked.vocabulary.decode(one.histories.past().items)]
        found.append((names, int(asked.vocabulary.ids[one.labels.values[0]])))
    return found


def test_a_tenth_of_the_sessions_is_held_out_whole(material: Material) -> None:
    early = {user: clicked(material.early, row) for row, user in enumerate(material.early.users.ids)}
    late = {user: clicked(material.late, row) for row, user in enumerate(material.late.users.ids)}
    assert late == {str(number): items for number, items in enumerate(sessions())}
    assert early == {user: late[user] for user in early} and 5 <= len(late) - len(early) <= 20


def test_validation_asks_what_the_test_asks(material: Material) -> None:
    """The shortest session has three clicks, so nothing shorter than two is a prefix."""
    held = [items for user, items in enumerate(sessions()) if str(user) not in material.early.users]
    possible = [(items[:place], items[place]) for items in held for place in range(2, len(items))]
    asked = as_asked(material.validation)
    assert Counter(map(str, asked)) <= Counter(map(str, possible))
    assert len(asked) > len(possible) / 2
    assert seen_share(material.validation) == np.mean([target in prefix for prefix, target in asked])


def test_halves_of_validation_are_of_different_sessions(material: Material) -> None:
    held = [items for user, items in enumerate(sessions()) if str(user) not in material.early.users]
    for half, asked in ((held[0::2], material.stopping), (held[1::2], material.blending)):
        assert all(any(items[: len(prefix)] == prefix for items in half) for prefix, _ in as_asked(asked))
    names = material.validation.histories.user_ids.tolist()
    assert len(set(names)) == len(names) and not set(names) & set(material.late.users.ids)


def test_questions_are_read_as_the_log_is(material: Material) -> None:
    asked = questions(material.late, Lists.of(pd.Series([[3, 4], [99], []])), np.array([5, 98, 6]))
    histories = asked.histories
    assert histories.lengths.tolist() == [2, 1, 0]
    assert asked.vocabulary.ids[histories.items[:2]].tolist() == ["3", "4"] and histories.items[2] == -1
    assert asked.vocabulary.ids[asked.labels.values].tolist() == ["5", "98", "6"]
    assert asked.labels.values[1] == len(material.late.items)
    learned = material.late.sequences
    gaps = np.diff(learned.ts)[np.diff(learned.rows) == 0]
    assert set(gaps.tolist()) == {int(histories.ts[1] - histories.ts[0])}
    assert int(histories.ts.max()) == int(learned.ts.max()) < histories.as_of_ms[0]


def test_lists_by_hand() -> None:
    lists = Lists.of(pd.Series([[1, 2, 3], [4], [5, 6]]))
    assert lists.next_items(1).tolist() == [1, 2, 5] and lists.next_items(2).tolist() == [2]
    before = lists.before(np.array([2, 5]))
    assert before.offsets.tolist() == [0, 2, 3] and before.items.tolist() == [1, 2, 5]
    assert len(Lists.of(pd.Series([], dtype=object))) == 0


def test_the_benchmark_finds_what_is_planted(planted: Any) -> None:
    result, told, _ = planted
    rows = {row["model"]: row for row in result["rows"]}
    assert list(rows) == list(ARMS) and result["users"] == 11 and result["seeds"] == 2
    assert result["seen_items_are_answers"] and result["items"] == N_ITEMS
    for name in ("neighbours", "blend"):
        metrics = rows[name]["metrics"]
        assert metrics["p@20"] == metrics["mrr@20"] == metrics["ndcg@20"] == pytest.approx(10 / 11)
        assert metrics["validation_mrr@20"] == 1.0
        assert set(rows[name]["sd"].values()) == {0.0}
        assert rows[name]["seconds"] > 0 and rows[name]["peak_mb"] > 0
    assert rows["bestsellers"]["metrics"]["mrr@20"] < 0.5
    assert result["ratios"] == {"blend_over_neighbours": 1.0}
    assert "seed 0: neighbours, answers" in told and "seed 1: neighbours, answers" not in told
    table = render_sessions(result)
    assert table.row_count == 3 and "validation p@20" in [str(column.header) for column in table.columns]


def test_all_arms_are_known_models() -> None:
    assert sorted(build_models(SESSIONS)) == sorted(SESSIONS)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "sessions", [([1], 2)])
    with pytest.raises(ConfigError, match="seeds must be at least one"):
        benchmark_sessions(folder, [], None, ARMS)
    pd.DataFrame({"prefix": [[1]]}).to_parquet(folder / "test.parquet")
    with pytest.raises(InputError, match="column 'target' is missing"):
        benchmark_sessions(folder, [0], None, ARMS)
    (folder / "test.parquet").unlink()
    with pytest.raises(NotFoundError, match=r"test\.parquet must exist"):
        benchmark_sessions(folder, [0], None, ARMS)


@pytest.mark.parametrize(
    ("file", "table", "told"),
    [
        ("test", {"prefix": [[1, 2]], "target": [None]}, "column 'target' must be whole numbers"),
        ("test", {"prefix": [[1, 2], [3]], "target": pa.array([4, None], pa.int64())}, "'target' must have no missing"),
        ("test", {"prefix": [[1, 2]], "target": [0.7]}, "column 'target' must be whole numbers, received 'float64'"),
        ("test", {"prefix": [[1, None]], "target": [3]}, "'prefix' must have no missing values, received 1"),
        ("test", {"prefix": [[1, 2], None], "target": [3, 4]}, "'prefix' must have no missing values, received 1"),
        ("test", {"prefix": [["a"]], "target": [3]}, "column 'prefix' must be lists of whole numbers"),
        ("test", {"prefix": [1], "target": [3]}, "column 'prefix' must be lists of whole numbers, received 'int64'"),
        ("train_sequences", {"session_idx": [1], "items": [7]}, "column 'items' must be lists of whole numbers"),
        ("train_sequences", {"session_idx": ["a"], "items": [[7]]}, "column 'session_idx' must be whole numbers"),
    ],
)
def test_what_a_file_may_not_hold_is_told_before_anything_is_learned(
    tmp_path: Path, file: str, table: dict[str, Any], told: str
) -> None:
    folder = write(tmp_path / "sessions", [([1], 2)])
    pq.write_table(pa.table(table), folder / f"{file}.parquet")
    with pytest.raises(InputError, match=rf"{file}\.parquet: column.*{told.removeprefix('column ')}"):
        benchmark_sessions(folder, [0], None, ARMS)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "sessions", [([1], 2)])
    (folder / "test.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(InputError, match=r"test\.parquet"):
        benchmark_sessions(folder, [0], None, ARMS)


def test_sessions_that_are_not_used_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "sessions", [([item, item + 1], item) for item in range(10)])
    told = benchmark_sessions(folder, [0], None, {"bestsellers": {"model": "bestsellers"}})
    assert told["left_out"] == {}
    lists = frame(sessions())
    more = pd.concat([lists, lists.head(3), pd.DataFrame({"session_idx": [900], "items": [np.zeros(0, np.int64)]})])
    more.to_parquet(folder / "train_sequences.parquet")
    again = benchmark_sessions(folder, [0], None, {"bestsellers": {"model": "bestsellers"}})
    assert again["left_out"] == {"train_sequences: listed again": 3, "train_sequences: no items": 1}
    assert again["rows"][0]["metrics"] == told["rows"][0]["metrics"]
    assert "listed again (3)" in str(render_sessions(again).caption)


def test_sessions_of_one_click_ask_nothing() -> None:
    with pytest.raises(InputError, match="two clicks and more"):
        hold_out(frame([[1]] * 50), np.random.default_rng(0))


def test_real_sessions_have_the_questions_of_the_papers(real_data: Path) -> None:
    """15,132 prefixes of two clicks and more; the papers' preparation has dropped shorter ones."""
    test = pd.read_parquet(real_data / "session_retailrocket" / "test.parquet")
    lengths = test["prefix"].map(len)
    assert len(test) == 15_132 and lengths.min() == 2
    train = pd.read_parquet(real_data / "session_retailrocket" / "train_sequences.parquet")
    assert shortest_prefix(train["items"]) == 2
    pairs = zip(test["prefix"], test["target"], strict=True)
    assert np.mean([target in prefix for prefix, target in pairs]) == pytest.approx(0.382, abs=5e-4)
    shorter = pd.read_parquet(real_data / "session_diginetica" / "train_sequences.parquet")
    assert shortest_prefix(shorter["items"]) == 1
