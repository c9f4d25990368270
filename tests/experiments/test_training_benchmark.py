"""What training is measured by, on curves, lists and peers whose right answers are known by hand."""

from __future__ import annotations

import json
import math
import sys
import time
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.benchmarks.published.fitted import Material
from experiments.benchmarks.published.leave_one_out import leave_out
from experiments.benchmarks.training import run
from experiments.benchmarks.training.curve import Point, best, epoch_seconds, seconds_to_reach
from experiments.benchmarks.training.environment import PeerError, peer_python
from experiments.benchmarks.training.peer import SETTINGS
from experiments.benchmarks.training.peer_run import K, PeerTraining, hand_over, read_curve, run_peer
from experiments.benchmarks.training.run import benchmark_training, compared, render_training, train_ours
from experiments.terminal import terminal
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.ingest import ingest
from training.train import Notify
from training.transformer import SequenceTransformer

#: Users 1 to 4; the last but one item is what validation asks for, the last is left out of everything.
LISTS = [[10, 11, 12, 13, 14], [11, 12, 13, 14, 15], [12, 13, 14, 15, 10], [13, 14, 15, 10, 11]]
ITEMS = [10, 11, 12, 13, 14, 15]


def silent(stage: str, done: int, of: int, metrics: dict[str, float]) -> None:
    """Nobody watches."""


def split(folder: Path, lists: list[list[int]]) -> Material:
    folder.mkdir()
    frame = pd.DataFrame({"user": range(1, len(lists) + 1), "items": lists})
    frame.to_parquet(folder / "sequences.parquet")
    ingest(folder, "benchmark_sequences", folder / "data")
    with Engine.duckdb(threads=1) as engine:
        return leave_out(engine, Dataset.open(folder / "data")).material


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return split(tmp_path_factory.mktemp("training") / "lists", LISTS)


def rank(folder: Path, epoch: int, lists: dict[str, list[int]]) -> None:
    """What a peer leaves after an epoch."""
    rows = [
        {"user_id": user, "item_id": str(item), "rank": place}
        for user, items in lists.items()
        for place, item in enumerate(items, start=1)
    ]
    pd.DataFrame(rows).to_parquet(folder / f"lists-{epoch}.parquet", index=False)


def line(epoch: int, seconds: float, listing_seconds: float) -> str:
    return json.dumps({"epoch": epoch, "seconds": seconds, "listing_seconds": listing_seconds}) + "\n"


def handed(folder: Path, material: Material) -> Path:
    folder.mkdir()
    hand_over(folder, material.early, material.validation, seconds=9.0, threads=1, seed=3, again=False)
    return folder


def test_the_peer_learns_from_all_but_the_last_two_items_in_their_order(tmp_path: Path, material: Material) -> None:
    folder = handed(tmp_path / "peer", material)
    told = pd.read_parquet(folder / "interactions.parquet").sort_values(["user_id", "datetime"])
    learned = {user: rows["item_id"].astype(int).tolist() for user, rows in told.groupby("user_id")}
    assert learned == {str(number): items[:-2] for number, items in enumerate(LISTS, start=1)}
    assert sorted(pd.read_parquet(folder / "users.parquet")["user_id"]) == ["1", "2", "3", "4"]
    job = json.loads((folder / "job.json").read_text())
    assert job == {"seconds": 9.0, "epochs": 200, "threads": 1, "seed": 3, "k": 10, "again": False}


def test_the_peers_lists_are_judged_by_hand(tmp_path: Path, material: Material) -> None:
    folder = handed(tmp_path / "peer", material)
    # Validation asks for 13, 14, 15 and 10: found first, third, not at all, second; then by nobody but user 2.
    rank(folder, 1, {"1": [13, 15], "2": [15, 10, 14], "3": [10, 11], "4": [11, 10]})
    rank(folder, 2, {"1": [14], "2": [14], "3": [10], "4": [12]})
    (folder / "epochs.jsonl").write_text(line(1, 20.0, 1.5) + line(2, 30.0, 3.0))
    first, second = read_curve(folder, material.validation)
    assert (first.epoch, first.seconds, first.judging_s) == (1, 20.0, 1.5)
    assert first.ndcg == pytest.approx((1 + 1 / math.log2(4) + 0 + 1 / math.log2(3)) / 4, abs=1e-12)
    assert (second.epoch, second.seconds, second.judging_s) == (2, 30.0, 3.0)
    assert second.ndcg == pytest.approx(1 / 4, abs=1e-12)


