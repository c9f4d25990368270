"""Training one model for use: fitted on all that is known, recorded, registered; ``compare`` says what it is worth."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.experiment import MAX_HORIZON_DAYS
from experiments.replay import replay
from experiments.standard import ARMS
from experiments.tracked import ARM_TAG, as_blend, log_curve, log_data
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import HORIZON_DAYS, iso, parse_instant
from features.schema import DAY_MS, Columns
from serving.policy import PolicyConfig
from training.bundle import save_bundle
from training.registry import register_bundle, set_alias
from training.tracking import run
from training.train import Notify, Trained, build_models, train

K = 20
EXPERIMENT = "training"


def train_one(
    dataset: Dataset,
    model: str,
    as_of: str | None,
    horizon_days: float | None,
    *,
    seed: int = 0,
    device: str = "auto",
    notify: Notify | None = None,
) -> dict[str, Any]:
    """Fit ``model`` with its default hyper-parameters as of an instant, the end of the data if none is named.

    The model is registered without a verdict, so that it becomes champion only by force or after a comparison.

    Raises:
        StellarError: The model is unknown or the data does not reach far enough back.
    """
    if horizon_days is not None and not 0 < horizon_days <= MAX_HORIZON_DAYS:
        raise ConfigError("horizon_days", f"must be above 0 and at most {MAX_HORIZON_DAYS:g}", horizon_days)
    specifications = _specifications(model, seed, device)
    with Engine.duckdb() as engine:
        as_of_ms = dataset.last_ms + 1 if as_of is None else parse_instant(as_of, dataset, engine)
        horizon_ms = round((horizon_days or HORIZON_DAYS) * DAY_MS)
        models = build_models(specifications)
        name = next(reversed(models))
        with run(EXPERIMENT, name, tags={ARM_TAG: name}, params=specifications[name]) as opened:
            trained = train(engine, dataset, models, as_of_ms, horizon_ms, notify)
            score = _validation(trained, name)
            log_data(opened, trained.snapshot, dataset)
            log_curve(opened, trained.curves.get(name))
            opened.log_metrics({f"validation_ndcg@{K}": score})
            opened.log_metrics({f"seconds_{stage}": spent for stage, spent in trained.seconds.items()})
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "bundle"
                blend = as_blend(name, trained.models[name], trained.snapshot)
                bundle = save_bundle(folder, blend, trained.snapshot, arm=name, policy=PolicyConfig().model_dump())
                users = [str(user_id) for user_id in trained.snapshot.users.ids[:3]]
                version = register_bundle(
                    opened,
                    folder,
                    digest=bundle.digest,
                    example_users=users,
                    tags={ARM_TAG: name, "as_of": iso(as_of_ms)},
                )
    set_alias("challenger", version)
    return {
        "model": name,
        "as_of": iso(as_of_ms),
        f"validation_ndcg@{K}": score,
        "n_validation": len(trained.validation),
        "version": version,
        "run_id": opened.id,
        "bundle_digest": bundle.digest,
        "snapshot_digest": trained.snapshot.digest,
        "seconds": trained.seconds,
    }


def _specifications(model: str, seed: int, device: str) -> dict[str, dict[str, Any]]:
    """The model alone; for a blend, its default parts and itself."""
    network = {"model": "transformer", "seed": seed, "device": device}
    if model == "blend":
        names = [*ARMS["blend"]["parts"], "blend"]
        return {name: network if name == "transformer" else ARMS[name] for name in names}
    return {model: network if model == "transformer" else {"model": model}}


def _validation(trained: Trained, name: str) -> float:
    """The model that made the decisions, on the label window that they were made on: optimistic by these decisions."""
    allowed = trained.early.item_matrix[Columns.AVAILABLE].to_numpy(dtype=bool)
    return float(np.mean(replay(trained.decided[name], trained.validation, K, allowed).metrics[f"ndcg@{K}"]))


__all__ = ["train_one"]
