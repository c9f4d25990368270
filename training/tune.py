"""Search for a model's hyper-parameters: Optuna chooses what to try, and MLflow keeps every trial as a nested run.

A study is named after all that its scores depend on, and lives in a database: a search that was killed goes on where
it was, and any number of processes, on one machine or many, work on one study.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.importance import get_param_importances
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

import training.zoo  # noqa: F401  # registers the models by name
from features.audience import revoked
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.instants import iso
from features.schema import DAY_MS, Columns, Level
from features.snapshot import Snapshot, build_snapshot
from features.split import Labelled, Moment, ask
from training.metrics import ranking_metrics
from training.recommender import Recommender, TrainingSet, model_class
from training.search_space import Between, Space
from training.tracking import Run, resumed, run
from training.train import Notify

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "tuning"
K = 20
METRIC = f"validation_ndcg@{K}"

#: Trials that are drawn at random before the sampler and the pruner trust what they have seen.
STARTUP_TRIALS = 8

#: A worker that has not been heard of for this long is dead, and its trial is tried again.
_HEARTBEAT_S, _GRACE_S = 15, 60

_DONE = (TrialState.COMPLETE, TrialState.PRUNED)
_RUN_ID = "mlflow_run_id"


@dataclass(frozen=True, slots=True)
class Task:
    """What is tuned, on what, and where the study is.

    Attributes:
        folder: Of the data set.
        model: A registered name.
        as_of_ms: Events before it are known; labels are ``[as_of - horizon, as_of)``, as in ``train``.
        fixed: Hyper-parameters that every trial has: seed, device.
        storage: URL of the study's database.
    """

    folder: Path
    model: str
    as_of_ms: int
    horizon_ms: int
    storage: str
    seed: int = 0
    fixed: Mapping[str, Any] | None = None

    @property
    def study_name(self) -> str:
        """The same for the same question of the same data."""
        digest = Dataset.open(self.folder).digest[:12]
        return f"{self.model}-{digest}-{iso(self.as_of_ms)}-{self.horizon_ms / DAY_MS:g}d-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search found.

    Attributes:
        specification: The best trial's hyper-parameters with ``model``, as an arm of an experiment has them.
        score: Its mean NDCG@20; of the many that were tried the best, so optimistic.
        default_score: That of the hyper-parameters that nobody tuned; None if that trial has not finished.
        trials: State to the number of trials.
        importances: Hyper-parameter to its share of the scores' variation (fANOVA; Hutter et al. 2014); empty where
            there is too little to tell.
    """

    study: str
    run_id: str
    specification: dict[str, Any]
    score: float
    default_score: float | None
    n_users: int
    trials: dict[str, int]
    importances: dict[str, float]


def tune(task: Task, *, trials: int, timeout_s: float | None = None, workers: int = 1, notify: Notify) -> Tuned:
    """Try until the study has ``trials`` finished ones, or the time is over.

    The first trial has the defaults. Trials of models that learn in epochs are pruned below the median of the earlier
    ones at the same epoch. Half of the validation users stop epochs, the other half score.

    Args:
        workers: Processes on this machine, this one included.
        notify: Told after every trial.

    Raises:
        ConfigError: The model has nothing to tune, a trial could not be run at all (no such device), or none finished
            in time.
        InputError: Fewer than two users buy in the label window.
    """
    space = model_class(task.model).space
    if not space:
        raise ConfigError("model", "has no hyper-parameters to tune", task.model, "choose a single model that learns")
    study = _study(task)
    if not study.trials:
        defaults = model_class(task.model)().config.model_dump()
        study.enqueue_trial({name: defaults[name] for name in space}, skip_if_exists=True)
    with _parent(study, task) as parent:
        context = get_context("spawn")
        with ProcessPoolExecutor(max(workers - 1, 1), mp_context=context, initializer=_end_with_parent) as pool:
            others = [pool.submit(_work, task, trials, timeout_s, worker) for worker in range(1, workers)]
            n_users = _work(task, trials, timeout_s, 0, notify)
            for other in others:
                other.result()
        tuned = _found(study, task, parent, n_users)
        _record(study, tuned, parent)
    return tuned


