"""Fitting heads without looking ahead: features as of ``as_of - horizon``, outcomes from there to ``as_of``.

```
 events:  ....|..horizon..|..horizon..|..horizon..|
           features    features    features     as_of
           earlier windows             latest
 every head:  predictions of users left out  ->  calibrator and contract;  all users  ->  predictor
```
A user's prediction that is calibrated or judged comes from a predictor that has not learned from that user, in any
window, and is judged by a calibrator that has not either.

One week of 8,500 users leaves the slope of a calibrator a standard error of .09: a short horizon learns from several
windows, one after another. The latest alone is judged: the others are of the same users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.audience import revoked
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import iso
from features.outcomes import who_did
from features.schema import DAY_MS
from features.snapshot import Snapshot, build_snapshot
from training.folds import folds_of
from training.intent.contract import MIN_ROWS
from training.intent.encoding import Encoder
from training.intent.heads import Head, UserIntent, segments_of
from training.intent.judged import Judged
from training.intent.predictor import MakePredictor, Vector, predictor_class, predictors
from training.intent.targets import TARGETS, Target

#: Users are left out in so many groups, an even number: halves of them judge each other's calibrators.
FOLDS = 4
#: A horizon learns from as many windows as fit into so many days, and from one at least.
REACH_DAYS = 28
#: Columns of behaviour whose values are segments of the contract, beside what users told.
SEGMENTED = ("funnel_stage",)

#: Predictors by the names that they go by: ``{"predictor": ..., hyper-parameters}`` each.
Specifications = Mapping[str, Mapping[str, Any]]
PREDICTORS: Specifications = {"boosting": {"predictor": "boosting"}}

#: Told about long work: (stage, steps done, steps in all, metrics so far).
Notify = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Contest:
    """Heads of the same targets by different predictors, judged on the same users.

    Attributes:
        heads: Target to predictor's name to head.
    """

    as_of_ms: int
    heads: Mapping[str, Mapping[str, Head]]

    @property
    def chosen(self) -> dict[str, str]:
        """Target to the name of the predictor with the least log loss on users that it had not learned from."""
        return {target: min(arms, key=lambda name: arms[name].judged.log_loss) for target, arms in self.heads.items()}

    @property
    def won(self) -> UserIntent:
        """The chosen heads: what a bundle holds."""
        return UserIntent(self.as_of_ms, {target: self.heads[target][name] for target, name in self.chosen.items()})


def fit_user_intent(
    engine: Engine,
    dataset: Dataset,
    as_of_ms: int,
    targets: Sequence[Target] = TARGETS,
    *,
    contenders: Specifications = PREDICTORS,
    seed: int = 0,
    notify: Notify | None = None,
) -> Contest:
    """A head per target and predictor.

    Args:
        contenders: As for ``build_predictors``.
        seed: Of the groups of users that are left out in turn.

    Raises:
        ConfigError: A horizon leaves no data to learn from before it, or a predictor cannot be made.
        InputError: Nobody, or everybody, did what a target asks for.
    """
    tell = notify or (lambda *_: None)
    makers = build_predictors(contenders)
    heads: dict[str, dict[str, Head]] = {}
    known: dict[int, tuple[Dataset, Snapshot]] = {}
    for number, target in enumerate(targets):
        windows = []
        for origin_ms in origins_ms(dataset, target, as_of_ms):
            if origin_ms not in known:
                # Who has taken back their consent since teaches nothing either.
                consenting = dataset.without(revoked(engine, dataset, origin_ms, as_of_ms))
                known[origin_ms] = consenting, build_snapshot(engine, consenting, origin_ms)
            consenting, early = known[origin_ms]
            until_ms = origin_ms + target.horizon_ms
            acted = who_did(engine, consenting, target.events, origin_ms, until_ms, target.category)
            outcome = early.user_matrix.index.isin(acted) != target.absent
            windows.append((readable_columns(early.user_matrix), outcome.astype(np.float64)))
        latest, *earlier = windows
        heads[target.name] = {}
        for place, (name, make) in enumerate(makers.items()):
            tell("intent", number * len(makers) + place, len(targets) * len(makers), {})
            segmented = [*dataset.attributes, *SEGMENTED]
            heads[target.name][name] = fit_head(target, *latest, segmented, make, seed, earlier)
    tell("intent", len(targets) * len(makers), len(targets) * len(makers), {})
    return Contest(as_of_ms, heads)


def build_predictors(specifications: Specifications) -> dict[str, MakePredictor]:
    """By name what makes an unfitted predictor from ``{"predictor": ..., hyper-parameters}``.

    Raises:
        NotFoundError, ConfigError: A predictor or a hyper-parameter is unknown, or there is none.
    """
    if not specifications:
        raise ConfigError("predictors", "must name at least one", 0)
    makers: dict[str, MakePredictor] = {}
    for name, specification in specifications.items():
        hyper_parameters = dict(specification)
        if "predictor" not in hyper_parameters:
            raise ConfigError(f"predictors.{name}.predictor", "is required", mend=f"one of {', '.join(predictors())}")
        make = partial(predictor_class(str(hyper_parameters.pop("predictor"))), **hyper_parameters)
        make()  # complaints are due before anything is fitted
        makers[name] = make
    return makers


def origins_ms(dataset: Dataset, target: Target, as_of_ms: int) -> list[int]:
    """Where the windows of a target begin, the latest first; earlier ones have a horizon of data before them.

    Raises:
        ConfigError: There is no data before the latest.
    """
    latest_ms = as_of_ms - target.horizon_ms
    if latest_ms <= dataset.first_ms:
        rule = f"must leave the horizon of {target.name} and data before it"
        raise ConfigError("as_of", rule, iso(as_of_ms), "use a later as_of or a shorter horizon")
    first_ms = max(dataset.first_ms + target.horizon_ms, as_of_ms - REACH_DAYS * DAY_MS)
    return [latest_ms, *range(latest_ms - target.horizon_ms, first_ms - 1, -target.horizon_ms)]


def fit_head(
    target: Target,
    users: pd.DataFrame,
    outcome: Vector,
    segmented: Sequence[str],
    make: MakePredictor,
    seed: int,
    earlier: Sequence[tuple[pd.DataFrame, Vector]] = (),
) -> Head:
    """One head from rows of a user matrix and (n,) outcomes of 0 or 1.

    Args:
        segmented: Text columns whose frequent values the contract is judged in.
        make: An unfitted predictor.
        earlier: Rows and outcomes of windows before, to learn from and not to be judged on.
    """
    encoder = Encoder.fit(users)
    x = np.concatenate([encoder.transform(rows) for rows in (users, *(rows for rows, _ in earlier))])
    y = np.concatenate([outcome, *(did for _, did in earlier)])
    fold = _folds([users.index, *(rows.index for rows, _ in earlier)], seed)
    left_out = np.empty(len(y))
    for number in range(FOLDS):
        out = fold == number
        left_out[out] = make().fit(x[~out], y[~out]).log_odds(x[out])
    latest = slice(len(users))
    judged = Judged.of(left_out, y, fold % 2, segments_of(users, segmented, MIN_ROWS), latest)
    return Head(target, encoder, make().fit(x, y), judged)


def readable_columns(users: pd.DataFrame) -> pd.DataFrame:
    """A user matrix without single affinities: their labels come and go from one snapshot to the next."""
    return users[[name for name in users.columns if not str(name).startswith("affinity:")]]


def _folds(windows: Sequence[pd.Index], seed: int) -> NDArray[np.intp]:
    """The group of each row of all windows: a user's rows are in one group."""
    number, users = pd.factorize(np.concatenate([window.to_numpy(dtype=object) for window in windows]))
    return folds_of(len(users), FOLDS, seed)[number]


__all__ = [
    "FOLDS",
    "PREDICTORS",
    "REACH_DAYS",
    "Contest",
    "Specifications",
    "build_predictors",
    "fit_head",
    "fit_user_intent",
    "origins_ms",
    "readable_columns",
]
