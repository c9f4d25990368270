"""Who may be read, and under which number: identity and consent, as they stood at an instant."""

from __future__ import annotations

from dataclasses import dataclass

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.consent import READING, standing
from features.dataset import Dataset
from features.engine import Engine
from features.identity import identities
from features.ids import Vocabulary
from features.schema import DEFAULT_PURPOSES, Columns, Purpose


@dataclass(frozen=True)
class Audience:
    """Every user id of a data set, and what may be read of it.

    Attributes:
        users: All ids, sorted; the numbers of the log.
        numbers: (n,) int32, the number under which the id's events are read: its own, or that of the user whom an
            anonymous visitor turned out to be; -1 if the user refuses personalisation.
        granted: Purpose to (n,) bool, whether the user behind the id consents, for the purposes that decide what is
            read.
    """

    users: Vocabulary
    numbers: NDArray[np.int32]
    granted: dict[Purpose, NDArray[np.bool_]]

    @classmethod
    def read(cls, engine: Engine, events: ir.Table, users: ir.Table, impressions: ir.Table, as_of_ms: int) -> Audience:
        """As told by the rows of ``events`` and ``users`` before an instant; ids of later rows only get numbers.

        Args:
            impressions: May name users that are in no other table.
        """
        merged = identities(engine, events, as_of_ms)
        told = users.select(Columns.USER_ID).union(impressions.select(Columns.USER_ID)).distinct()
        named = engine.to_arrow(told)[Columns.USER_ID].to_pylist()
        ids = Vocabulary(sorted({*named, *merged[Columns.ANONYMOUS_ID], *merged[Columns.USER_ID]}))
        numbers = np.arange(len(ids), dtype=np.int32)
        numbers[ids.encode(merged[Columns.ANONYMOUS_ID])] = ids.encode(merged[Columns.USER_ID])
        stated = engine.to_pandas(standing(engine, users, as_of_ms, merged))
        who = ids.encode(stated[Columns.USER_ID])
        granted = {}
        for purpose in READING:
            flags = np.full(len(ids), purpose in DEFAULT_PURPOSES)
            flags[who] = stated[purpose.value].to_numpy(dtype=bool)
            granted[purpose] = flags[numbers]
        numbers[~granted[Purpose.PERSONALISATION]] = -1
        return cls(ids, numbers, granted)

    @property
    def owners(self) -> NDArray[np.bool_]:
        """(n,) whether the id is a user who may be read, and no visitor who turned out to be somebody else."""
        return self.numbers == np.arange(len(self.users))

    @property
    def readable(self) -> pd.DataFrame:
        """One row per id that may be read: reader_id, user (int32) and a flag for each purpose that not all grant."""
        columns = {"reader_id": self.users.ids, "user": self.numbers}
        flags = {
            purpose.value: flags for purpose, flags in self.granted.items() if purpose is not Purpose.PERSONALISATION
        }
        return pd.DataFrame({**columns, **flags})[self.numbers >= 0]

    def renumbered(self, ids: Vocabulary) -> Audience:
        """The same in the numbers of a larger vocabulary; of its new ids nothing may be read."""
        moved = ids.encode(self.users.ids)
        numbers = np.full(len(ids), -1, dtype=np.int32)
        numbers[moved] = np.where(self.numbers >= 0, moved[self.numbers], -1)
        granted = {}
        for purpose, flags in self.granted.items():
            granted[purpose] = np.zeros(len(ids), dtype=bool)
            granted[purpose][moved] = flags
        return Audience(ids, numbers, granted)

    def changed(self, other: Audience) -> NDArray[np.bool_]:
        """(n,) of which ids something else may be read in the other, of the same vocabulary."""
        changed = self.numbers != other.numbers
        for purpose, flags in self.granted.items():
            changed |= flags != other.granted[purpose]
        return changed


def revoked(engine: Engine, dataset: Dataset, since_ms: int, as_of_ms: int) -> tuple[str, ...]:
    """The ids that could be read as of ``since_ms`` and may not be read as of ``as_of_ms`` any more, sorted."""
    events, users = dataset.events(engine), dataset.users(engine)
    then, now = (Audience.read(engine, events, users, users.limit(0), at) for at in (since_ms, as_of_ms))
    ids = now.users.ids[now.numbers < 0]
    return tuple(name for name in ids if name in then.users and then.numbers[then.users.code(name)] >= 0)


__all__ = ["Audience", "revoked"]
