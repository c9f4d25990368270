"""A randomised mailing as the log has it: who was sent what, and what they did after."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.schema import DAY_MS, Columns, EventType
from training.uplift.covariates import Covariates
from training.uplift.effects import Bools, Doubles
from training.uplift.learner import Matrix


@dataclass(frozen=True, slots=True)
class Contrast:
    """One arm against control, as uplift models read it.

    Attributes:
        user_ids: (n,) object.
        x: (n, d) float32, NaN for a missing number.
        names: (d,) of the columns.
        treated: (n,) bool.
        y: (n,) float64, 1 for whoever did it within the window.
    """

    user_ids: NDArray[np.object_]
    x: Matrix
    names: list[str]
    treated: Bools
    y: Doubles


@dataclass(frozen=True, slots=True)
class Trial:
    """All who took part.

    Attributes:
        rows: What was known of each before the mailing, by ``user_id``.
        arm: (n,) the arm of each, None for control.
        y: (n,) float64 outcome.
    """

    rows: pd.DataFrame
    arm: NDArray[np.object_]
    y: Doubles

    @property
    def arms(self) -> list[str]:
        """The arms that were sent something, by name."""
        return sorted({arm for arm in self.arm if arm is not None})

    def against_control(self, arm: str) -> Contrast:
        """That arm and control.

        Raises:
            InputError: Nobody was in the arm.
        """
        if arm not in self.arms:
            raise InputError("arm", "must be one of the trial's", arm, f"choose one of {', '.join(self.arms)}")
        chosen = np.array([one is None or one == arm for one in self.arm])
        rows = self.rows[chosen]
        covariates = Covariates.of(rows)
        treated = np.array([one is not None for one in self.arm[chosen]])
        ids = rows.index.to_numpy(dtype=object)
        return Contrast(ids, covariates.matrix(rows), covariates.names, treated, self.y[chosen])


def read_trial(
    engine: Engine, dataset: Dataset, rows: pd.DataFrame, *, sent_ms: int, outcome: EventType, window_days: int
) -> Trial:
    """The trial whose messages were sent at ``sent_ms``.

    Args:
        rows: Everybody who was randomised, whether mailed or not, and nothing that was learned after; by ``user_id``.
        outcome: Counted in ``(sent_ms, sent_ms + window]``.

    Raises:
        InputError: Nobody was sent anything then, a message names no arm, or somebody was sent two.
    """
    events = dataset.events(engine)
    until_ms = sent_ms + window_days * DAY_MS
    late = events.filter((events[Columns.TS] >= sent_ms) & (events[Columns.TS] <= until_ms))
    kind = late[Columns.EVENT_TYPE]
    columns = [Columns.USER_ID, Columns.EVENT_TYPE, Columns.TS, Columns.PROPERTIES]
    asked = late.filter((kind == EventType.MESSAGE.value) | (kind == outcome.value)).select(columns)
    found: pd.DataFrame = engine.to_pandas(asked)
    sent = found[(found[Columns.EVENT_TYPE] == EventType.MESSAGE.value) & (found[Columns.TS] == sent_ms)]
    sent = sent[sent[Columns.USER_ID].isin(rows.index)]
    if sent.empty:
        raise InputError("sent_ms", "must be when messages were sent", sent_ms, "give the mailing's instant")
    if sent[Columns.USER_ID].duplicated().any():
        twice = sent.loc[sent[Columns.USER_ID].duplicated(), Columns.USER_ID].iloc[0]
        raise InputError("events: message", "must be one per user of a trial", f"two to {twice}")
    arm_of = dict(zip(sent[Columns.USER_ID], map(_arm, sent[Columns.PROPERTIES]), strict=True))
    did = found[(found[Columns.EVENT_TYPE] == outcome.value) & (found[Columns.TS] > sent_ms)]
    y = rows.index.isin(did[Columns.USER_ID]).astype(np.float64)
    arms = np.empty(len(rows), dtype=object)
    arms[:] = [arm_of.get(user) for user in rows.index]
    return Trial(rows, arms, y)


def _arm(properties: Any) -> str:
    arm = json.loads(properties).get("arm") if isinstance(properties, str) else None
    if not isinstance(arm, str):
        raise InputError("events: properties", 'must name the arm of a message, as {"arm": "name"}', properties)
    return arm


__all__ = ["Contrast", "Trial", "read_trial"]
