"""Every user's events in order of time, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import ibis.expr.types as ir
import numpy as np
from numpy.typing import NDArray

from features.engine import Engine
from features.log import CODE, ITEM, TS, USER
from features.sequences import Int8s, Int32s, Int64s, positions


@dataclass(frozen=True)
class Timeline:
    """The events of user ``i`` are ``[offsets[i]:offsets[i + 1]]`` of each array.

    They are in order of time; those of one instant in order of type, then item: what somebody does to an item at one
    instant is seen, carted and bought, and no order depends on when or where an event was written down.

    Attributes:
        offsets: (n + 1,) int64.
        items: (m,) int32.
        event_types: (m,) int8, ``EventType.code``.
        ts: (m,) int64, epoch milliseconds.
    """

    offsets: Int64s
    items: Int32s
    event_types: Int8s
    ts: Int64s

    @classmethod
    def read(cls, engine: Engine, log: ir.Table, n: int) -> Timeline:
        """Of all events of the log, for ``n`` users; the item of an event without one is -1."""
        ordered = log.select(USER, log[ITEM].fill_null(-1).name(ITEM), CODE, TS).order_by([USER, TS, CODE, ITEM])
        table = engine.to_arrow(ordered)
        users = table[USER].to_numpy()
        return cls(
            np.searchsorted(users, np.arange(n + 1)).astype(np.int64),
            table[ITEM].to_numpy().astype(np.int32, copy=False),
            table[CODE].to_numpy().astype(np.int8, copy=False),
            table[TS].to_numpy().astype(np.int64, copy=False),
        )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def rows(self) -> Int64s:
        """(m,) int64: the user that each event belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def take(self, users: Int64s) -> Timeline:
        """Of the users with these numbers, in their order."""
        where = positions(self.offsets, users)
        lengths = np.diff(self.offsets)[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Timeline(offsets, self.items[where], self.event_types[where], self.ts[where])

    def renumbered(self, users: Int64s, n: int, items: Int32s) -> Timeline:
        """User ``i`` becomes ``users[i]`` of ``n``, item ``j`` becomes ``items[j]``; both rise, so the order stays."""
        lengths = np.zeros(n, dtype=np.int64)
        lengths[users] = np.diff(self.offsets)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Timeline(offsets, items[self.items], self.event_types, self.ts)

    def relabelled(self, items: Int32s) -> Timeline:
        """Item ``j`` becomes ``items[j]``; events of items that become -1 disappear."""
        moved = Timeline(self.offsets, items[self.items], self.event_types, self.ts)
        return moved.where(moved.items >= 0) if (items < 0).any() else moved

    def where(self, keep: NDArray[np.bool_]) -> Timeline:
        """Only the events where ``keep`` (m,) is true."""
        kept = np.concatenate([[0], np.cumsum(keep)])[self.offsets].astype(np.int64)
        return Timeline(kept, self.items[keep], self.event_types[keep], self.ts[keep])

    def followed_by(self, later: Timeline) -> Timeline:
        """Each user's events, then those of ``later``, none of which is before them."""
        if not len(later):
            return self
        at = np.repeat(self.offsets[1:], np.diff(later.offsets))
        return Timeline(
            self.offsets + later.offsets,
            np.insert(self.items, at, later.items),
            np.insert(self.event_types, at, later.event_types),
            np.insert(self.ts, at, later.ts),
        )

    def without(self, users: NDArray[np.bool_]) -> Timeline:
        """Without the events of the users where ``users`` (n,) is true."""
        return self.where(~np.repeat(users, np.diff(self.offsets)))


__all__ = ["Timeline"]