def _end_with_parent() -> None:
    """Let this process die when the one that began it does, however that dies: nobody waits for its trials."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def _work(task: Task, trials: int, timeout_s: float | None, worker: int, notify: Notify | None = None) -> int:
    """One worker: its own snapshot, trials from the shared study; returns the number of users that score."""
    study = _study(task, worker)
    questions = _questions(task)

    def told(study: optuna.Study, _: FrozenTrial) -> None:
        if notify is not None:
            done = study.get_trials(deepcopy=False, states=_DONE)
            best = max((trial.value for trial in done if trial.value is not None), default=float("nan"))
            notify(f"tune {task.model}", min(len(done), trials), trials, {"best": best})

    if len(study.get_trials(deepcopy=False, states=_DONE)) < trials:
        study.optimize(
            lambda trial: _try(trial, task, questions, study.user_attrs[_RUN_ID]),
            timeout=timeout_s,
            callbacks=[MaxTrialsCallback(trials, states=_DONE), told],
        )
    return len(questions.scoring)


@dataclass(frozen=True, slots=True)
class _Questions:
    snapshot: Snapshot
    stopping: Labelled
    scoring: Labelled

    def score(self, model: Recommender) -> float:
        """Mean NDCG@20 over the available items."""
        histories = self.scoring.histories if model.level is Level.LIVE else self.scoring.histories.past()
        allowed = self.snapshot.item_matrix[Columns.AVAILABLE].to_numpy(dtype=bool)
        ids, _ = model.recommend(histories, K, allowed)
        return float(np.mean(ranking_metrics(ids, self.scoring.labels, (K,))[f"ndcg@{K}"]))


def _questions(task: Task) -> _Questions:
    dataset, decide_ms = Dataset.open(task.folder), task.as_of_ms - task.horizon_ms
    if decide_ms <= dataset.first_ms:
        mend = f"data begins on {iso(dataset.first_ms)}: use a later as_of or a shorter horizon"
        raise ConfigError("as_of", "must leave a label window, and events to learn from", iso(task.as_of_ms), mend)
    with Engine.duckdb() as engine:
        consenting = dataset.without(revoked(engine, dataset, decide_ms, task.as_of_ms))
        snapshot = build_snapshot(engine, consenting, decide_ms)
        moment = Moment.LIVE if model_class(task.model).level is Level.LIVE else Moment.AS_OF
        asked = ask(engine, consenting, snapshot, task.as_of_ms, moment)
    rows = np.arange(len(asked))
    if len(rows) < 2:
        window, mend = f"one in {iso(decide_ms)} .. {iso(task.as_of_ms)}", "use another as_of or a longer horizon"
        raise InputError(
            "data", "must hold two users who buy in the label window, to stop by and to score", window, mend
        )
    return _Questions(snapshot, asked.take(rows[::2]), asked.take(rows[1::2]))


def _try(trial: Trial, task: Task, questions: _Questions, parent_id: str) -> float:
    drawn = suggest(trial, model_class(task.model).space)
    specification = {**(task.fixed or {}), **drawn}
    model = model_class(task.model)(**specification)
    name, tags = f"{task.model} {trial.number}", {"trial": trial.number}
    pruned = False
    with run(EXPERIMENT, name, parent_id=parent_id, tags=tags, params=specification) as opened:

        def progress(done: int, of: int, metrics: dict[str, float]) -> None:
            if "validation" in metrics:
                opened.log_metrics(metrics, step=done)
                trial.report(metrics["validation"], done)
                if trial.should_prune():
                    raise optuna.TrialPruned

        try:
            model.fit(TrainingSet(questions.snapshot, questions.stopping), progress)
        except optuna.TrialPruned:
            pruned = True
        opened.tag({"pruned": pruned})
        if not pruned:
            score = questions.score(model)
            opened.log_metrics({METRIC: score})
    if pruned:
        raise optuna.TrialPruned
    return score


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """A value of every hyper-parameter of the space."""
    drawn: dict[str, Any] = {}
    for name, choice in space.items():
        if not isinstance(choice, Between):
            drawn[name] = trial.suggest_categorical(name, choice.values)
        elif choice.whole:
            drawn[name] = trial.suggest_int(name, int(choice.low), int(choice.high), log=choice.log)
        else:
            drawn[name] = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
    return drawn


def _database(url: str, patience: int = 5) -> RDBStorage:
    """The storage of studies; its tables are made where they are missing.

    Args:
        patience: How often to look again where another process is just making them.
    """
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=_HEARTBEAT_S,
                grace_period=_GRACE_S,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=1),
            )
    except (IntegrityError, OperationalError, ProgrammingError):
        if not patience:
            raise
        time.sleep(0.5)
        return _database(url, patience - 1)


def _study(task: Task, worker: int = 0) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = _database(task.storage)
        study = optuna.create_study(
            storage=storage,
            study_name=task.study_name,
            direction="maximize",
            load_if_exists=True,
            pruner=MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=2),
        )
    except (SQLAlchemyError, ImportError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError("--storage", f"must be a usable database: {reason}", task.storage) from None
    # Whoever goes on must not draw again what was drawn before, nor two workers the same.
    study.sampler = TPESampler(
        n_startup_trials=STARTUP_TRIALS,
        multivariate=True,
        seed=int(np.random.SeedSequence([task.seed, worker, len(study.trials)]).generate_state(1)[0]),
    )
    return study


@contextmanager
def _parent(study: optuna.Study, task: Task) -> Iterator[Run]:
    """The study's run in MLflow: a new one, or that of the search that goes on."""
    known = study.user_attrs.get(_RUN_ID)
    params = {"model": task.model, "as_of": iso(task.as_of_ms), "horizon_days": task.horizon_ms / DAY_MS}
    opening = run(EXPERIMENT, study.study_name, params=params) if known is None else resumed(known)
    with opening as opened:
        study.set_user_attr(_RUN_ID, opened.id)
        yield opened


