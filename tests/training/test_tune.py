"""The search for hyper-parameters: what it tries, how it goes on, what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import optuna
import psutil
import pytest

import training.tune
import training.zoo  # registers the models
from features.dataset import Dataset
from features.errors import ConfigError, InputError
from features.schema import DAY_MS
from training.blend import Blend
from training.recommender import Recommender, model_class, models
from training.search_space import Between
from training.tracking import PARENT_TAG, client
from training.tune import METRIC, Task, _database, suggest, tune


def silent(stage: str, done: int, of: int, metrics: dict[str, float]) -> None:
    pass


@pytest.fixture
def task(store: Path, shop_data: Dataset) -> Task:
    """The personal history, whose trials take no time, on the small shop."""
    return Task(shop_data.folder, "history", shop_data.last_ms, 20 * DAY_MS, f"sqlite:///{store / 'tuning.db'}")


@pytest.mark.parametrize("name", sorted(name for name, model in models().items() if model.space))
def test_models_accept_their_whole_space_and_start_inside_it(name: str) -> None:
    model, defaults = model_class(name), model_class(name)().config.model_dump()
    for parameter, choice in model.space.items():
        for value in choice.ends:
            assert getattr(model(**{parameter: value}).config, parameter) == value
        own = defaults[parameter]
        assert choice.low <= own <= choice.high if isinstance(choice, Between) else own in choice.values


def test_every_model_that_stands_alone_can_be_tuned() -> None:
    combining = {name for name, model in models().items() if issubclass(model, Blend)}
    assert {name for name, model in models().items() if not model.space} == combining


def test_values_are_drawn_from_the_space() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = model_class("cooccurrence").space
    drawn = [suggest(study.ask(), space) for _ in range(50)]
    assert all(isinstance(one["neighbours"], int) and 20 <= one["neighbours"] <= 1_000 for one in drawn)
    assert all(isinstance(one["shrinkage"], float) and 0.3 <= one["shrinkage"] <= 100 for one in drawn)
    # Drawn by its logarithm: the middle of the draws is near the geometric mean, 5.5, not the arithmetic, 50.
    assert 2 < sorted(one["shrinkage"] for one in drawn)[25] < 15


def test_the_first_trial_is_the_default_and_the_best_is_no_worse(task: Task) -> None:
    tuned = tune(task, trials=4, notify=silent)
    assert tuned.default_score is not None and tuned.score >= tuned.default_score
    assert tuned.trials == {"complete": 4}
    model_class("history")(**{key: value for key, value in tuned.specification.items() if key != "model"})


def test_a_search_goes_on_and_every_trial_is_a_run_below_the_same_parent(task: Task) -> None:
    told: list[tuple[int, int]] = []
    first = tune(task, trials=2, notify=silent)
    second = tune(task, trials=4, notify=lambda stage, done, of, metrics: told.append((done, of)))
    assert (first.run_id, first.study) == (second.run_id, second.study)
    assert told == [(3, 4), (4, 4)]
    again = tune(task, trials=4, notify=lambda *_: pytest.fail("there was nothing left to try"))
    assert again.score == second.score >= first.score
    parent = client().get_run(second.run_id)
    runs = client().search_runs([parent.info.experiment_id], filter_string=f"tags.`{PARENT_TAG}` = '{second.run_id}'")
    assert len(runs) == 4 and all(run.info.status == "FINISHED" for run in runs)
    scores = [run.data.metrics[METRIC.replace("@", "_at_")] for run in runs]
    assert max(scores) == second.score == parent.data.metrics[METRIC.replace("@", "_at_")]
    files = {file.path for file in client().list_artifacts(second.run_id)}
    assert {"best.yaml", "history.png", "importances.png"} <= files


def test_two_processes_share_a_study(task: Task) -> None:
    tuned = tune(task, trials=6, workers=2, notify=silent)
    assert 6 <= tuned.trials["complete"] <= 7  # the other may be in the middle of one when the last is done


@contextmanager
def begun(task: Task, trials: int, workers: int) -> Iterator[subprocess.Popen[str]]:
    """A search in a process of its own, which prints after every trial how many are finished; killed in the end."""
    code = (
        "from training.tune import Task, tune; from pathlib import Path\n"
        f"tune(Task(Path({str(task.folder)!r}), 'history', {task.as_of_ms}, {task.horizon_ms}, {task.storage!r}),"
        f" trials={trials}, workers={workers}, notify=lambda *told: print(told[1], flush=True))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_a_killed_search_goes_on(task: Task, store: Path) -> None:
    with begun(task, trials=100, workers=1) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 3:
            time.sleep(0)
    tuned = tune(task, trials=5, notify=silent)
    assert tuned.trials["complete"] == 5 or tuned.trials["complete"] == 6
    assert client().get_run(tuned.run_id).info.status == "FINISHED"


def test_workers_end_with_a_search_that_is_killed(task: Task) -> None:
    with begun(task, trials=500, workers=2) as process:
        assert process.stdout is not None
        process.stdout.readline()
        workers = psutil.Process(process.pid).children(recursive=True)
    assert workers and not psutil.wait_procs(workers, timeout=30)[1]


def test_searches_that_begin_together_share_a_new_database(tmp_path: Path) -> None:
    url, together = f"sqlite:///{tmp_path / 'new.db'}", Barrier(4)

    def begin(_: int) -> int:
        together.wait()
        return len(_database(url).get_all_studies())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [0] * 4


def test_epochs_below_the_median_are_pruned(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trial by trial the validation curve is worse: after the start-up trials every one is cut at its second epoch."""
    began: list[int] = []

    def fit(self: Recommender, training_set: Any, progress: Any = None) -> Recommender:
        number = len(began)
        began.append(0)
        for epoch in range(1, 6):
            began[-1] = epoch
            progress(epoch, 5, {"validation": 1.0 / (number + 1)})
        return original(self, training_set, progress)

    model = model_class("history")
    original = model.fit
    monkeypatch.setattr(model, "fit", fit)
    tuned = tune(task, trials=11, notify=silent)
    assert tuned.trials == {"complete": 8, "pruned": 3}
    assert began == [5] * 8 + [2] * 3


def test_the_transformer_is_tuned_and_its_epochs_are_reported(task: Task) -> None:
    """Every combination of widths and heads fits; each epoch's validation is what the pruner compares."""
    network = replace(task, model="transformer", fixed={"epochs": 2, "device": "cpu"})
    tuned = tune(network, trials=3, notify=silent)
    assert tuned.trials == {"complete": 3} and tuned.default_score is not None
    study = optuna.load_study(study_name=network.study_name, storage=network.storage)
    assert all(set(trial.intermediate_values) == {1, 2} for trial in study.trials)
    assert tuned.score == max(trial.value or 0 for trial in study.trials)
    model_class("transformer")(**{key: value for key, value in tuned.specification.items() if key != "model"})


def test_a_search_in_which_no_trial_can_run_ends(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="device"):
        tune(replace(task, model="transformer", fixed={"device": "nosuch"}), trials=2, notify=silent)
    everybody = training.tune.ask
    monkeypatch.setattr(training.tune, "ask", lambda *question: everybody(*question).take(np.arange(1)))
    with pytest.raises(InputError, match="two users who buy in the label window"):
        tune(task, trials=2, notify=silent)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "blend"}, "no hyper-parameters to tune"),
        ({"storage": "nosuch://x"}, "--storage"),
        ({"horizon_ms": 10_000 * DAY_MS}, "as_of"),
    ],
)
def test_what_cannot_be_tuned(task: Task, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        tune(replace(task, **change), trials=1, notify=silent)
