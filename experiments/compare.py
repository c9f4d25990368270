"""An offline A/B experiment: arms fitted without looking ahead, asked the same questions, judged pairwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.combined import combined_lifts
from experiments.experiment import MAX_HORIZON_DAYS, Experiment
from experiments.intents import Foretold, foretold, judge_intents
from experiments.plots import lift_plot
from experiments.recommendation_file import read_recommendations, write_recommendations
from experiments.replay import Replay, measure, replay
from experiments.statistics import Lift, mean_interval, paired_bootstrap
from experiments.verdict import Verdict, judge
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, NotFoundError
from features.ids import Vocabulary
from features.instants import HORIZON_DAYS, default_as_of, iso, parse_instant
from features.schema import DAY_MS, Columns, Level
from features.split import Group, Labelled, Moment, ask
from serving.policy import PolicyConfig
from training.blend import Blend
from training.train import Notify, Trained, build_models, train

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Comparison:
    """A finished experiment.

    Attributes:
        report: Everything that is said about it, JSON-able; see README, Compare.
        trained: The fitted models.
        replays: By arm.
        lifts: Of the deciding group, by arm.
        asked: The questions of the label window.
        foretold: By target of intent, where its horizon ends with the data.
    """

    report: dict[str, Any]
    trained: Trained
    replays: dict[str, Replay]
    lifts: dict[str, Lift]
    asked: Labelled
    foretold: dict[str, Foretold] = field(default_factory=dict)

    def plot(self) -> Figure:
        """The lifts of the deciding group as a picture."""
        return lift_plot(
            self.lifts,
            metric=self.report["metric"],
            title=self.report["experiment"],
            control=self.report["control"],
            min_users=self.report["min_users"],
        )

    def export(self, folder: Path) -> None:
        """Write each arm's lists as ``<arm>.parquet``, as ``stellar evaluate`` reads them."""
        for name, answered in self.replays.items():
            users = [str(user_id) for user_id in self.asked.histories.user_ids]
            write_recommendations(folder / f"{name}.parquet", users, answered.ids, self.asked.vocabulary)


def check_horizon(horizon_days: float | None) -> None:
    """ConfigError if a label window cannot be that long."""
    if horizon_days is not None and not 0 < horizon_days <= MAX_HORIZON_DAYS:
        raise ConfigError("horizon_days", f"must be above 0 and at most {MAX_HORIZON_DAYS:g}", horizon_days)


def window(engine: Engine, dataset: Dataset, as_of: str | None, horizon_days: float | None) -> tuple[int, int]:
    """The label window ``[as_of, until)`` in epoch milliseconds, from what was asked for or the defaults."""
    check_horizon(horizon_days)
    if as_of is None:
        as_of_ms = default_as_of(dataset, horizon_days or HORIZON_DAYS)
    else:
        as_of_ms = parse_instant(as_of, dataset, engine)
    if as_of_ms > dataset.last_ms:
        rule, mend = "must leave a label window before the end of the data", f"use one before {iso(dataset.last_ms)}"
        raise ConfigError("as_of", rule, as_of, mend)
    if horizon_days is None and as_of is not None and as_of.endswith("%"):
        return as_of_ms, dataset.last_ms + 1
    until_ms = as_of_ms + round((horizon_days or HORIZON_DAYS) * DAY_MS)
    if until_ms > dataset.last_ms + DAY_MS:
        rule = f"must end with the data, on {iso(dataset.last_ms)}, at the latest"
        raise ConfigError("as_of + horizon_days", rule, iso(until_ms), "use an earlier as_of or a shorter horizon")
    return as_of_ms, until_ms


def compare(engine: Engine, dataset: Dataset, experiment: Experiment, notify: Notify | None = None) -> Comparison:
    """Run an experiment.

    The label window is read only after every arm is fitted.

    Raises:
        StellarError: The experiment does not fit the data, or a file of recommendations cannot be used.
    """
    as_of_ms, until_ms = window(engine, dataset, experiment.as_of, experiment.horizon_days)
    for path in experiment.files.values():
        if not path.is_file():
            raise NotFoundError(str(path), "must be a file of recommendations", mend="see README, Compare")
    policy = PolicyConfig.model_validate(experiment.policy)
    horizon_ms = until_ms - as_of_ms
    trained = train(
        engine,
        dataset,
        build_models(experiment.models),
        as_of_ms,
        horizon_ms,
        notify,
        live_fresh_s=policy.live_fresh_s,
        segments=experiment.segments,
        intents=experiment.intents,
        predictors=experiment.predictors,
        session_intents=experiment.session_intents,
        values=experiment.values,
    )
    seconds = dict(trained.seconds)
    started = time.perf_counter()
    asked = ask(engine, dataset, trained.snapshot, until_ms, experiment.replay)
    replays, unlisted = _replays(experiment, trained, asked, policy)
    seconds["replay"] = time.perf_counter() - started
    started = time.perf_counter()
    members = {group.value: asked.groups == group.value for group in Group}
    # Between sessions nothing is live: what reads live events only has no chance to be right, and is not judged.
    idle = frozenset() if experiment.replay is Moment.LIVE else _live_arms(trained)
    combining = [name for name, model in trained.models.items() if isinstance(model, Blend)]
    singles = [name for name in trained.models if name not in combining and name not in idle]
    lifts = {name: _lifts(experiment, replays, rows, idle) for name, rows in members.items()}
    groups = {name: _group(experiment, replays, rows, lifts[name]) for name, rows in members.items()}
    judged = groups[experiment.group.value]
    known, intents = _intents(engine, dataset, experiment, trained)
    seconds["statistics"] = time.perf_counter() - started
    report = {
        "experiment": experiment.name,
        "data": {"source": dataset.info["source"], "digest": dataset.digest},
        "snapshot_digest": trained.snapshot.digest,
        "as_of": iso(as_of_ms),
        "until": iso(until_ms),
        "horizon_days": horizon_ms / DAY_MS,
        "replay": experiment.replay.value,
        "metric": f"{experiment.metric}@{experiment.k}",
        "control": experiment.control,
        "group": experiment.group.value,
        "min_users": experiment.min_users,
        "n_users": judged["n_users"],
        "l4": _l4(dataset, experiment),
        "arms": {
            name: {
                **judged["arms"].get(name, {}),
                f"coverage@{experiment.k}": answered.coverage,
                "levels": answered.levels,
                "promotable": name in experiment.models,
                **({"users_without_a_list": unlisted[name]} if name in unlisted else {}),
            }
            for name, answered in replays.items()
        },
        "combined": combined_lifts(experiment, replays, members, combining, singles),
        "groups": {name: group for name, group in groups.items() if name != experiment.group.value},
        "intents": intents,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }
    return Comparison(report, trained, replays, lifts[experiment.group.value], asked, known)


