"""The data card of a data set: all that it says, as JSON-able content from which the page is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from features.card.drift import drift, instants
from features.card.evidence import evidence
from features.card.figures import figures
from features.card.tables import Tables
from features.card.verdicts import verdicts
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.instants import iso
from features.snapshot import build_snapshot

#: Version of the JSON content.
FORMAT = 1

#: Told the name of a stage, how many are done and how many there are.
Progress = Callable[[str, int, int], None]


def data_card(
    engine: Engine, dataset: Dataset, as_of_ms: int | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """The figures of ``features.card.figures``, ``evidence``, ``learnable`` (verdicts) and ``drift``.

    Every float is finite, so that it is JSON for any reader. The same data set gives the same card.

    Args:
        as_of_ms: Only what could be read at this instant is counted; everything if absent.
        progress: Told about each stage.

    Raises:
        ConfigError: No event is before ``as_of_ms``.
    """
    stages = ("count", "judge", "build first window", "build second window", "compare windows")

    def stage(number: int) -> None:
        if progress is not None:
            progress(stages[min(number, len(stages) - 1)], number, len(stages))

    tables = Tables.of(engine, dataset, as_of_ms)
    end_ms = dataset.last_ms + 1 if as_of_ms is None else as_of_ms
    stage(0)
    counted = figures(engine, dataset, tables)
    stage(1)
    found = evidence(engine, dataset, tables, end_ms)
    moved = _drift(engine, dataset, end_ms, stage)
    stage(len(stages))
    return {
        "format": FORMAT,
        "name": dataset.folder.name,
        "description": dataset.info["description"],
        "policies": dict(dataset.info["policies"]),
        "as_of": None if as_of_ms is None else iso(as_of_ms),
        "as_of_ms": as_of_ms,
        **counted,
        "evidence": found,
        "learnable": verdicts(found),
        "drift": moved,
    }


def _drift(engine: Engine, dataset: Dataset, end_ms: int, stage: Callable[[int], None]) -> dict[str, Any]:
    """What ``drift`` says, or ``{"unknown": why}`` where there are no two windows."""
    window = instants(dataset.first_ms, end_ms)
    if window is None:
        return {"unknown": "all events are of one instant"}
    matrices = []
    for number, instant_ms in enumerate(window, 2):
        stage(number)
        try:
            # Only the matrix is kept: two whole snapshots would need twice the memory.
            matrices.append(build_snapshot(engine, dataset, instant_ms).user_matrix)
        except InputError as error:
            return {"unknown": str(error)}
    stage(4)
    return drift(matrices[0], matrices[1], *window)


__all__ = ["FORMAT", "Progress", "data_card"]
