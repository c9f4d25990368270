"""Data in: a run that is refused, killed or out of room leaves nothing half-made, and what was there stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import features.assemble
from features.dataset import Dataset
from features.errors import ConfigError, ConflictError, InputError, NotFoundError
from features.ingest import ingest
from features.replace import replacing
from tests.features.delivered import GOOD, names, run, write


def test_too_many_breaches_fail_and_leave_only_the_account(tmp_path: Path) -> None:
    rows = [{**GOOD["events"], "event_id": f"e{i}", "quantity": "abc" if i in (7, 9, 11) else "1"} for i in range(100)]
    write(tmp_path / "shop", "events", rows)
    with pytest.raises(InputError) as raised:
        run(tmp_path)
    message = str(raised.value)
    failed = tmp_path / "shop-out.rejected"
    assert message.startswith(
        "events.quantity must be an integer, received 'abc'; first in events.csv row 8, 3 of 100 rows"
    )
    assert str(failed / "rejects.parquet") in message
    assert message.endswith("--max-reject-share 0.03")
    assert "\n" not in message
    assert names(tmp_path) == ["shop", "shop-out.rejected"]
    assert names(failed) == ["rejects.parquet", "report.json"]
    assert pq.read_table(failed / "rejects.parquet")["source_row"].to_pylist() == [8, 10, 12]
    report = json.loads((failed / "report.json").read_text())
    assert report["tables"]["events"]["contract"] == {"quantity must be an integer": 3}
    assert report["error"] == message
    assert run(tmp_path, max_reject_share=0.03).tables["events"].accepted == 97
    assert names(tmp_path) == ["shop", "shop-out"]


def test_nothing_left_of_the_events_is_no_dataset(tmp_path: Path) -> None:
    write(tmp_path / "shop", "events", [{**GOOD["events"], "ts": "-1"}])
    with pytest.raises(
        InputError, match=r"events must have a row that can be used, received 'ts must be at least 1 \(1\)'"
    ):
        run(tmp_path, max_reject_share=1)


def test_a_dataset_is_replaced_only_by_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    before = run(tmp_path).digest
    write(tmp_path / "shop", "events", [{**GOOD["events"], "ts": "soon"}])
    with pytest.raises(InputError):
        run(tmp_path)
    assert Dataset.open(tmp_path / "shop-out").digest == before
    write(tmp_path / "shop", "events", [{**GOOD["events"], "ts": "7"}])
    with monkeypatch.context() as patch:
        patch.setattr(features.assemble, "content_digest", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert Dataset.open(tmp_path / "shop-out").digest == before
    assert names(tmp_path) == ["shop", "shop-out", "shop-out.rejected"]
    assert run(tmp_path).digest != before
    assert names(tmp_path) == ["shop", "shop-out"]


def _interrupt(*_: object) -> str:
    raise KeyboardInterrupt


def test_what_a_killed_run_left_is_cleaned_up(tmp_path: Path) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    digest = run(tmp_path).digest
    (tmp_path / "shop-out").rename(tmp_path / ".shop-out.replaced")
    (tmp_path / ".shop-out.partial").mkdir()
    (tmp_path / ".shop-out.partial" / "items.parquet").write_text("half")
    (tmp_path / ".shop-out.lock").write_text("")
    write(tmp_path / "shop", "events", [{**GOOD["events"], "ts": "soon"}])
    with pytest.raises(InputError):
        run(tmp_path)
    assert Dataset.open(tmp_path / "shop-out").digest == digest
    assert names(tmp_path) == ["shop", "shop-out", "shop-out.rejected"]


def test_what_a_run_killed_at_its_very_end_left_is_cleaned_up(tmp_path: Path) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    run(tmp_path)
    shutil.copytree(tmp_path / "shop-out", tmp_path / ".shop-out.replaced")
    run(tmp_path)
    assert names(tmp_path) == ["shop", "shop-out"]


def test_the_old_dataset_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    before = run(tmp_path).digest
    write(tmp_path / "shop", "events", [{**GOOD["events"], "ts": "7"}])
    rename = Path.rename

    def fail_for_the_new_one(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError("disk gone")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_for_the_new_one)
        with pytest.raises(OSError, match="disk gone"):
            run(tmp_path)
    assert Dataset.open(tmp_path / "shop-out").digest == before
    assert names(tmp_path) == ["shop", "shop-out"]


def test_what_is_not_a_dataset_is_never_replaced(tmp_path: Path) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    (tmp_path / "shop-out").mkdir()
    (tmp_path / "shop-out" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConflictError, match=r"must be new, empty, or hold dataset\.json"):
        run(tmp_path)
    assert names(tmp_path / "shop-out") == ["thesis.txt"]
    for out in (tmp_path, tmp_path / "shop"):
        with pytest.raises(ConflictError, match="must not hold the files that are read"):
            ingest(tmp_path / "shop", "tables", out)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be a place to write to"):
        ingest(tmp_path / "shop", "tables", tmp_path / "file" / "out")


def test_the_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="shop must be a folder"):
        run(tmp_path)
    assert names(tmp_path) == []


def test_files_that_cannot_be_read_leave_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path / "shop", "events", [{**GOOD["events"], "colour": "red"}])
    with pytest.raises(InputError, match="column 'colour' is not a column of events"):
        run(tmp_path)
    assert names(tmp_path) == ["shop"]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(tmp_path: Path, share: float) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    with pytest.raises(ConfigError, match="--max-reject-share must be from 0 to 1"):
        run(tmp_path, max_reject_share=share)


def test_two_runs_never_write_one_dataset(tmp_path: Path) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    with (
        replacing(tmp_path / "shop-out", "dataset.json"),
        pytest.raises(ConflictError, match="must be written by one run at a time"),
    ):
        run(tmp_path)
    run(tmp_path)
    assert names(tmp_path) == ["shop", "shop-out"]


def test_temporary_files_are_beside_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    run(tmp_path)


#: Ingests in a process of its own, whose files cannot grow beyond so many bytes, as on a disk that is full.
ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from features.errors import StellarError
from features.ingest import ingest
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    ingest(Path(sys.argv[1]), "tables", Path(sys.argv[2]))
except StellarError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("limit", [4_000, 40_000])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, limit: int) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"]])
    before = run(tmp_path).digest
    rng = np.random.default_rng(0)
    many = [{**GOOD["events"], "event_id": rng.bytes(16).hex()} for _ in range(4_000)]
    write(tmp_path / "shop", "events", many)
    command = [sys.executable, "-c", ON_A_FULL_DISK, tmp_path / "shop", tmp_path / "shop-out", str(limit)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("ConfigError")
    assert "must have room for what is written, received 'a full disk'; free space" in told
    assert Dataset.open(tmp_path / "shop-out").digest == before
    assert names(tmp_path) == ["shop", "shop-out"]
