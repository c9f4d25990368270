"""What an arm that combines models gains over the best of the arms that do not, per group of users."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.experiment import Experiment
from experiments.replay import Replay
from experiments.statistics import Lift, paired_bootstrap

#: All users together, beside the groups.
ALL = "all"


def combined_lifts(
    experiment: Experiment,
    replays: Mapping[str, Replay],
    groups: Mapping[str, NDArray[np.bool_]],
    combining: Collection[str],
    singles: Collection[str],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Per combining arm and group: ``n_users``, ``best_single`` and the paired lift over it.

    The best single arm is the best one on the very users of the group, which favours it; intervals are simultaneous
    over the combining arms.

    Args:
        groups: Name to (n,) membership of the users asked.
    """
    if not combining or not singles:
        return {}
    metric = f"{experiment.metric}@{experiment.k}"
    everyone = np.ones(len(next(iter(groups.values()))), dtype=bool)
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in combining}
    for group, members in ((ALL, everyone), *groups.items()):
        if members.sum() < 2:
            continue
        values = {name: replays[name].metrics[metric][members] for name in (*singles, *combining)}
        best = max(singles, key=lambda name: values[name].mean())
        lifts = paired_bootstrap(
            values[best],
            {name: values[name] for name in combining},
            resamples=experiment.resamples,
            confidence=experiment.confidence,
            seed=experiment.seed,
        )
        for name, lift in lifts.items():
            found[name][group] = {"n_users": lift.n_users, "best_single": best, **_of(lift)}
    return found


def _of(lift: Lift) -> dict[str, float | None]:
    return {**lift.as_json(), "relative_low": lift.relative_low, "relative_high": lift.relative_high}


__all__ = ["ALL", "combined_lifts"]
