"""``stellar train`` in two processes, and after it was killed: one model, the same as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from features.dataset import Dataset
from features.ingest import ingest
from features.shop import Shop, ShopConfig
from training.fit_checkpoint import FILE

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
EPOCHS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("tiny")
    Shop(ShopConfig.of(seed=0, users=400, events=12_000)).write(folder / "files")
    ingest(folder / "files", "tables", folder / "data")
    (folder / "config.yaml").write_text(f"width: 16\nlength: 30\nepochs: {EPOCHS}\npatience: {EPOCHS}\n")
    (folder / "factorization.yaml").write_text("width: 32\n")
    return Dataset.open(folder / "data")


def training(
    data: Dataset, home: Path, *more: str, model: str = "transformer", config: str = "config.yaml"
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a training that keeps its runs in a folder of its own."""
    fixed = ["--data", str(data.folder), "--horizon-days", "14", "--config", str(data.folder.parent / config)]
    command = ["-m", "stellar", "train", model, *fixed, "--json", str(home / "result.json"), *more]
    return command, {**os.environ, "STELLAR_HOME": str(home), "OMP_NUM_THREADS": "1"}


def result(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "result.json").read_text())
    return found


@pytest.fixture(scope="module")
def alone(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("alone")
    command, environment = training(data, home)
    subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)
    return result(home)


def test_two_processes_train_one_model(data: Dataset, alone: dict[str, Any], tmp_path: Path) -> None:
    """They share the steps of each epoch, and the first alone records and registers."""
    command, environment = training(data, tmp_path)
    done = subprocess.run([*TORCHRUN, *command], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.count("registered as version") == 1
    shared = result(tmp_path)
    assert shared["version"] == 1 and shared["snapshot_digest"] == alone["snapshot_digest"]
    assert shared["n_validation"] == alone["n_validation"] > 80
    # Seeds of the same training differ by about .02 on so few users.
    assert shared["validation_ndcg@20"] == pytest.approx(alone["validation_ndcg@20"], abs=0.06)


def test_two_processes_factorize_alike(data: Dataset, tmp_path: Path) -> None:
    """Each solves for its share of the users and of the items: nothing is left to chance."""
    found = []
    for launcher in ([sys.executable], TORCHRUN):
        home = tmp_path / str(len(launcher))
        home.mkdir()
        command, environment = training(data, home, model="factorization", config="factorization.yaml")
        done = subprocess.run([*launcher, *command], env=environment, check=True, capture_output=True, text=True)
        assert done.stdout.count("registered as version") == 1
        found.append(result(home)["validation_ndcg@20"])
    assert found[0] == pytest.approx(found[1], abs=1e-3) and found[0] > 0


def test_a_killed_training_ends_as_if_it_had_not_been(data: Dataset, alone: dict[str, Any], tmp_path: Path) -> None:
    command, environment = training(data, tmp_path, "--checkpoints", str(tmp_path / "checkpoints"))
    with subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL) as begun:
        while not list((tmp_path / "checkpoints").glob(f"*/{FILE}")):
            assert begun.poll() is None, "ended before it was killed"
            time.sleep(0.02)
        begun.send_signal(signal.SIGKILL)
    assert not (tmp_path / "result.json").exists()
    subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)
    assert result(tmp_path)["bundle_digest"] == alone["bundle_digest"]
