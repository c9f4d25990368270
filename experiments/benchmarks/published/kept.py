"""Seeds of a published benchmark that ended, in one file: a benchmark that is stopped goes on from them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from experiments.benchmarks.published.arms import Arms
from features.errors import InputError
from features.writable import check_writable
from training.revision import code_revision
from training.train import build_models


class Found(TypedDict):
    """What one seed found of an arm; ``seconds`` and ``cpu_seconds`` by stage, ``peak_mb`` the most of any stage."""

    metrics: dict[str, float]
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    best_epoch: int | None
    epoch_seconds: list[float]
    peak_mb: float


class Run(TypedDict):
    """What one seed found, and the code that did."""

    commit: str | None
    arms: dict[str, Found]


class _Content(TypedDict):
    identity: dict[str, Any]
    runs: dict[int, Run]


def identity_of(benchmark: str, folder: Path, arms: Arms) -> dict[str, Any]:
    """What must be the same for two seeds to stand in one table: the data's content, and every hyper-parameter."""
    models = build_models(arms)
    return {
        "benchmark": benchmark,
        "data": {path.name: _sha256(path) for path in sorted(folder.glob("*.parquet"))},
        "arms": {name: {**arms[name], **json.loads(model.config.model_dump_json())} for name, model in models.items()},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Kept:
    """The runs of some seeds, written whole after each."""

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        """Read what is there.

        Args:
            path: None keeps them in memory only.
            identity: See ``identity_of``.

        Raises:
            InputError: The file holds something else, or seeds of other data or hyper-parameters.
            ConfigError: It cannot be written.
        """
        self._path, self._identity = path, dict(identity)
        self.runs: dict[int, Run] = {}
        if path is None:
            return
        check_writable("--keep", path)
        if not path.exists():
            return
        try:
            content = TypeAdapter(_Content).validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(str(path), "must hold seeds that a benchmark kept", mend="name a new file") from error
        known, arms = content["identity"], self._identity["arms"]
        other = [name for name in self._identity if known.get(name) != self._identity[name]]
        other += ["arms"] * any(run["arms"].keys() != arms.keys() for run in content["runs"].values())
        if other:
            raise InputError(str(path), f"must hold seeds of the same {other[0]}", mend="name a new file")
        self.runs = content["runs"]

    def add(self, seed: int, arms: Mapping[str, Found]) -> None:
        """One more; the file is replaced at once, so that none that ended is lost."""
        self.runs[seed] = {"commit": code_revision().get("mlflow.source.git.commit"), "arms": dict(arms)}
        if self._path is None:
            return
        beside = self._path.with_name(f"{self._path.name}.new")
        beside.write_text(json.dumps({"identity": self._identity, "runs": self.runs}, indent=2) + "\n", "utf-8")
        os.replace(beside, self._path)


__all__ = ["Found", "Kept", "Run", "identity_of"]
