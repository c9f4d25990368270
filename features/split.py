"""Global-time split: questions asked at an instant, and what the users did between then and the end of the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.ids import Vocabulary
from features.instants import iso
from features.schema import DAY_MS, INTERACTIONS, MISSING, SESSION_GAP_S, Columns, EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot, dense_events
from features.window import readable_window


class Moment(StrEnum):
    """When a user is asked about: at the snapshot's instant, or in the middle of the first session after it."""

    AS_OF = "as_of"
    LIVE = "live"


class Group(StrEnum):
    """What is known of a user at the snapshot's instant: hot has interactions, warm only features, cold neither."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Questions, and the distinct items that each user bought from the question's instant to the horizon's end.

    Attributes:
        histories: n questions; their item ids are those of the snapshot.
        labels: n rows, none of them empty. Items that the snapshot does not know have numbers from ``n_items`` on: no
            model can recommend them, every metric counts them as missed.
        vocabulary: The snapshot's items, then those unknown ones.
        groups: (n,) object, ``Group`` values.
    """

    histories: Histories
    labels: Ragged
    vocabulary: Vocabulary
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.histories)

    def take(self, rows: np.ndarray) -> Labelled:
        """The questions at positions ``rows``."""
        return Labelled(self.histories.take(rows), self.labels.take(rows), self.vocabulary, self.groups[rows])

    def spread(self, most: int) -> Labelled:
        """At most so many questions, evenly spread."""
        return self.take(np.linspace(0, len(self) - 1, min(len(self), most)).astype(np.int64))


def ask(engine: Engine, dataset: Dataset, snapshot: Snapshot, until_ms: int, moment: Moment = Moment.AS_OF) -> Labelled:
    """Questions about every user who buys in the label window ``[t, until_ms)``, ``t`` being the question's instant.

    With ``Moment.LIVE``, ``t`` is half-way through the user's first session after the snapshot that has interactions at
    two instants at least; the events between the snapshot and ``t`` are part of the question.

    Raises:
        ConfigError: The horizon is empty, or live questions are asked of data without an order inside a visit.
        InputError: Nobody bought anything in the window.
    """
    start_ms = snapshot.as_of_ms
    if until_ms <= start_ms:
        raise ConfigError("horizon_days", "must be above 0", (until_ms - start_ms) / DAY_MS)
    if moment is Moment.LIVE and not dataset.order_within_session:
        raise ConfigError(
            "replay", "needs events in order inside a visit, which this data does not carry", moment.value
        )
    frame = _about_items(engine, dataset, start_ms, until_ms)
    nobody = InputError(
        "data", "must hold purchases in the label window", f"none in {iso(start_ms)} .. {iso(until_ms)}"
    )
    if frame.empty:
        raise nobody
    instants = _session_midpoints(frame) if moment is Moment.LIVE else _everyone_at(frame, start_ms)
    at = frame[Columns.USER_ID].map(instants)
    bought = frame[(frame[Columns.EVENT_TYPE] == EventType.PURCHASE.value) & (frame[Columns.TS] >= at)]
    if bought.empty:
        raise nobody
    users = Vocabulary(sorted(set(bought[Columns.USER_ID])))
    vocabulary = snapshot.items.extended(bought[Columns.ITEM_ID])
    since = frame[frame[Columns.TS] < at]
    histories = _asked(snapshot, users, instants, since)
    labels = Ragged.distinct(
        users.encode(bought[Columns.USER_ID]), vocabulary.encode(bought[Columns.ITEM_ID]), len(users)
    )
    return Labelled(histories, labels, vocabulary, _groups(snapshot, users, histories))


def _about_items(engine: Engine, dataset: Dataset, start_ms: int, until_ms: int) -> pd.DataFrame:
    """The readable events of the window that are about items, by user in the order of timelines."""
    window = readable_window(engine, dataset, start_ms, until_ms)
    about_items = window.filter(window[Columns.ITEM_ID].notnull())
    frame = engine.to_pandas(about_items[[Columns.USER_ID, Columns.ITEM_ID, Columns.EVENT_TYPE, Columns.TS]])
    codes = frame[Columns.EVENT_TYPE].map({kind.value: kind.code for kind in EventType})
    ordered = frame.assign(_code=codes).sort_values([Columns.USER_ID, Columns.TS, "_code", Columns.ITEM_ID])
    return ordered.drop(columns="_code").reset_index(drop=True)


def _everyone_at(frame: pd.DataFrame, instant_ms: int) -> pd.Series:
    return pd.Series(instant_ms, index=pd.unique(frame[Columns.USER_ID]))


def _session_midpoints(frame: pd.DataFrame) -> pd.Series:
    """user_id -> the middle of the interactions' instants in the user's first session that has two or more of them."""
    seen = frame[frame[Columns.EVENT_TYPE].isin([event_type.value for event_type in INTERACTIONS])]
    # Of events at one instant none is before the other: only a later instant leaves something to have seen.
    seen = seen.drop_duplicates([Columns.USER_ID, Columns.TS])
    gap = seen.groupby(Columns.USER_ID)[Columns.TS].diff()
    session = (gap.isna() | (gap >= SESSION_GAP_S * 1000)).cumsum()
    place = seen.groupby(session).cumcount()
    length = seen.groupby(session)[Columns.TS].transform("size")
    middle = seen[(length >= 2) & (place == length // 2)]
    return middle.groupby(Columns.USER_ID)[Columns.TS].first()


def _asked(snapshot: Snapshot, users: Vocabulary, instants: pd.Series, since: pd.DataFrame) -> Histories:
    """The users' histories as the snapshot knows them, followed by their events since."""
    n = len(users)
    known = snapshot.users.encode(users.ids)
    rows = np.flatnonzero(known >= 0)
    old = snapshot.sequences.take(known[rows].astype(np.int64))
    new = dense_events(since[since[Columns.USER_ID].isin(set(users.ids))], users, snapshot.items)
    new_rows = np.repeat(np.arange(n), np.diff(new["offsets"]))
    owner = np.concatenate([rows[old.rows], new_rows])
    order = np.argsort(owner, kind="stable")
    attributes = {}
    for name, values in old.attributes.items():
        attributes[name] = np.full(n, MISSING, dtype=object)
        attributes[name][rows] = values
    return Histories(
        user_ids=users.ids,
        as_of_ms=instants.loc[list(users.ids)].to_numpy(np.int64),
        snapshot_ms=np.full(n, snapshot.as_of_ms, np.int64),
        offsets=np.searchsorted(owner[order], np.arange(n + 1)).astype(np.int64),
        items=np.concatenate([old.items, new["items"]])[order],
        event_types=np.concatenate([old.event_types, new["event_types"]])[order],
        ts=np.concatenate([old.ts, new["ts"]])[order],
        attributes=attributes,
    )


def _groups(snapshot: Snapshot, users: Vocabulary, histories: Histories) -> np.ndarray:
    groups = np.where(snapshot.users.encode(users.ids) >= 0, Group.WARM.value, Group.COLD.value).astype(object)
    past = histories.past()
    interactions = past.where(np.isin(past.event_types, [event_type.code for event_type in INTERACTIONS]))
    groups[interactions.lengths > 0] = Group.HOT.value
    return groups


__all__ = ["Group", "Labelled", "Moment", "ask"]