def _found(study: optuna.Study, task: Task, parent: Run, n_users: int) -> Tuned:
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        raise ConfigError("--timeout", "must leave time for one trial", mend="give it more: what was begun goes on")
    defaults = model_class(task.model)().config.model_dump()
    own = {name: defaults[name] for name in model_class(task.model).space}
    default = next((trial.value for trial in complete if trial.params == own), None)
    states = [trial.state.name.lower() for trial in trials]
    return Tuned(
        study=study.study_name,
        run_id=parent.id,
        specification={"model": task.model, **study.best_trial.params},
        score=study.best_value,
        default_score=default,
        n_users=n_users,
        trials={state: states.count(state) for state in sorted(set(states))},
        importances=_importances(study),
    )


def _importances(study: optuna.Study) -> dict[str, float]:
    values = {trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    return dict(get_param_importances(study)) if len(values) > 1 else {}


def plots(study: optuna.Study) -> dict[str, Figure]:
    """Name to picture: the scores in order of the trials, and which hyper-parameters made the difference."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as drawn

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes = {"history": drawn.plot_optimization_history(study, target_name=METRIC)}
        if _importances(study):
            axes["importances"] = drawn.plot_param_importances(study)
    pictures: dict[str, Figure] = {}
    for name, one in axes.items():
        picture = one.get_figure(root=True)
        assert picture is not None, "what was drawn is part of a figure"
        picture.set_layout_engine("tight")
        pyplot.close(picture)
        pictures[name] = picture
    return pictures


def _record(study: optuna.Study, tuned: Tuned, parent: Run) -> None:
    parent.log_metrics({METRIC: tuned.score})
    parent.log_dict(tuned.specification, "best.yaml")
    for name, picture in plots(study).items():
        parent.log_figure(picture, f"{name}.png")


__all__ = ["METRIC", "Task", "Tuned", "plots", "suggest", "tune"]
