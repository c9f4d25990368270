"""Runs read back from MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from features.errors import NotFoundError
from training.tracking import PARENT_TAG, client, mlflow, own_name


@dataclass(frozen=True, slots=True)
class Record:
    """A run as it was recorded.

    Attributes:
        status: RUNNING, FINISHED, FAILED or KILLED.
        metrics: The last value of each metric, by our names.
        datasets: The whole digest of each data set that was read, by the data set's name.
    """

    id: str
    name: str
    status: str
    parent_id: str | None
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    datasets: dict[str, str]


def find_runs(
    experiment: str, *, parent: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 1000
) -> list[Record]:
    """The newest ``limit`` runs of an experiment, newest first; of these a run's children or those with given tags."""
    known = client().get_experiment_by_name(experiment)
    if known is None:
        raise NotFoundError("experiment", "must exist", experiment, "look at the names in `stellar ui`")
    wanted = {**(tags or {}), **({PARENT_TAG: parent} if parent else {})}
    found = client().search_runs([known.experiment_id], order_by=["attributes.start_time DESC"], max_results=limit)
    # Compared here rather than in MLflow's filter language, which has no way to quote a quote.
    return [_record(each) for each in found if all(each.data.tags.get(key) == value for key, value in wanted.items())]


def read_run(run_id: str) -> Record:
    """The run of that id."""
    store, refused = client(), mlflow().exceptions.MlflowException
    try:
        return _record(store.get_run(run_id))
    except refused:
        raise NotFoundError("run", "must exist in the MLflow store", run_id, "copy its id from `stellar ui`") from None


def run_tags(run_id: str) -> dict[str, str]:
    """The tags of a run, its verdict among them."""
    return read_run(run_id).tags


def _record(found: Any) -> Record:
    inputs = found.inputs.dataset_inputs if found.inputs else []
    return Record(
        id=found.info.run_id,
        name=found.info.run_name,
        status=found.info.status,
        parent_id=found.data.tags.get(PARENT_TAG),
        params={own_name(key): value for key, value in found.data.params.items()},
        metrics={own_name(key): value for key, value in found.data.metrics.items()},
        tags=dict(found.data.tags),
        datasets={each.dataset.name: json.loads(each.dataset.profile)["digest"] for each in inputs},
    )


__all__ = ["Record", "find_runs", "read_run", "run_tags"]
