"""Scoring a file of recommendations on the users and labels that the arms of an experiment are scored on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.compare import window
from experiments.recommendation_file import read_recommendations
from experiments.replay import measure
from experiments.statistics import mean_interval
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.ids import Vocabulary
from features.instants import iso
from features.snapshot import build_snapshot
from features.split import Group, Moment, ask


def evaluate(
    dataset: Dataset, path: Path, as_of: str | None, horizon_days: float | None, k: int, replay: str, seed: int = 0
) -> dict[str, Any]:
    """Metrics with 95 % intervals per group of users.

    Raises:
        StellarError: The file cannot be used, or nobody bought anything in the label window.
    """
    if replay not in list(Moment):
        raise ConfigError("replay", f"must be one of {', '.join(Moment)}", replay)
    with Engine.duckdb() as engine:
        as_of_ms, until_ms = window(engine, dataset, as_of, horizon_days)
        snapshot = build_snapshot(engine, dataset, as_of_ms)
        asked = ask(engine, dataset, snapshot, until_ms, Moment(replay))
    ids, unlisted = read_recommendations(path, Vocabulary(asked.histories.user_ids), asked.vocabulary, k)
    answered = measure(ids, asked, k, len(snapshot.items))
    groups: dict[str, Any] = {}
    for group in Group:
        members = asked.groups == group.value
        if members.any():
            intervals = {name: mean_interval(values[members], seed=seed) for name, values in answered.metrics.items()}
            groups[group.value] = {
                "n_users": int(members.sum()),
                "metrics": {name: interval.as_json() for name, interval in intervals.items()},
            }
    return {
        "as_of": iso(as_of_ms),
        "until": iso(until_ms),
        "snapshot_digest": snapshot.digest,
        f"coverage@{k}": answered.coverage,
        "users_without_a_list": unlisted,
        "groups": groups,
    }


__all__ = ["evaluate"]
