"""What combining arms gain over the best single one, against planted values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.combined import ALL, combined_lifts
from experiments.experiment import Experiment, make_experiment
from experiments.replay import Replay
from experiments.statistics import paired_bootstrap

N = 400
RNG = np.random.default_rng(0)
GROUPS = {"hot": np.arange(N) < 300, "cold": np.arange(N) >= 300}


def experiment() -> Experiment:
    arms = {name: {"model": "bestsellers"} for name in ("a", "b")}
    return make_experiment(name="x", data=Path("shop"), control="a", arms=arms)


def answered(values: np.ndarray) -> Replay:
    return Replay(np.zeros((N, 20), np.int32), {"ndcg@20": values}, 0.0)


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    noise = RNG.random(N)
    # "a" is better for hot users and for all together, "b" for the cold ones.
    a, b = np.where(GROUPS["hot"], 0.6, 0.1) + 0.01 * noise, np.where(GROUPS["hot"], 0.2, 0.4) + 0.01 * noise
    return {"a": a, "b": b, "blend": 1.1 * a, "ranker": np.maximum(a, b)}


def test_the_best_single_arm_is_that_of_the_group_and_lifts_are_paired(values: dict[str, np.ndarray]) -> None:
    replays = {name: answered(each) for name, each in values.items()}
    found = combined_lifts(experiment(), replays, GROUPS, ["blend", "ranker"], ["a", "b"])
    assert list(found) == ["blend", "ranker"] and all(list(groups) == [ALL, *GROUPS] for groups in found.values())
    assert [found["blend"][group]["best_single"] for group in (ALL, "hot", "cold")] == ["a", "a", "b"]
    assert [found["blend"][group]["n_users"] for group in (ALL, "hot", "cold")] == [400, 300, 100]
    hot = found["blend"]["hot"]
    assert hot["relative"] == pytest.approx(0.1)
    assert hot["relative_low"] <= 0.1 + 1e-9 and hot["relative_high"] >= 0.1 - 1e-9 and hot["relative_low"] > 0.09
    assert found["ranker"]["hot"]["difference"] == 0.0 and found["ranker"]["cold"]["difference"] == 0.0
    assert found["blend"]["cold"]["relative_high"] < 0
    mine = paired_bootstrap(values["a"], {name: values[name] for name in ("blend", "ranker")}, seed=experiment().seed)
    assert found["ranker"][ALL]["relative_low"] == mine["ranker"].relative_low
    assert found["ranker"][ALL]["low"] == mine["ranker"].low > 0


def test_without_arms_to_hold_together_there_is_nothing_to_say(values: dict[str, np.ndarray]) -> None:
    replays = {name: answered(each) for name, each in values.items()}
    assert combined_lifts(experiment(), replays, GROUPS, [], ["a"]) == {}
    assert combined_lifts(experiment(), replays, GROUPS, ["blend"], []) == {}
    nobody = combined_lifts(experiment(), replays, {"cold": np.zeros(N, bool)}, ["blend"], ["a"])
    assert list(nobody["blend"]) == [ALL]
