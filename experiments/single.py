"""Training one model for use: fitted on all that is known, recorded, registered; ``compare`` says what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare import check_horizon
from experiments.replay import replay
from experiments.standard import ARMS
from experiments.tracked import ARM_TAG, log_curve, log_data, register_arm
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import HORIZON_DAYS, iso, parse_instant
from features.schema import DAY_MS, Columns
from serving.policy import PolicyConfig
from training.fit_processes import own_number
from training.recommender import model_class
from training.registry import set_alias
from training.tracking import run
from training.train import Notify, Trained, build_models, train
from training.transformer import SequenceTransformer

K = 20
EXPERIMENT = "training"


def train_one(
    dataset: Dataset,
    model: str,
    as_of: str | None,
    horizon_days: float | None,
    *,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    checkpoints: Path | None = None,
    notify: Notify | None = None,
) -> dict[str, Any] | None:
    """Fit ``model`` as of an instant, the end of the data if none is named.

    The model is registered without a verdict, so that it becomes champion only by force or after a comparison. Under
    ``torchrun`` all processes train, and the first one records and registers; the others return None.

    Args:
        config: Hyper-parameters that differ from the defaults.
        checkpoints: Where a training that is killed leaves what the same one goes on from.

    Raises:
        StellarError: The model is unknown or the data does not reach far enough back.
    """
    check_horizon(horizon_days)
    specifications = _specifications(model, seed, device)
    _check_used(specifications, model, device, checkpoints)
    specifications[model] = {**specifications[model], **(config or {})}
    with Engine.duckdb() as engine:
        as_of_ms = dataset.last_ms + 1 if as_of is None else parse_instant(as_of, dataset, engine)
        horizon_ms = round((horizon_days or HORIZON_DAYS) * DAY_MS)
        models = build_models(specifications)
        name = next(reversed(models))
        for fitted in models.values():
            if isinstance(fitted, SequenceTransformer):
                fitted.checkpoints = checkpoints
        if own_number() > 0:
            train(engine, dataset, models, as_of_ms, horizon_ms)
            return None
        with run(EXPERIMENT, name, tags={ARM_TAG: name}, params=specifications[name]) as opened:
            trained = train(engine, dataset, models, as_of_ms, horizon_ms, notify)
            score = _validation(trained, name)
            log_data(opened, trained.snapshot, dataset)
            log_curve(opened, trained.curves.get(name))
            opened.log_metrics({f"validation_ndcg@{K}": score})
            opened.log_metrics({f"seconds_{stage}": spent for stage, spent in trained.seconds.items()})
            policy = PolicyConfig().model_dump()
            version, digest = register_arm(
                opened, name, trained.models[name], trained.snapshot, policy, {ARM_TAG: name}
            )
    set_alias("challenger", version)
    return {
        "model": name,
        "as_of": iso(as_of_ms),
        f"validation_ndcg@{K}": score,
        "n_validation": len(trained.validation),
        "version": version,
        "run_id": opened.id,
        "bundle_digest": digest,
        "snapshot_digest": trained.snapshot.digest,
        "seconds": trained.seconds,
    }


def _specifications(model: str, seed: int, device: str) -> dict[str, dict[str, Any]]:
    """The model alone; of one that combines others, also the parts that it has in the standard experiment."""
    network = {"model": "transformer", "seed": seed, "device": device}
    if "parts" in ARMS.get(model, {}):
        names = [*ARMS[model]["parts"], model]
        return {name: network if name == "transformer" else ARMS[name] for name in names}
    return {model: network if model == "transformer" else {"model": model}}


def _check_used(
    specifications: Mapping[str, Mapping[str, Any]], model: str, device: str, checkpoints: Path | None
) -> None:
    """Refuse what would be ignored."""
    kinds = [model_class(arm["model"]) for arm in specifications.values()]
    if device not in ("auto", "cpu") and not any("device" in kind.Config.model_fields for kind in kinds):
        raise ConfigError("--device", f"must be auto or cpu: {model} runs nowhere else", device, "leave it out")
    if checkpoints is not None and not any(issubclass(kind, SequenceTransformer) for kind in kinds):
        mend = "leave it out, or train the transformer"
        raise ConfigError(
            "--checkpoints", f"must be left out: {model} does not train in epochs", str(checkpoints), mend
        )


def _validation(trained: Trained, name: str) -> float:
    """The model that made the decisions, on the label window that they were made on: optimistic by these decisions."""
    allowed = trained.early.item_matrix[Columns.AVAILABLE].to_numpy(dtype=bool)
    return float(np.mean(replay(trained.decided[name], trained.validation, K, allowed).metrics[f"ndcg@{K}"]))


__all__ = ["train_one"]