def test_a_line_that_was_not_written_to_its_end_is_no_epoch(tmp_path: Path, material: Material) -> None:
    folder = handed(tmp_path / "peer", material)
    assert read_curve(folder, material.validation) == []
    rank(folder, 1, {"1": [13]})
    (folder / "epochs.jsonl").write_text(line(1, 20.0, 1.5) + line(2, 30.0, 3.0)[:-9])
    assert [point.epoch for point in read_curve(folder, material.validation)] == [1]
    (folder / "epochs.jsonl").write_text(line(1, 20.0, 1.5) + "epoch two\n")
    with pytest.raises(InputError, match=r"epochs.jsonl: line 2 must tell epoch, seconds and listing_seconds"):
        read_curve(folder, material.validation)


#: Stands where RecTools is not installed: two epochs of lists that were prepared, then the machine kills it.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "about.json").write_text(json.dumps({"versions": {"rectools": "0"}, "settings": {"n_factors": 64}}))
for epoch in (1, 2):
    shutil.copyfile(folder.parent / f"lists-{epoch}.parquet", folder / f"lists-{epoch}.parquet")
    with (folder / "epochs.jsonl").open("a") as lines:
        lines.write(json.dumps({"epoch": epoch, "seconds": 10.0 * epoch, "listing_seconds": 1.0 * epoch}) + "\\n")