def _intents(
    engine: Engine, dataset: Dataset, experiment: Experiment, trained: Trained
) -> tuple[dict[str, Foretold], dict[str, Any]]:
    if trained.contest is None:
        return {}, {}
    users = trained.snapshot.user_matrix
    known, unknown = foretold(engine, dataset, trained.contest, users)
    return known, judge_intents(known, unknown, trained.contest, users, dataset.attributes, experiment)


def _replays(
    experiment: Experiment, trained: Trained, asked: Labelled, policy: PolicyConfig
) -> tuple[dict[str, Replay], dict[str, int]]:
    """The answers of every arm, and of files how many users have no list in them."""
    allowed = trained.snapshot.item_matrix[Columns.AVAILABLE].to_numpy(dtype=bool)
    replays: dict[str, Replay] = {}
    unlisted: dict[str, int] = {}
    for name in experiment.arms:
        if name in trained.models:
            replays[name] = replay(
                trained.models[name], asked, experiment.k, allowed, frozenset(policy.off), policy.live_fresh_s
            )
        else:
            users = Vocabulary(asked.histories.user_ids)
            ids, unlisted[name] = read_recommendations(experiment.files[name], users, asked.vocabulary, experiment.k)
            replays[name] = measure(ids, asked, experiment.k, len(trained.snapshot.items))
    return replays, unlisted


def _l4(dataset: Dataset, experiment: Experiment) -> str:
    if not dataset.order_within_session:
        return "not_measurable: the data carries no order inside a visit"
    return "measured" if experiment.replay is Moment.LIVE else "not asked: users are asked between sessions"


def _live_arms(trained: Trained) -> frozenset[str]:
    return frozenset(name for name, model in trained.models.items() if model.level is Level.LIVE)


def _lifts(
    experiment: Experiment, replays: Mapping[str, Replay], members: np.ndarray, idle: frozenset[str]
) -> dict[str, Lift]:
    """The lift of every arm over the control; none of idle arms, or where there are too few users for an interval."""
    if members.sum() < 2:
        return {}
    metric = f"{experiment.metric}@{experiment.k}"
    values = {name: answered.metrics[metric][members] for name, answered in replays.items()}
    control = values.pop(experiment.control)
    values = {name: per_user for name, per_user in values.items() if name not in idle}
    if not values:
        return {}
    return paired_bootstrap(
        control, values, resamples=experiment.resamples, confidence=experiment.confidence, seed=experiment.seed
    )


def _group(
    experiment: Experiment, replays: Mapping[str, Replay], members: np.ndarray, lifts: Mapping[str, Lift]
) -> dict[str, Any]:
    """Intervals of every metric, and the lift and verdict of every arm, for one group of users."""
    n_users = int(members.sum())
    summary: dict[str, Any] = {"n_users": n_users, "judged": n_users >= experiment.min_users, "arms": {}}
    if n_users == 0:
        return summary
    for name, answered in replays.items():
        arm: dict[str, Any] = {}
        for each, per_user in answered.metrics.items():
            interval = mean_interval(
                per_user[members],
                resamples=experiment.resamples,
                confidence=experiment.confidence,
                seed=experiment.seed,
            )
            arm[each] = interval.as_json()
        if name in lifts:
            lift = lifts[name]
            judgement = judge(lift, min_users=experiment.min_users)
            arm["lift"] = lift.as_json()
            arm |= {"verdict": judgement.verdict.value, "judged": judgement.judged, "reason": judgement.reason}
        elif name != experiment.control:
            reason = "not_measurable: it reads live events only, or there are too few users for an interval"
            arm |= {"verdict": Verdict.CANNOT_TELL.value, "judged": False, "reason": reason}
        summary["arms"][name] = arm
    return summary


__all__ = ["Comparison", "check_horizon", "compare", "window"]
