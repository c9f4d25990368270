"""What a training that was killed goes on from: one file, written whole after every epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from features.errors import InputError
from training.recommender import Curve

FILE = "training.safetensors"


@dataclass
class Progressed:
    """Where a training stands after some epochs.

    Attributes:
        epoch: The last one that was finished.
        best: The best score so far; its epoch is the curve's.
        steps: Steps of the optimiser.
        tensors: Everything that is learned, by name.
    """

    epoch: int = 0
    best: float = float("-inf")
    steps: int = 0
    curve: Curve = field(default_factory=Curve)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A folder that a training writes to and goes on from.

    Attributes:
        folder: Made when it is first written to.
        identity: Of the configuration and the data: another training must not go on from here.
    """

    folder: Path
    identity: Mapping[str, Any]

    @classmethod
    def within(cls, folder: Path, identity: Mapping[str, Any]) -> Self:
        """In a folder of its own below ``folder``, where other trainings have theirs."""
        text = json.dumps(identity, sort_keys=True)
        return cls(folder / hashlib.sha256(text.encode()).hexdigest()[:16], identity)

    def save(self, progressed: Progressed) -> None:
        """Replace what was there, all at once: what is cut short leaves the epoch before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {
            "identity": self.identity,
            "epoch": progressed.epoch,
            "best": progressed.best,
            "steps": progressed.steps,
            "curve": asdict(progressed.curve),
        }
        unfinished = self.folder / f"{FILE}.{os.getpid()}"
        save_file(progressed.tensors, unfinished, metadata={"stellar": json.dumps(about)})
        unfinished.replace(self.folder / FILE)

    def load(self) -> Progressed | None:
        """What was saved last, None if nothing was.

        Raises:
            InputError: It is damaged, or of another configuration or other data.
        """
        path = self.folder / FILE
        if not path.is_file():
            return None
        mend = "remove it to begin anew, or name another folder"
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})["stellar"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
        except (SafetensorError, KeyError, ValueError) as error:
            raise InputError(str(path), "must be a checkpoint", str(error), mend) from None
        wanted = json.loads(json.dumps(self.identity))
        if about["identity"] != wanted:
            known = about["identity"]
            other = sorted(name for name in {**known, **wanted} if known.get(name) != wanted.get(name))
            raise InputError(str(path), f"must be of the same {', '.join(other)}", known.get(other[0]), mend)
        return Progressed(about["epoch"], about["best"], about["steps"], Curve(**about["curve"]), tensors)


__all__ = ["FILE", "Checkpoint", "Progressed"]