print("threads", os.environ["OMP_NUM_THREADS"], file=sys.stderr, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_peer_that_is_killed_keeps_its_epochs(tmp_path: Path, material: Material) -> None:
    folder, script = handed(tmp_path / "peer", material), tmp_path / "killed.py"
    script.write_text(KILLED)
    rank(tmp_path, 1, {"1": [14], "2": [14], "3": [10], "4": [12]})
    rank(tmp_path, 2, {"1": [13], "2": [14], "3": [15], "4": [12]})
    peer = run_peer(Path(sys.executable), folder, material.validation, silent, script)
    assert [(point.seconds, point.ndcg) for point in peer.curve] == [(10.0, 0.25), (20.0, 0.75)]
    assert peer.ended == "died with exit status -9: threads 1"
    assert (peer.versions, peer.settings) == ({"rectools": "0"}, {"n_factors": 64})


def test_a_peer_without_an_epoch_is_an_error_with_its_last_words(tmp_path: Path, material: Material) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no such library')")
    with pytest.raises(PeerError, match=r"the peer must train for an epoch, received 'exit 1: no such library'"):
        run_peer(Path(sys.executable), handed(tmp_path / "peer", material), material.validation, silent, script)


PEER_CURVE = [Point(1, 100.0, 4.0, 0.01), Point(2, 180.0, 8.0, 0.03), Point(3, 270.0, 12.0, 0.03)]
OUR_CURVE = [
    Point(1, 6.0, 3.0, 0.02),
    Point(2, 10.0, 6.0, 0.025),
    Point(3, 15.0, 9.0, 0.04),
    Point(4, 19.0, 12.0, 0.03),
]


def test_when_a_curve_reaches_something() -> None:
    assert best(PEER_CURVE) == PEER_CURVE[1] and best(OUR_CURVE) == OUR_CURVE[2]
    assert seconds_to_reach(OUR_CURVE, 0.02) == 6.0  # as much is enough
    assert seconds_to_reach(OUR_CURVE, 0.030) == 15.0
    assert seconds_to_reach(OUR_CURVE, 0.041) is None
    assert epoch_seconds(PEER_CURVE) == 90.0  # of 100, 80, 90
    assert epoch_seconds(OUR_CURVE) == 4.5  # of 6, 4, 5, 4


def test_the_ratio_is_of_the_times_to_the_peers_best() -> None:
    peer = PeerTraining(PEER_CURVE, {"rectools": "0.19.0"}, {"n_factors": 64}, "whole")
    result = compared(peer, OUR_CURVE, 22, {"width": 64})
    assert result["target"] == 0.03
    theirs, ours = result["rows"]
    assert (theirs["seconds_to_reach"], ours["seconds_to_reach"]) == (180.0, 15.0)
    assert (theirs["epoch_seconds"], ours["epoch_seconds"]) == (90.0, 4.5)
    assert result["ratios"] == {"seconds_to_reach": 12.0, "epoch_seconds": 20.0}
    assert (theirs["seconds"], theirs["judging_s"], theirs["best_epoch"]) == (270.0, 12.0, 2)
    assert ours["curve"][2] == {"epoch": 3, "seconds": 15.0, "judging_s": 9.0, "ndcg@10": 0.04}
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    ("ended", "ours", "shown"),
    [
        ("whole", OUR_CURVE, ["12.0 times faster", "180.0", "15.0"]),
        ("died with exit status -9: Killed", OUR_CURVE[:2], ["never reached", "never", "exit status -9: Killed"]),
    ],
)
def test_the_table(ended: str, ours: list[Point], shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = compared(PeerTraining(PEER_CURVE, {}, {}, ended), ours, 22, {})
    told |= {"data": "small", "users": 22, "items": 7, "minutes": 0.5, "threads": 2}
    terminal().print(render_training(told))
    table = " ".join(capsys.readouterr().out.split())
    assert all(part in table for part in ["0.5 minutes", "seconds to 0.0300", "90.0", *shown]), table


def ndcg_by_hand(model: SequenceTransformer, material: Material) -> float:
    """Of the last but one items, one user after the other, in a full sort of what the user has not had."""
    asked, total = material.validation, 0.0
    for row in range(len(asked)):
        one = asked.take(np.array([row]))
        scores = model.score_all(one.histories)[0]
        fresh = [item for item in range(model.n_items) if item not in one.histories.items.tolist()]
        listed = sorted(fresh, key=lambda item: (-scores[item], item))[:K]
        (wanted,) = one.labels.values.tolist()
        total += 1 / math.log2(listed.index(wanted) + 2) if wanted in listed else 0.0
    return total / len(asked)


def test_ours_is_judged_after_each_epoch_outside_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, n_items = np.random.default_rng(0), 30
    begins, lengths = rng.integers(n_items, size=60), rng.integers(5, 10, size=60)
    lists = [[int(begin + place) % n_items for place in range(n)] for begin, n in zip(begins, lengths, strict=True)]
    material = split(tmp_path / "lists", lists)
    model = SequenceTransformer(width=8, epochs=3, patience=3, device="cpu")
    real, slow_s = run.answer, 0.1

    def slow(*asked: Any, **how: Any) -> Any:
        time.sleep(slow_s)
        return real(*asked, **how)

    monkeypatch.setattr(run, "answer", slow)
    began = time.perf_counter()
    curve = train_ours(model, material, silent)
    wall = time.perf_counter() - began
    assert [point.epoch for point in curve] == [1, 2, 3]
    assert all(one.seconds < other.seconds for one, other in pairwise(curve))
    assert curve[-1].judging_s >= 3 * slow_s
    assert curve[-1].seconds + curve[-1].judging_s <= wall
    assert model.curve is not None
    assert curve[model.curve.best_epoch - 1].ndcg == pytest.approx(ndcg_by_hand(model, material), abs=1e-12)


def test_both_have_64_dimensions_and_one_block() -> None:
    ours = SequenceTransformer().config
    assert (SETTINGS["n_factors"], SETTINGS["n_blocks"]) == (ours.width, ours.blocks) == (64, 1)


def wheel(folder: Path, name: str) -> Path:
    """A package without a line of code."""
    path, about = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path


def test_the_environment_is_made_once_and_its_failure_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STELLAR_HOME", str(tmp_path / "home"))
    requirements, told = tmp_path / "wanted.txt", list[tuple[str, int]]()
    notify: Notify = lambda stage, done, *_: told.append((stage, done))  # noqa: E731
    requirements.write_text(f"{tmp_path / 'missing-1.0-py3-none-any.whl'}\n")
    with pytest.raises(PeerError, match=r"the peer's environment must be made by pip, received .ERROR: .*; see .*log"):
        peer_python(notify, requirements)
    requirements.write_text(f"{wheel(tmp_path, 'lonely')}\n")
    told.clear()
    python = peer_python(notify, requirements)
    assert told == [("the peer's environment", 0), ("the peer's environment", 1)]
    assert list((tmp_path / "home").rglob("site-packages/lonely.py"))
    told.clear()
    assert peer_python(notify, requirements) == python
    assert told == [("the peer's environment", 1)]


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_a_peer_without_time_is_refused(tmp_path: Path, minutes: float) -> None:
    with pytest.raises(ConfigError, match="minutes must be above 0"):
        benchmark_training(tmp_path, minutes)
