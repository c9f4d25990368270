"""Fitting models without looking ahead: decide on an earlier label window, then fit again on all that is known.

```
 events:   ........................|..............|..............|
                                   T0            T1 (as of)      T2
 decide:   models learn -------->  | early stopping, blend weights
 refit:    models learn ----------------------->  | test: nobody looks in here before everything is fitted
```
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

import training.zoo  # noqa: F401  # registers the models by name
from features.audience import revoked
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.instants import iso
from features.remember import remember
from features.segments.segmented import Rules, segmented
from features.sequences import LIVE_FRESH_S
from features.snapshot import Snapshot, build_snapshot
from features.split import Labelled, Moment, ask
from training.blend import Blend
from training.intent.fit import PREDICTORS, Contest, Specifications, fit_user_intent
from training.intent.fit_values import fit_values
from training.intent.targets import Target
from training.intent.value_targets import ValueTarget
from training.intent.values import CustomerValues
from training.recommender import Curve, Recommender, TrainingSet, model_class
from training.session.intent import SessionIntent
from training.session.outcomes import SessionTarget
from training.tripwires.alarms import void
from training.tripwires.future_canary import future_canary
from training.tripwires.label_shuffle import label_shuffle
from training.tripwires.protocol import protocol
from training.tripwires.time_shift import time_shift

#: Told about long work: (stage, steps done, steps in all, metrics so far).
Notify = Callable[[str, int, int, dict[str, float]], None]


@dataclass
class Trained:
    """Models fitted as of an instant, and how they came about.

    Attributes:
        snapshot: What the models know.
        models: By the names of the specifications.
        early: The snapshot one label window earlier.
        decided: The models fitted on it, which took the decisions.
        curves: Learning curves of those that learn in epochs.
        validation: Questions that decisions were made on.
        seconds: By stage.
        contest: Heads of what users are about to do, by every predictor, if any were asked for.
        session: The same of sessions.
        values: What customers will be worth, if that was asked for.
    """

    snapshot: Snapshot
    models: dict[str, Recommender]
    early: Snapshot
    decided: dict[str, Recommender]
    validation: Labelled
    curves: dict[str, Curve] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    contest: Contest | None = None
    session: SessionIntent | None = None
    values: CustomerValues | None = None


def build_models(specifications: Mapping[str, Mapping[str, Any]]) -> dict[str, Recommender]:
    """Unfitted models from ``name -> {"model": ..., hyper-parameters}``, blends after what they blend.

    Raises:
        NotFoundError, ConfigError: A model or a hyper-parameter is unknown, or a blend's part is not among the names.
    """
    built: dict[str, Recommender] = {}
    for name, specification in specifications.items():
        hyper_parameters = dict(specification)
        if "model" not in hyper_parameters:
            raise ConfigError(f"arms.{name}.model", "is required", mend="name a model")
        built[name] = model_class(str(hyper_parameters.pop("model")))(**hyper_parameters)
    for name, model in built.items():
        for part in model.config.parts if isinstance(model, Blend) else ():
            if part not in built or isinstance(built[part], Blend):
                single = ", ".join(other for other, known in built.items() if not isinstance(known, Blend))
                raise ConfigError(f"arms.{name}.parts", "must be names of single models", part, f"choose from {single}")
    return dict(sorted(built.items(), key=lambda entry: isinstance(entry[1], Blend)))


def train(
    engine: Engine,
    dataset: Dataset,
    models: Mapping[str, Recommender],
    as_of_ms: int,
    horizon_ms: int,
    notify: Notify | None = None,
    *,
    live_fresh_s: int = LIVE_FRESH_S,
    segments: Rules | None = None,
    intents: Sequence[Target] = (),
    predictors: Specifications = PREDICTORS,
    session_intents: Sequence[SessionTarget] = (),
    values: Sequence[ValueTarget] = (),
) -> Trained:
    """Decide on ``[as_of - horizon, as_of)``, then fit everything as of ``as_of``.

    Half of the validation users stop the training of networks, the other half teach the blends, so that a network is
    not weighted by users on which its epochs were chosen.

    Args:
        live_fresh_s: How old an event may be and still drive L4, by the policy that will serve.
        segments: Rules of segments; with them, also without any, models may group users by segment.
        intents, predictors: What shall be predicted of users, and by what, see ``training.intent.fit``.
        session_intents: What shall be predicted of sessions, see ``training.session.intent``.
        values: Over which horizons orders and money shall be predicted, see ``training.intent.fit_values``.

    Raises:
        ConfigError: There is not a whole label window of data before ``as_of``, a rule cannot be read, sessions are
            asked about where the data carries no order inside a visit, or too little was ordered to learn values from.
        LeakageError: A tripwire fired: models, features or data know what they cannot know.
    """
    tell = notify or (lambda stage, done, of, metrics: None)
    decide_ms = _decide_ms(dataset, as_of_ms, horizon_ms)
    if session_intents and not dataset.order_within_session:
        rule = "need events in order inside a visit, which this data does not carry"
        raise ConfigError("session_intents", rule, len(session_intents), "leave them out")
    seconds: dict[str, float] = {}

    def build(engine: Engine, dataset: Dataset, instant_ms: int) -> Snapshot:
        return _grouped(engine, build_snapshot(engine, dataset, instant_ms), segments)

    with _timed(seconds, "features_early"):
        # Who has taken back their consent since then takes no part in decisions either.
        consenting = dataset.without(revoked(engine, dataset, decide_ms, as_of_ms))
        early = build(engine, consenting, decide_ms)
        asked = _Asked.of(engine, consenting, early, as_of_ms, live_fresh_s)
    tell("tripwires", 0, 1, {})
    with _timed(seconds, "tripwires"):
        void(
            [
                *protocol(early, asked.stopping, asked.blending),
                *future_canary(engine, consenting, decide_ms, build),
                *time_shift(early, asked.quiet, as_of_ms),
            ]
        )
    tell("tripwires", 1, 1, {})
    decided = _decided(models, early, asked, tell, seconds)
    with _timed(seconds, "features"):
        snapshot = _grouped(engine, remember(engine, dataset, build_snapshot(engine, dataset, as_of_ms)), segments)
    final = _refitted(decided, snapshot, tell, seconds)
    contest = None
    if intents:
        with _timed(seconds, "fit_intent"):
            contest = fit_user_intent(engine, dataset, as_of_ms, intents, contenders=predictors, notify=tell)
    session = None
    if session_intents:
        with _timed(seconds, "fit_session_intent"):
            session = SessionIntent(session_intents).fit(snapshot, partial(tell, "session intent"))
    worth = None
    if values:
        with _timed(seconds, "fit_values"):
            worth = fit_values(engine, dataset, as_of_ms, values, notify=tell)
    curves = {name: model.curve for name, model in decided.items() if model.curve is not None}
    return Trained(snapshot, final, early, decided, asked.quiet, curves, seconds, contest, session, worth)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What decisions are made on.

    Attributes:
        quiet: Questions between sessions.
        stopping, blending: Halves of them, by user: for networks and for blends.
        live: Questions within sessions of the blending users; None without order in a visit, or without such a session.
    """

    quiet: Labelled
    stopping: Labelled
    blending: Labelled
    live: Labelled | None

    @classmethod
    def of(cls, engine: Engine, dataset: Dataset, early: Snapshot, until_ms: int, live_fresh_s: int) -> _Asked:
        quiet = ask(engine, dataset, early, until_ms)
        stopping, blending = (quiet.take(np.arange(half, len(quiet), 2)) for half in (0, 1))
        return cls(quiet, stopping, blending, _live(engine, dataset, early, until_ms, blending, live_fresh_s))


