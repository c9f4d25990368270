"""Published benchmarks on folders whose right answers are planted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.benchmarks.published.arms import LEAVE_ONE_OUT, Arms, is_random, seeded
from experiments.benchmarks.published.fitted import Clock, FittedTwice
from experiments.benchmarks.published.leave_one_out import benchmark_leave_one_out, leave_out
from experiments.benchmarks.published.questions import answer, asked_of, measured, seen_share, spread
from experiments.benchmarks.published.render import render_leave_one_out, render_split
from experiments.benchmarks.published.split import asked_about, benchmark_split, held_out
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.ingest import ingest
from features.sequences import Ragged
from features.snapshot import Snapshot
from tests.training.planted import Unsaved
from training.bestsellers import Bestsellers
from training.recommender import Progress, Scores, TrainingSet

N_ITEMS = 30
ARMS: Arms = {"bestsellers": {"model": "bestsellers"}, "linear": {"model": "linear", "ridge": 1.0}}


def lists(n: int = 80, *, again: bool = False) -> list[list[int]]:
    """Item i is followed by i + 1, in lists of 5 to 9; with ``again`` every list goes to and fro between two."""
    rng = np.random.default_rng(0)
    begins, lengths = rng.integers(N_ITEMS, size=n), rng.integers(5, 10, size=n)
    if again:
        return [[int(begin + place % 2) % N_ITEMS for place in range(9)] for begin in begins]
    return [
        [int(begin + place) % N_ITEMS for place in range(length)] for begin, length in zip(begins, lengths, strict=True)
    ]


def write(folder: Path, sequences: list[list[int]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"user": range(1, len(sequences) + 1), "items": sequences})
    frame.to_parquet(folder / "sequences.parquet")
    return folder


@pytest.fixture(scope="module")
def left_out(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("published")
    ingest(write(folder / "files", lists()), "benchmark_sequences", folder / "data")
    with Engine.duckdb(threads=1) as engine:
        return leave_out(engine, Dataset.open(folder / "data"))


def names(snapshot: Snapshot, user: str) -> list[int]:
    row = int(snapshot.users.encode([user])[0])
    one = snapshot.sequences.take(np.array([row]))
    return [int(name) for name in snapshot.items.decode(one.items)]


def test_exactly_the_last_items_are_held_out(left_out: Any) -> None:
    material = left_out.material
    for number, items in enumerate(lists(), start=1):
        assert names(material.early, str(number)) == items[:-2]
        assert names(material.late, str(number)) == items[:-1]
    for asked, place in ((material.validation, -2), (left_out.test, -1)):
        assert len(asked) == 80 and asked.labels.lengths.tolist() == [1] * 80
        for row, user in enumerate(asked.histories.user_ids):
            expected = lists()[int(user) - 1]
            assert asked.vocabulary.ids[asked.labels.values[row]] == str(expected[place])
            history = asked.histories.take(np.array([row]))
            assert [int(asked.vocabulary.ids[item]) for item in history.items] == expected[:place]
            assert len(history.past().items) == len(history.items)
    assert not left_out.material.again


def test_halves_of_validation_share_nobody(left_out: Any) -> None:
    one, other = left_out.material.stopping, left_out.material.blending
    together = [*one.histories.user_ids, *other.histories.user_ids]
    assert sorted(together) == sorted(left_out.material.validation.histories.user_ids)


def test_strict_models_read_the_last_but_one_item_as_input(left_out: Any) -> None:
    asked = asked_of(left_out.material.early, left_out.test)
    for row, user in enumerate(asked.histories.user_ids):
        history = asked.histories.take(np.array([row])).past()
        expected = [str(item) for item in lists()[int(user) - 1]]
        assert [asked.vocabulary.ids[item] for item in history.items] == expected[:-1]
        assert asked.vocabulary.ids[asked.labels.values[row]] == expected[-1]


def test_items_that_a_snapshot_does_not_know_are_unknown_and_missed(left_out: Any, tmp_path: Path) -> None:
    """A list whose last two items are new."""
    sequences = [*lists(), [0, 1, 2, 3, 100, 101]]
    ingest(write(tmp_path / "files", sequences), "benchmark_sequences", tmp_path / "data")
    with Engine.duckdb(threads=1) as engine:
        split = leave_out(engine, Dataset.open(tmp_path / "data"))
    known = split.material.early.items
    asked = asked_of(split.material.early, split.test)
    row = list(asked.histories.user_ids).index("81")
    history = asked.histories.take(np.array([row]))
    assert history.items[-1] == (-1 if "100" not in known else known.code("100"))
    assert asked.vocabulary.ids[asked.labels.values[row]] == "101"
    if "101" not in known:
        assert asked.labels.values[row] >= len(known)


class Backwards(Unsaved):
    """Says that everybody takes the items in their order."""

    name = "backwards"

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Backwards:
        self.n_items = len(training_set.snapshot.items)
        return self

    def score_all(self, histories: Any) -> Scores:
        return np.tile(-np.arange(self.n_items, dtype=np.float32), (len(histories), 1))


def test_what_was_seen_is_an_answer_only_where_it_may_be(left_out: Any) -> None:
    test = left_out.test
    model = Backwards().fit(TrainingSet(left_out.material.late))
    fresh, again = (answer(model, test.histories, 4, again=flag) for flag in (False, True))
    assert again.tolist() == [[0, 1, 2, 3]] * len(test)
    for row in range(len(test)):
        seen = set(test.histories.take(np.array([row])).items.tolist())
        assert fresh[row].tolist() == [item for item in range(N_ITEMS) if item not in seen][:4]


def test_metrics_by_hand() -> None:
    ids = np.arange(20, dtype=np.int32)[None].repeat(3, axis=0)
    found = measured(ids, Ragged(np.array([0, 1, 2, 3]), np.array([0, 7, 30], dtype=np.int32)))
    assert found["hr@5"].tolist() == [1, 0, 0] and found["hr@10"].tolist() == [1, 1, 0]
    assert found["ndcg@5"].tolist() == [1, 0, 0]
    assert found["ndcg@20"].tolist() == pytest.approx([1, 1 / math.log2(9), 0])


def test_mean_and_deviation_over_seeds() -> None:
    mean, sd = spread([{"a": 1.0}, {"a": 3.0}])
    assert mean == {"a": 2.0} and sd == {"a": pytest.approx(math.sqrt(2))}
    assert spread([{"a": 1.0}])[1] == {"a": 0.0}


def test_where_lists_repeat_items_what_was_seen_stays(tmp_path: Path) -> None:
    told: list[str] = []
    result = benchmark_leave_one_out(
        write(tmp_path / "again", lists(again=True)), [0], lambda stage, *_: told.append(stage), ARMS
    )
    assert result["seen_items_are_answers"]
    assert {row["model"]: row["metrics"]["strict_hr@5"] for row in result["rows"]}["linear"] > 0.9
    assert "seed 0: linear" in told and "seed 0: linear, refit" in told


def test_leave_one_out_finds_the_planted_order(tmp_path: Path) -> None:
    arms: Arms = {**ARMS, "blend": {"model": "blend", "parts": ("bestsellers", "linear")}}
    result = benchmark_leave_one_out(write(tmp_path / "order", lists()), [3, 4], None, arms)
    assert (result["benchmark"], result["data"], result["seeds"], result["users"]) == ("leave-one-out", "order", 2, 80)
    rows = {row["model"]: row for row in result["rows"]}
    assert list(rows) == list(arms)
    for name in ("linear", "blend"):
        metrics = rows[name]["metrics"]
        assert all(metrics[f"{fitted}_ndcg@10"] > 0.95 for fitted in ("validation", "strict", "refit")), metrics
        assert rows[name]["n"] == 80 and rows[name]["seconds"] > 0 and rows[name]["peak_mb"] > 0
        assert not any(rows[name]["sd"].values())
    assert rows["bestsellers"]["metrics"]["strict_ndcg@10"] < 0.5
    assert result["ratios"].keys() == {"blend_over_linear"}
    table = render_leave_one_out(result)
    assert table.row_count == 3 and all(cell.endswith(" ±0.0000") for cell in table.columns[1].cells)
    assert not any("±" in cell for cell in render_leave_one_out({**result, "seeds": 1}).columns[1].cells)


def test_a_benchmark_goes_on_from_the_seeds_that_ended(tmp_path: Path) -> None:
    """Seeds that were kept are not run again, and the table is the one that a whole run gives."""
    folder, keep = write(tmp_path / "order", lists()), tmp_path / "kept" / "seeds.json"
    arms: Arms = {**ARMS, "transformer": {"model": "transformer", "width": 8, "epochs": 1}}
    arms = {**arms, "blend": {"model": "blend", "parts": ("linear", "transformer")}}
    whole = benchmark_leave_one_out(folder, [0, 1], None, arms)
    benchmark_leave_one_out(folder, [0], None, arms, keep)
    told: list[str] = []
    result = benchmark_leave_one_out(folder, [0, 1], lambda stage, *_: told.append(stage), arms, keep)
    assert not any(stage.startswith("seed 0: ") and stage != "seed 0: kept" for stage in told)
    assert any(stage == "seed 1: transformer" for stage in told)
    for ours, wanted in zip(result["rows"], whole["rows"], strict=True):
        assert (ours["model"], ours["metrics"], ours["sd"]) == (wanted["model"], wanted["metrics"], wanted["sd"])
        assert ours["epochs"] == wanted["epochs"]
    assert result["ratios"] == whole["ratios"] and len(result["commits"]) <= 1
    again = benchmark_leave_one_out(folder, [0, 1], None, arms, keep)
    assert again["rows"] == result["rows"]


def test_kept_seeds_of_something_else_are_refused_and_stay(tmp_path: Path) -> None:
    folder, keep = write(tmp_path / "order", lists()), tmp_path / "seeds.json"
    benchmark_leave_one_out(folder, [0], None, ARMS, keep)
    before = keep.read_bytes()
    with pytest.raises(InputError, match=r"seeds.json must hold seeds of the same arms.*name a new file"):
        benchmark_leave_one_out(folder, [0], None, {**ARMS, "linear": {"model": "linear", "ridge": 2.0}}, keep)
    with pytest.raises(InputError, match="must hold seeds of the same data"):
        benchmark_leave_one_out(write(tmp_path / "other", lists(90)), [0], None, ARMS, keep)
    assert keep.read_bytes() == before
    keep.write_text("[]")
    with pytest.raises(InputError, match="must hold seeds that a benchmark kept"):
        benchmark_leave_one_out(folder, [0], None, ARMS, keep)
    assert keep.read_text() == "[]"


def test_networks_of_the_same_form_differ_in_every_run() -> None:
    drawn = [
        (model.config.width, model.config.seed)
        for seed in (0, 1, 2)
        for model in seeded(LEAVE_ONE_OUT, seed).values()
        if is_random(model)
    ]
    assert len(drawn) == len(set(drawn)) == 9
    assert (64, 1) in drawn and (128, 1) in drawn


def test_seeds_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seeds must be at least one"):
        benchmark_leave_one_out(write(tmp_path / "order", lists()), [], None, ARMS)
    with pytest.raises(ConfigError, match="seeds must be at least one"):
        benchmark_split(tmp_path, [])


def blocks(folder: Path) -> Path:
    """Everybody takes most items of their own half of the catalogue; what is left of it is the test."""
    rng = np.random.default_rng(0)
    pairs = [(user, item + 10 * (user % 2)) for user in range(60) for item in rng.permutation(10).tolist()]
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    place = frame.groupby("user").cumcount()
    folder.mkdir()
    frame[place < 7].to_parquet(folder / "train.parquet")
    frame[place >= 7].to_parquet(folder / "test.parquet")
    return folder


def test_split_finds_the_planted_halves(tmp_path: Path) -> None:
    arms: Arms = {"linear": {"model": "linear", "ridge": 1.0}, "spectral": {"model": "spectral", "rank": 2}}
    arms = {**arms, "factorization": {"model": "factorization", "width": 2}}
    result = benchmark_split(blocks(tmp_path / "blocks"), [0], None, arms)
    for row in result["rows"]:
        # Three are left of ten, and the other half has ten: an even mix would have an NDCG below 0.7.
        assert row["metrics"]["recall@20"] == 1 and row["metrics"]["ndcg@20"] > 0.99, row["model"]
        assert row["n"] == 60
    assert render_split(result).row_count == 3


def test_a_fifth_of_each_users_pairs_is_held_out_rounded_up() -> None:
    users = np.repeat([5, 2, 9, 1, 7], [20, 1, 2, 34, 35])
    held = held_out(users, 5, np.random.default_rng(0))
    assert {user: int(held[users == user].sum()) for user in (5, 2, 9, 1, 7)} == {5: 4, 2: 0, 9: 1, 1: 7, 7: 7}
    assert np.array_equal(held, held_out(users, 5, np.random.default_rng(0)))
    assert not np.array_equal(held, held_out(users, 5, np.random.default_rng(1)))


def test_questions_about_pairs(left_out: Any) -> None:
    snapshot = left_out.material.late
    pairs = pd.DataFrame({"user": [2, 2, 1, 999], "item": [3, 777, 4, 5]})
    asked = asked_about(snapshot, pairs)
    told = {
        user: {str(asked.vocabulary.ids[item]) for item in asked.labels.take(np.array([row])).values}
        for row, user in enumerate(asked.histories.user_ids)
    }
    assert told == {"1": {"4"}, "2": {"3", "777"}}


def test_a_test_about_nobody_is_refused(tmp_path: Path) -> None:
    folder = blocks(tmp_path / "blocks")
    pd.DataFrame({"user": [1_000], "item": [1]}).to_parquet(folder / "test.parquet")
    with pytest.raises(InputError, match=r"test.parquet must hold users of train.parquet"):
        benchmark_split(folder, [0], None, {"bestsellers": {"model": "bestsellers"}})


@pytest.mark.parametrize(
    ("file", "table", "told"),
    [
        ("test", {"user": [1], "item": [1.0]}, "column 'item' must be whole numbers, received 'float64'"),
        ("test", {"user": [1], "item": ["1"]}, "column 'item' must be whole numbers, received 'string'"),
        ("test", {"user": pa.array([1, None], pa.int64()), "item": [1, 2]}, "'user' must have no missing values"),
        ("train", {"user": ["u903"], "item": [1]}, "column 'user' must be whole numbers"),
        ("train", {"user": [1], "item": [[1]]}, "column 'item' must be whole numbers"),
        ("train", {"item": [1]}, "column 'user' is missing"),
    ],
)
def test_pairs_that_are_no_numbers_are_told(tmp_path: Path, file: str, table: dict[str, Any], told: str) -> None:
    """As text 5.0 is not 5: a test in another type found nothing at all."""
    folder = blocks(tmp_path / "blocks")
    pq.write_table(pa.table(table), folder / f"{file}.parquet")
    with pytest.raises(InputError, match=rf"{file}\.parquet: column.*{told.removeprefix('column ')}"):
        benchmark_split(folder, [0], None, {"bestsellers": {"model": "bestsellers"}})


def test_pairs_that_are_not_used_are_told(tmp_path: Path) -> None:
    folder, arms = blocks(tmp_path / "blocks"), {"bestsellers": {"model": "bestsellers"}}
    before = benchmark_split(folder, [0], None, arms)
    for name in ("train", "test"):
        pairs = pd.read_parquet(folder / f"{name}.parquet")
        pd.concat([pairs, pairs.head(2)]).to_parquet(folder / f"{name}.parquet")
    pairs = pd.read_parquet(folder / "test.parquet")
    pd.concat([pairs, pd.DataFrame({"user": [777], "item": [1]})]).to_parquet(folder / "test.parquet")
    after = benchmark_split(folder, [0], None, arms)
    assert before["left_out"] == {}
    assert after["left_out"] == {
        "train: copies of a pair": 2,
        "test: copies of a pair": 2,
        "test: users without training": 1,
    }
    assert after["rows"][0]["metrics"] == before["rows"][0]["metrics"]


def test_lists_that_are_too_short_or_broken_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must hold lists of three items, received '2 at most'"):
        benchmark_leave_one_out(write(tmp_path / "short", [[1, 2]] * 30), [0], None, ARMS)
    folder = write(tmp_path / "twice", lists())
    table = pd.read_parquet(folder / "sequences.parquet")
    pd.concat([table, table.head(1)]).to_parquet(folder / "sequences.parquet")
    told = benchmark_leave_one_out(folder, [0], None, ARMS)
    assert told["left_out"] == {"events: listed again": len(table["items"][0])}
    pq.write_table(pa.table({"user": [0, 1], "items": [[1, None, 3], [1, 2, 3]]}), folder / "sequences.parquet")
    with pytest.raises(InputError, match=r"twice: events must keep the contract.*see each with `stellar data ingest"):
        benchmark_leave_one_out(folder, [0], None, ARMS)


@pytest.mark.parametrize(
    "content",
    [
        "null",
        '{"identity": [], "runs": {}}',
        '{"identity": {}, "runs": {"0": {}}}',
        '{"identity": {}, "runs": {"0": {"commit": null, "arms": {"linear": {}}}}}',
    ],
)
def test_a_kept_file_of_another_shape_is_refused(tmp_path: Path, content: str) -> None:
    folder, keep = write(tmp_path / "order", lists()), tmp_path / "seeds.json"
    keep.write_text(content)
    with pytest.raises(InputError, match="must hold seeds that a benchmark kept"):
        benchmark_leave_one_out(folder, [0], None, ARMS, keep)
    assert keep.read_text() == content
    with pytest.raises(ConfigError, match="--keep must be a file that can be written"):
        benchmark_leave_one_out(folder, [0], None, ARMS, keep / "below" / "a-file")


def test_each_arm_tells_its_own_peak_of_memory() -> None:
    clock, small = Clock(), FittedTwice(Bestsellers(), Bestsellers())
    small.timed("fit", clock)
    clock, large = Clock(), FittedTwice(Bestsellers(), Bestsellers())
    held = np.ones(40_000_000)
    large.timed("fit", clock)
    del held
    clock, after = Clock(), FittedTwice(Bestsellers(), Bestsellers())
    after.timed("fit", clock)
    assert large.peak_mb > small.peak_mb + 250 and after.peak_mb < large.peak_mb - 250


def test_how_much_was_seen(left_out: Any) -> None:
    assert seen_share(left_out.material.validation) == 0
