"""The standard experiment: what each level of personalisation reaches alone, and what all reach together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, make_experiment
from features.dataset import Dataset
from training.intent.targets import TARGETS
from training.session.outcomes import SESSION_TARGETS

_PARTS = ["bestsellers", "history", "recent", "cooccurrence", "linear", "transformer", "live"]

#: Every level alone, popularity to compare with, the blend of all, and the ranker over the same parts.
ARMS: dict[str, dict[str, Any]] = {
    "popular_all_time": {"model": "bestsellers", "by": [], "half_life_days": None},
    "popular_30d": {"model": "bestsellers", "by": [], "half_life_days": None, "window_days": 30},
    "bestsellers": {"model": "bestsellers"},
    "history": {"model": "history"},
    "recent": {"model": "history", "half_life_days": 14},
    "cooccurrence": {"model": "cooccurrence"},
    "linear": {"model": "linear"},
    "transformer": {"model": "transformer"},
    "live": {"model": "live"},
    "blend": {"model": "blend", "parts": _PARTS},
    "ranker": {"model": "ranker", "parts": _PARTS},
}
CONTROL = "popular_30d"

#: How each source is split; others by the last midnight that leaves the horizon.
SPLITS: dict[str, dict[str, Any]] = {
    "online_retail": {"as_of": "2011-11-09", "horizon_days": 30},
    "retailrocket": {"as_of": "80%"},
    "movielens_1m": {"as_of": "80%", "horizon_days": 30},
}

SIMULATED_HORIZON_DAYS = 14

#: What customers of each source are worth is predicted over; none where the log is too short or nothing has a price.
VALUES: dict[str | None, list[dict[str, Any]]] = {
    None: [{"name": "value_30d", "horizon_days": 30}],
    "online_retail": [{"name": "value_90d", "horizon_days": 90}],
}
#: Of fewer events, hardly anybody orders twice.
VALUE_EVENTS = 25_000


def standard_experiment(
    name: str, dataset: Path, source: str | None, *, seed: int, control: str = CONTROL
) -> Experiment:
    """The arms over a data set, split as suits its source; None is the simulated shop."""
    arms = {arm: dict(settings) for arm, settings in ARMS.items()}
    arms["transformer"]["seed"] = seed
    split = SPLITS.get(source, {}) if source else {"horizon_days": SIMULATED_HORIZON_DAYS}
    intents: dict[str, Any] = {"intents": [target.model_dump(mode="json") for target in TARGETS]}
    opened = Dataset.open(dataset)
    if opened.order_within_session:
        intents["session_intents"] = [target.model_dump(mode="json") for target in SESSION_TARGETS]
    if opened.info["tables"]["events"]["accepted"] >= VALUE_EVENTS:
        intents["values"] = VALUES.get(source, [])
    return make_experiment(name=name, data=dataset, control=control, arms=arms, seed=seed, **intents, **split)


__all__ = ["ARMS", "CONTROL", "SIMULATED_HORIZON_DAYS", "VALUES", "standard_experiment"]
