"""The whole path as a user walks it: the command line in processes of its own, over HTTP, through a power cut."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 120.0


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "stellar", *(str(argument) for argument in arguments)]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"STELLAR_HOME": str(home), "PYTHONPATH": str(ROOT)}


def stellar(home: Path, *arguments: object) -> str:
    """Run a verb that must succeed; what it told."""
    ended = subprocess.run(command(*arguments), cwd=home, env=environment(home), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


@contextmanager
def serving(home: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``stellar serve`` on that port, ready; whatever happens, all of its processes are gone afterwards."""
    log = (home / "serve.log").open("ab")
    process = subprocess.Popen(
        command("serve", "--port", port), cwd=home, env=environment(home), stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (home / "serve.log").read_text()
            try:
                ask(f"{url}/readyz")
                break
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
        yield url, process
    finally:
        kill(process)
        log.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    """``kill -9`` of the launcher, the supervisor and the workers at once."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for each in family:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(family, timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_from_a_shops_events_to_answers_that_survive_a_power_cut(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    told = stellar(home, "demo", "--events", 6_000, "--json", home / "out.json")
    assert "stellar serve" in told
    report = json.loads((home / "out.json").read_text())
    assert report["n_users"] > 0 and report["peak_mb"] > 0
    assert {"simulate", "ingest", "compare", "track"} <= set(report["seconds"])
    for arm in report["arms"].values():
        for metric in ("ndcg@20", "recall@20", "purchases@20"):
            assert arm[metric]["low"] <= arm[metric]["mean"] <= arm[metric]["high"]
    # So small a shop has too few buyers for a verdict.
    assert report["champion"] is None and report["arms"]["blend"]["verdict"] == "cannot_tell"
    assert "champion, by force" in stellar(home, "promote", "--version", report["versions"]["blend"], "--force")

    data, lists = home / "demo" / "data-tables", home / "lists.parquet"
    stellar(home, "recommend", "--out", lists, "--k", 5)
    batch = pd.read_parquet(lists)
    user_id = str(batch["user_id"].iloc[0])

    port = free_port()
    known = {"user_id": user_id, "k": 5}
    with serving(home, port) as (url, process):
        before = ask(f"{url}/recommend", known)
        assert len(set(ids(before))) == 5 == (batch["user_id"] == user_id).sum()
        cold = ask(f"{url}/recommend", {"user_id": "nobody", "k": 5})
        assert {item["level"] for item in cold["items"]} == {"popular"}
        item = next(each for each in batch["item_id"] if each not in ids(before))
        event = {"user_id": user_id, "event_type": "view", "item_id": item, "event_id": "the last one"}
        assert ask(f"{url}/events", event)["accepted"] == 1
        kill(process)
    with serving(home, port) as (url, _):
        after = ask(f"{url}/recommend", known)
        assert ask(f"{url}/events", event)["duplicates"] == 1
    assert [each["score"] for each in after["items"]] != [each["score"] for each in before["items"]]
    assert "L4" in {each["level"] for each in after["items"]} - {each["level"] for each in before["items"]}

    counts = []
    for name, state in (("without", []), ("with", ["--state", home / "state.db"])):
        summary = home / f"{name}.json"
        stellar(home, "features", "build", data, "--out", home / name, "--json", summary, *state)
        counts.append(json.loads(summary.read_text()))
    assert counts[1]["events"] == counts[0]["events"] + 1
    assert counts[1]["digest"] != counts[0]["digest"]


@pytest.mark.parametrize(
    ("source", "users", "items"), [("online_retail", 4_000, 3_000), ("retailrocket", 1_700, 20_000)]
)
def test_a_real_shop_comes_in_and_becomes_features(
    real_data: Path, tmp_path: Path, source: str, users: int, items: int
) -> None:
    report, summary = tmp_path / "report.json", tmp_path / "summary.json"
    out = tmp_path / "data"
    stellar(tmp_path, "data", "ingest", real_data / source, "--source", source, "--out", out, "--json", report)
    events = json.loads(report.read_text())["tables"]["events"]
    rejected = sum(events["policy"].values()) + sum(events["contract"].values())
    assert events["accepted"] + rejected == events["rows_in"]
    stellar(tmp_path, "features", "build", out, "--out", tmp_path / "snapshot", "--as-of", "80%", "--json", summary)
    built = json.loads(summary.read_text())
    assert built["users"] > users and built["items"] > items
    assert 0.5 < built["events"] / events["accepted"] <= 0.81
    assert len(built["user_features"]) > 5 and len(built["item_features"]) > 5
