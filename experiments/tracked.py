"""A comparison in MLflow: one parent run with the verdicts, a nested run per arm, bundles in the registry."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.compare import Comparison
from experiments.experiment import Experiment
from experiments.plots import save_plot
from experiments.reliability_plot import reliability_plot
from experiments.verdict import Verdict
from features.dataset import Dataset
from features.instants import iso
from features.snapshot import Snapshot
from serving.policy import PolicyConfig
from training.blend import Blend
from training.bundle import save_bundle
from training.intent.heads import UserIntent
from training.intent.values import CustomerValues
from training.recommender import Curve, Recommender
from training.registry import register_bundle, set_alias
from training.session.intent import SessionIntent
from training.tracking import Run, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICT_TAG = "verdict"
ARM_TAG = "arm"

#: What MLflow does not take in the name of a metric.
_SPECIAL = re.compile(r"[^\w. :/-]")


def track(
    comparison: Comparison, dataset: Dataset, experiment: Experiment, notify: Callable[[str], None] = lambda step: None
) -> dict[str, Any]:
    """Record a comparison and register the bundles of its ``experiment.registered`` arms.

    Every run carries the parameters, the data set's and the snapshot's digest, learning curves, metrics with
    intervals and the verdict as the tag ``verdict``. The alias ``challenger`` points at the registered arm with the
    best metric.

    Returns:
        ``run_id`` of the parent and ``versions``: arm to registered version.
    """
    report = comparison.report
    policy = PolicyConfig.model_validate(experiment.policy).checked().model_dump(mode="json")
    settings = experiment.model_dump(mode="json", by_alias=True, exclude={"data", "arms", "name"})
    versions: dict[str, int] = {}
    with run(experiment.name, "comparison", params=settings, tags={"control": experiment.control}) as parent:
        log_data(parent, comparison.trained.snapshot, dataset)
        for name in experiment.arms:
            notify(name)
            arm = report["arms"][name]
            tags = {ARM_TAG: name, VERDICT_TAG: _verdict(experiment, name, arm)}
            with run(
                experiment.name, name, parent_id=parent.id, tags=tags, params=_parameters(comparison, experiment, name)
            ) as nested:
                log_data(nested, comparison.trained.snapshot, dataset)
                _log_arm(nested, comparison, name)
                if name in experiment.registered:
                    model = comparison.trained.models[name]
                    snapshot = comparison.trained.snapshot
                    contest = comparison.trained.contest
                    heads = (None if contest is None else contest.won, comparison.trained.session)
                    worth = comparison.trained.values
                    versions[name], _ = register_arm(nested, name, model, snapshot, policy, tags, *heads, values=worth)
        _log_verdicts(parent, comparison, experiment)
    if versions:
        # Without users of the deciding group there is no metric, and any arm is as good as the other.
        best = max(versions, key=lambda name: report["arms"][name].get(report["metric"], {}).get("mean", 0.0))
        set_alias("challenger", versions[best])
    return {"run_id": parent.id, "versions": versions}


def _verdict(experiment: Experiment, name: str, arm: dict[str, Any]) -> str:
    return "control" if name == experiment.control else str(arm.get("verdict", Verdict.CANNOT_TELL.value))


def _parameters(comparison: Comparison, experiment: Experiment, name: str) -> dict[str, Any]:
    """Every hyper-parameter of a model, defaults included; where an arm made elsewhere came from."""
    model = comparison.trained.models.get(name)
    settings = experiment.arms[name] if model is None else {"model": model.name, **model.config.model_dump()}
    return {key: str(value) for key, value in settings.items()}


def log_data(opened: Run, snapshot: Snapshot, dataset: Dataset) -> None:
    """Record the data set and the snapshot as the run's inputs, with their digests."""
    source = str(dataset.info["source"])
    counts = {"users": len(snapshot.users), "items": len(snapshot.items), "events": len(snapshot.sequences.items)}
    opened.log_dataset(source, dataset.digest, f"data set from {source}", counts, "all")
    described = f"snapshot as of {iso(snapshot.as_of_ms)}"
    opened.log_dataset(f"{source} snapshot", snapshot.digest, described, counts, "training")


