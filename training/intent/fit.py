"""Fitting heads without looking ahead: features as of ``as_of - horizon``, outcomes from there to ``as_of``.

```
 events:  ..............................|.....horizon.....|
                                   features             as_of
 every head:  predictions of users left out  ->  calibrator and contract;  all users  ->  predictor
```
A user's prediction that is calibrated or judged comes from a predictor that has not learned from that user, and is
judged by a calibrator that has not either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.audience import revoked
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import iso
from features.outcomes import who_did
from features.snapshot import Snapshot, build_snapshot
from training.folds import folds_of
from training.intent.contract import MIN_ROWS
from training.intent.encoding import Encoder
from training.intent.heads import Head, UserIntent, segments_of
from training.intent.judged import Judged
from training.intent.predictor import MakePredictor, Vector, predictor_class
from training.intent.targets import TARGETS, Target

#: Users are left out in so many groups, an even number: halves of them judge each other's calibrators.
FOLDS = 4
#: Columns of behaviour whose values are segments of the contract, beside what users told.
SEGMENTED = ("funnel_stage",)

#: Told about long work: (stage, steps done, steps in all, metrics so far).
Notify = Callable[[str, int, int, dict[str, float]], None]


def fit_user_intent(
    engine: Engine,
    dataset: Dataset,
    as_of_ms: int,
    targets: Sequence[Target] = TARGETS,
    *,
    predictor: str = "boosting",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    notify: Notify | None = None,
) -> UserIntent:
    """A head per target.

    Args:
        predictor, settings: Name and hyper-parameters of what every head learns with.
        seed: Of the groups of users that are left out in turn.

    Raises:
        ConfigError: A horizon leaves no data to learn from before it.
        InputError: Nobody, or everybody, did what a target asks for.
    """
    tell = notify or (lambda *_: None)
    heads: dict[str, Head] = {}
    known: dict[int, tuple[Dataset, Snapshot]] = {}
    for number, target in enumerate(targets):
        tell(f"intent: {target.name}", number, len(targets), {})
        origin_ms = as_of_ms - target.horizon_ms
        if origin_ms <= dataset.first_ms:
            rule = f"must leave the horizon of {target.name} and data before it"
            raise ConfigError("as_of", rule, iso(as_of_ms), "use a later as_of or a shorter horizon")
        if origin_ms not in known:
            # Who has taken back their consent since teaches nothing either.
            consenting = dataset.without(revoked(engine, dataset, origin_ms, as_of_ms))
            known[origin_ms] = consenting, build_snapshot(engine, consenting, origin_ms)
        consenting, early = known[origin_ms]
        acted = who_did(engine, consenting, target.events, origin_ms, as_of_ms)
        outcome = early.user_matrix.index.isin(acted) != target.absent
        heads[target.name] = fit_head(
            target,
            readable_columns(early.user_matrix),
            outcome.astype(np.float64),
            [*early.attributes, *SEGMENTED],
            lambda: predictor_class(predictor)(**(settings or {})),
            seed,
        )
    tell("intent", len(targets), len(targets), {})
    return UserIntent(as_of_ms, heads)


def fit_head(
    target: Target,
    users: pd.DataFrame,
    outcome: Vector,
    segmented: Sequence[str],
    make: MakePredictor,
    seed: int,
) -> Head:
    """One head from rows of a user matrix and (n,) outcomes of 0 or 1.

    Args:
        segmented: Text columns whose frequent values the contract is judged in.
        make: An unfitted predictor.
    """
    encoder = Encoder.fit(users)
    x = encoder.transform(users)
    fold = folds_of(len(users), FOLDS, seed)
    left_out = np.empty(len(users))
    for number in range(FOLDS):
        out = fold == number
        left_out[out] = make().fit(x[~out], outcome[~out]).log_odds(x[out])
    judged = Judged.of(left_out, outcome, fold % 2, segments_of(users, segmented, MIN_ROWS))
    return Head(target, encoder, make().fit(x, outcome), judged)


def readable_columns(users: pd.DataFrame) -> pd.DataFrame:
    """A user matrix without single affinities: their labels come and go from one snapshot to the next."""
    return users[[name for name in users.columns if not str(name).startswith("affinity:")]]


__all__ = ["FOLDS", "fit_head", "fit_user_intent", "readable_columns"]
