"""The service in processes of its own: how it starts, what it keeps when it is killed, and how it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest

from features.errors import ConfigError
from features.schema import EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Group, Labelled
from serving import server
from serving.state import State
from training.blend import Blend
from training.bundle import Bundle, save_bundle
from training.recommender import TrainingSet

ROOT = Path(__file__).resolve().parents[2]


def test_importing_the_service_loads_neither_models_nor_tracking_nor_engines() -> None:
    heavy = ["mlflow", "optuna", "pyspark", "torch", "pandas", "ibis"]
    code = f"import sys, serving.service; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


def test_a_port_in_use_and_an_unknown_host_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PORT_TIMEOUT_S", 0.2)
    url = f"sqlite:///{tmp_path / 'state.db'}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"port must be free.*choose another"):
            server.start("127.0.0.1", taken.getsockname()[1], bundle=None, state_url=url)
    with pytest.raises(ConfigError, match="host must be a known"):
        server.start("no.such.host.invalid", 0, bundle=None, state_url=url)


def tiny_bundle(folder: Path) -> Bundle:
    """Twenty users of whom each bought one pair of three: lamp and bulb, vase and flowers, or mug and tea."""
    names = ["bulb", "flowers", "lamp", "mug", "tea", "vase"]
    pairs = np.array([[2, 0], [5, 1], [3, 4]])
    items = pd.DataFrame({"category": "all", "available": True, "popularity": 1}, pd.Index(names, name="item_id"))
    users = pd.DataFrame(index=pd.Index([f"u{n:02d}" for n in range(20)], name="user_id"))
    as_of_ms, n = 1_600_000_000_000, len(users)
    bought = pairs[np.arange(n) % 3]
    histories = Histories(
        user_ids=users.index.to_numpy(dtype=object),
        as_of_ms=np.full(n, as_of_ms),
        snapshot_ms=np.full(n, as_of_ms),
        offsets=np.arange(0, 2 * n + 1, 2),
        items=bought.ravel().astype(np.int32),
        event_types=np.tile([EventType.VIEW.code, EventType.PURCHASE.code], n).astype(np.int8),
        ts=as_of_ms - 1_000 + np.arange(2 * n),
    )
    snapshot = Snapshot(as_of_ms, "source", (), users, items, histories)
    labels = Ragged(np.arange(n + 1), bought[:, 1].astype(np.int32))
    later = Labelled(histories, labels, snapshot.items, np.full(n, Group.WARM, dtype=object))
    blend = Blend(parts=("live",)).fit(TrainingSet(snapshot, later))
    return save_bundle(folder, blend, snapshot, arm="tiny", policy={})


LAUNCHER = """
import sys
from pathlib import Path
from serving import server
bundle, port = Path(sys.argv[1]), int(sys.argv[2])
running = server.start("127.0.0.1", port, bundle=bundle, state_url=server.default_state_url())
print(running.process.pid, flush=True)
running.wait()
"""


def test_the_real_service_keeps_acknowledged_events_when_killed_and_ends_with_its_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STELLAR_HOME", str(tmp_path / "home"))
    folder = tmp_path / "bundle"
    bundle = tiny_bundle(folder)
    url = server.default_state_url()
    seen = {"event_id": "e1", "user_id": "new", "event_type": "view", "item_id": "vase"}
    question = {"user_id": "new", "k": 6}

    with (
        server.start("127.0.0.1", 0, bundle=folder, state_url=url) as first,
        httpx.Client(base_url=first.url) as client,
    ):
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").json()["bundle_digest"] == bundle.digest
        before = client.post("/recommend", json=question).json()
        assert client.post("/events", json=seen).json()["accepted"] == 1
        first.kill()
    assert {item["level"] for item in before["items"]} == {"popular"}

    port = first.url.rsplit(":", 1)[1]
    command = [sys.executable, "-c", LAUNCHER, str(folder), port]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert launcher.stdout is not None
        supervisor = psutil.Process(int(launcher.stdout.readline()))
        family = [supervisor, *supervisor.children()]
        with httpx.Client(base_url=first.url) as client:
            repeated = client.post("/events", json=seen).json()
            after = client.post("/recommend", json=question).json()
            too_large = client.post("/events", content=b"x" * 2_000_000, headers={"content-type": "application/json"})
            metrics = client.get("/metrics").text
    finally:
        launcher.kill()
        launcher.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert repeated == {"accepted": 0, "duplicates": 1, "event_ids": ["e1"]}
    assert (after["items"][0]["item_id"], after["items"][0]["level"]) == ("flowers", "L4")
    assert too_large.status_code == 413
    assert 'stellar_impressions_total{level="L4"}' in metrics
    assert "bentoml_service_request_total" in metrics

    state = State.open(url)
    assert len(state.impressions_frame()) == len(before["items"]) + len(after["items"])
    state.close()