def log_curve(opened: Run, curve: Curve | None) -> None:
    """Record loss, validation metric and seconds of each epoch, if the model learned in epochs."""
    if curve is None:
        return
    for epoch, (loss, spent) in enumerate(zip(curve.loss, curve.seconds, strict=True), start=1):
        opened.log_metrics({"loss": loss, "epoch_seconds": spent}, step=epoch)
    for epoch, score in enumerate(curve.validation, start=1):
        opened.log_metrics({"validation_ndcg@20": score}, step=epoch)
    opened.log_metrics({"best_epoch": curve.best_epoch})


def _log_arm(opened: Run, comparison: Comparison, name: str) -> None:
    log_curve(opened, comparison.trained.curves.get(name))
    opened.log_metrics(_flat(comparison.report["arms"][name]))
    opened.log_dict(comparison.report["arms"][name], "arm.json")


def _flat(arm: dict[str, Any]) -> dict[str, float]:
    metrics: dict[str, float | None] = {}
    for key, value in arm.items():
        if isinstance(value, dict) and "mean" in value:
            metrics |= {key: value["mean"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
        elif key == "lift":
            metrics |= {f"lift_{end}": value[end] for end in ("difference", "low", "high")}
        elif isinstance(value, float):
            metrics[key] = value
    return {name: value for name, value in metrics.items() if value is not None}


def register_arm(
    opened: Run,
    name: str,
    model: Recommender,
    snapshot: Snapshot,
    policy: Mapping[str, Any],
    tags: Mapping[str, str],
    intent: UserIntent | None = None,
    session: SessionIntent | None = None,
    *,
    values: CustomerValues | None = None,
) -> tuple[int, str]:
    """Make a bundle of a fitted model and register it; returns the version's number and the bundle's digest."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        blend = as_blend(name, model, snapshot)
        learned: dict[str, Any] = {"intent": intent, "session": session, "values": values}
        bundle = save_bundle(folder, blend, snapshot, arm=name, policy=policy, **learned)
        users = [str(user_id) for user_id in snapshot.users.ids[:3]]
        all_tags = {**tags, "as_of": iso(snapshot.as_of_ms)}
        version = register_bundle(opened, folder, digest=bundle.digest, example_users=users, tags=all_tags)
    return version, bundle.digest


def as_blend(name: str, model: Recommender, snapshot: Snapshot) -> Blend:
    """The model as what a policy ranks with: a single model is a blend of one, which ranks as the model does."""
    return model if isinstance(model, Blend) else Blend.of_one(name, model, snapshot)


def _log_verdicts(parent: Run, comparison: Comparison, experiment: Experiment) -> None:
    report = comparison.report
    shipped = [name for name, arm in report["arms"].items() if arm.get("verdict") == Verdict.SHIP]
    parent.tag({f"verdict.{name}": arm["verdict"] for name, arm in report["arms"].items() if "verdict" in arm})
    parent.tag({"ships": ", ".join(shipped) or "none", "n_users": report["n_users"]})
    parent.log_metrics({f"seconds_{stage}": spent for stage, spent in report["seconds"].items()})
    parent.log_metrics(_of_intents(report["intents"]))
    parent.tag({f"intent.{name}": each["chosen"] for name, each in report["intents"].items() if "chosen" in each})
    parent.log_dict(report, "report.json")
    if comparison.lifts:
        _log_plot(parent, comparison.plot(), "lifts")
    if comparison.foretold:
        _log_plot(parent, reliability_plot(comparison.foretold), "reliability")


def _of_intents(intents: dict[str, Any]) -> dict[str, float]:
    """Figures of every predictor, and Brier score and calibration error of the chosen one in every segment."""
    metrics: dict[str, float] = {}
    for target, told in intents.items():
        for predictor, found in told.get("predictors", {}).items():
            values = {name: value for name, value in found.items() if isinstance(value, float)}
            metrics |= {f"intent/{target}/{predictor}/{name}": value for name, value in values.items()}
        for segment, found in told.get("segments", {}).items():
            within = f"intent/{target}/{_SPECIAL.sub('_', segment)}"
            metrics |= {f"{within}/{name}": found[name] for name in ("brier", "ece")}
    return metrics


def _log_plot(parent: Run, figure: Figure, name: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{name}.{ending}" for ending in ("png", "svg")]
        save_plot(figure, paths)
        for path in paths:
            parent.log_artifact(path)


__all__ = ["ARM_TAG", "VERDICT_TAG", "as_blend", "log_curve", "log_data", "register_arm", "track"]
