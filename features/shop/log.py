"""The event log of a simulated shop: its days in a row, and the same as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.schema import DAY_MS, Columns, EventType
from features.shop.behaviour import Behaviour
from features.shop.catalogue import Ints
from features.shop.config import ShopConfig
from features.shop.traffic import shares
from features.shop.tree import WORDS
from features.shop.visits import REFUNDS_H, Rows, spend_day

#: Called with (rows written, rows asked for).
Progress = Callable[[int, int], None]

#: The columns of the log, as they are on disk.
SCHEMA = pa.schema(
    [
        pa.field(Columns.EVENT_ID, pa.string(), nullable=False),
        pa.field(Columns.USER_ID, pa.string(), nullable=False),
        pa.field(Columns.ITEM_ID, pa.string()),
        pa.field(Columns.EVENT_TYPE, pa.string(), nullable=False),
        pa.field(Columns.TS, pa.int64(), nullable=False),
        pa.field(Columns.ORDER_ID, pa.string()),
        pa.field(Columns.SESSION_ID, pa.string()),
        pa.field(Columns.QUANTITY, pa.int64()),
        pa.field(Columns.UNIT_PRICE_CENTS, pa.int64()),
        pa.field(Columns.QUERY, pa.string()),
    ]
)

# Of the seed's independent streams, days take those from here on.
_FIRST_DAY_STREAM = 16

_REFUNDED = 0.015  # of purchases are returned
_RETURN_DAYS = (2, 12)


def days(behaviour: Behaviour, per_visit: float) -> Iterator[Rows]:
    """The rows of each day in order of time; a day depends on the configuration and on how many rows came before."""
    config = behaviour.config
    planned = np.rint(config.events * np.cumsum(shares(config, behaviour.population))).astype(np.int64)
    made, visits_made = 0, 0
    returns: dict[int, list[Rows]] = {}
    for day in range(config.days):
        rng = np.random.default_rng([config.seed, _FIRST_DAY_STREAM + day])
        # What is missing so far is caught up with, so that the total comes out as asked for.
        visits = max(int(np.rint((planned[day] - made) / per_visit)), 0)
        rows = spend_day(behaviour, day, visits, visits_made, rng)
        visits_made += visits
        for due, returned in _returns(config, rows, day, rng):
            returns.setdefault(due, []).append(returned)
        rows = Rows.concatenate([*returns.pop(day, []), rows])
        made += len(rows)
        yield rows.take(np.argsort(rows.ts, kind="stable"))


def _returns(config: ShopConfig, rows: Rows, day: int, rng: np.random.Generator) -> Iterator[tuple[int, Rows]]:
    """Some purchases come back some days later, at night, outside of any visit: (day of the refund, its row)."""
    bought = np.flatnonzero(rows.event_type == EventType.PURCHASE.code)
    returned = bought[rng.random(len(bought)) < _REFUNDED]
    due = day + rng.integers(*_RETURN_DAYS, len(returned))
    after_midnight_ms = np.rint(3_600_000 * (REFUNDS_H + rng.random(len(returned)))).astype(np.int64)
    for which in np.unique(due[due < config.days]):
        some = due == which
        row = rows.take(returned[some])
        refund = np.full(len(row), EventType.REFUND.code, dtype=np.int8)
        ts = config.start_ms + which * DAY_MS + after_midnight_ms[some]
        yield int(which), replace(row, event_type=refund, ts=ts, visit=np.full(len(row), -1))


class Scribe:
    """Turns rows of numbers into the contract's table."""

    def __init__(self, users: pd.DataFrame, items: pd.DataFrame) -> None:
        self._users = pa.array(users[Columns.USER_ID], pa.string())
        self._items = pa.array(items[Columns.ITEM_ID], pa.string())
        self._types = pa.array([event_type.value for event_type in EventType], pa.string())
        self._words = pa.array(WORDS, pa.string())

    def table(self, rows: Rows, first_event: int) -> pa.Table:
        """The rows as a table, the events numbered from ``first_event``."""
        return pa.table(
            [
                _numbered("e", np.arange(first_event, first_event + len(rows))),
                self._users.take(_known(rows.user)),
                self._items.take(_known(rows.item)),
                self._types.take(pa.array(rows.event_type)),
                pa.array(rows.ts),
                _numbered("o", rows.order),
                _numbered("s", rows.visit),
                _known(rows.quantity),
                _known(rows.price_cents),
                self._words.take(_known(rows.query)),
            ],
            schema=SCHEMA,
        )


def _known(values: Ints) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values < 0)


def _numbered(letter: str, numbers: Ints) -> pa.Array:
    digits = pc.utf8_lpad(pc.cast(_known(numbers), pa.string()), 9, "0")
    return pc.binary_join_element_wise(letter, digits, "")


def write_events(
    path: Path, behaviour: Behaviour, per_visit: float, scribe: Scribe, progress: Progress | None, block_events: int
) -> int:
    """Write the log in order of time, in row groups of at least ``block_events`` rows; returns the number of rows.

    Memory is bounded by one block and one day. The columns do not depend on the size of the blocks.
    """
    config = behaviour.config
    written, waiting, block = 0, 0, list[Rows]()
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for day, rows in enumerate(days(behaviour, per_visit), start=1):
            block.append(rows)
            waiting += len(rows)
            if waiting >= block_events or day == config.days:
                writer.write_table(scribe.table(Rows.concatenate(block), written), row_group_size=max(waiting, 1))
                written, waiting, block = written + waiting, 0, []
                if progress is not None:
                    progress(written, config.events)
    return written