def _decide_ms(dataset: Dataset, as_of_ms: int, horizon_ms: int) -> int:
    """One label window earlier, where there is something to learn from before it."""
    decide_ms = as_of_ms - horizon_ms
    if decide_ms <= dataset.first_ms:
        rule = "must leave a label window for decisions, and events to learn from, before it"
        mend = f"data begins on {iso(dataset.first_ms)}: use a later as_of or a shorter horizon"
        raise ConfigError("as_of", rule, iso(as_of_ms), mend)
    return decide_ms


def _decided(
    models: Mapping[str, Recommender], early: Snapshot, asked: _Asked, tell: Notify, seconds: dict[str, float]
) -> dict[str, Recommender]:
    """Every model fitted on the earlier snapshot."""
    decided: dict[str, Recommender] = {}
    for name, model in models.items():
        with _timed(seconds, f"fit_{name}"):
            if isinstance(model, Blend):
                tell(name, 0, 1, {})
                decided[name] = model.with_parts(decided, early).learn(asked.blending, asked.live)
                tell(name, 1, 1, {})
            else:
                void(label_shuffle(name, model, early, asked.stopping))
                decided[name] = _fitted(model.fit, TrainingSet(early, asked.stopping), name, tell)
    return decided


def _refitted(
    decided: Mapping[str, Recommender], snapshot: Snapshot, tell: Notify, seconds: dict[str, float]
) -> dict[str, Recommender]:
    """The same models on all that is known; what was decided stays."""
    final: dict[str, Recommender] = {}
    for name, model in decided.items():
        with _timed(seconds, f"refit_{name}"):
            if isinstance(model, Blend):
                final[name] = model.reweighted(final, snapshot)
            else:
                final[name] = _fitted(model.refit, TrainingSet(snapshot), f"{name}, refit", tell)
    return final


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


def _grouped(engine: Engine, snapshot: Snapshot, segments: Rules | None) -> Snapshot:
    return snapshot if segments is None else segmented(engine, snapshot, segments)


def _live(
    engine: Engine, dataset: Dataset, early: Snapshot, until_ms: int, blending: Labelled, live_fresh_s: int
) -> Labelled | None:
    if not dataset.order_within_session:
        return None
    try:
        live = ask(engine, dataset, early, until_ms, Moment.LIVE)
    except InputError:  # nobody bought anything after the middle of a session
        return None
    live = replace(live, histories=replace(live.histories, live_fresh_s=live_fresh_s))
    rows = np.flatnonzero(np.isin(live.histories.user_ids, blending.histories.user_ids))
    return live.take(rows) if len(rows) else None


def _fitted(fit: Callable[..., Recommender], training_set: TrainingSet, name: str, tell: Notify) -> Recommender:
    def progress(done: int, of: int, metrics: dict[str, float]) -> None:
        tell(name, done, of, metrics)

    progress(0, 1, {})
    model = fit(training_set, progress)
    progress(1, 1, {})
    return model


__all__ = ["Notify", "Trained", "build_models", "train"]
