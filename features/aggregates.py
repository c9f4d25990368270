"""Everything that is added up from the log: cells of users, items and labels, and the timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.affinities import POINTS
from features.audience import Audience
from features.catalogue import Catalogue, band_labels
from features.cells import Cells, numbered_day, shift_ms
from features.declarations import Amount, Counter, Stream
from features.definitions import ACTIVITY, AFFINITIES, ITEM_COUNTERS, USER_COUNTERS
from features.engine import Engine
from features.ids import Vocabulary
from features.log import CODE, DAY, ITEM, USER, orders, selected
from features.schema import DAY_MS, Columns, EventType
from features.sequences import session_starts
from features.timeline import Timeline


@dataclass(frozen=True)
class Aggregates:
    """What features are read from, in the numbers of an audience and a catalogue.

    Attributes:
        users: Stream to cells whose row is a user.
        items: Stream to cells whose row is an item.
        labels: Label column to its labels, the codes of the rows below.
        affinities: Label column to cells of points whose row is ``user * len(labels) + label``.
        bought: Cells of purchase lines whose row is ``item * n_users + user``.
        timeline: The users' events about items.
    """

    users: Mapping[Stream, Cells]
    items: Mapping[Stream, Cells]
    labels: Mapping[str, Vocabulary]
    affinities: Mapping[str, Cells]
    bought: Cells
    timeline: Timeline

    def plus(self, other: Aggregates, sign: int = 1) -> Aggregates:
        """With the other's cells added, or taken away; in the same numbers. The timeline stays."""
        return replace(
            self,
            users={stream: cells.plus(other.users[stream], sign) for stream, cells in self.users.items()},
            items={stream: cells.plus(other.items[stream], sign) for stream, cells in self.items.items()},
            affinities={name: cells.plus(other.affinities[name], sign) for name, cells in self.affinities.items()},
            bought=self.bought.plus(other.bought, sign),
        )


def aggregate(
    engine: Engine,
    log: ir.Table,
    impressions: ir.Table,
    audience: Audience,
    catalogue: Catalogue,
    channels: Vocabulary,
    as_of_ms: int,
    notify: Callable[[str], None],
) -> Aggregates:
    """Add up a log.

    Args:
        log: As ``read_log`` returns it.
        impressions: The contract's columns, all before ``as_of_ms``.
        channels: All that the log names.
        notify: Told the name of each part before it is computed.
    """
    n_users = len(audience.users)
    notify("users")
    users = {
        Stream.EVENTS: _cells(engine, log, USER, _counters(USER_COUNTERS, Stream.EVENTS)),
        Stream.ORDERS: _counted(engine, orders(log), USER, "orders"),
    }
    notify("items")
    about_items = log.filter(log[ITEM].notnull())
    items = {Stream.EVENTS: _cells(engine, about_items, ITEM, _counters(ITEM_COUNTERS, Stream.EVENTS))}
    shown = _shown(engine, impressions, audience, catalogue, as_of_ms)
    users[Stream.IMPRESSIONS] = _counted(engine, shown, USER, "impressions")
    items[Stream.IMPRESSIONS] = _counted(engine, shown.filter(shown[ITEM].notnull()), ITEM, "impressions")
    notify("affinities")
    labels = {
        "category_top": catalogue.categories,
        "brand": catalogue.brands,
        "price_band": Vocabulary(band_labels()),
        "channel": channels,
    }
    affinities = _affinities(engine, log, labels, n_users)
    bought = about_items.filter(about_items[CODE] == EventType.PURCHASE.code)
    pair = (bought[ITEM].cast("int64") * n_users + bought[USER]).name("pair")
    pairs = bought.group_by([pair, DAY]).aggregate(**{POINTS: bought.count().cast("int32")})
    notify("sequences")
    events = Timeline.read(engine, log, n_users)
    users[Stream.SESSIONS] = _sessions(events, as_of_ms)
    timeline = events.where(events.items >= 0)
    return Aggregates(users, items, labels, affinities, _to_cells(engine, pairs, "pair", [POINTS]), timeline)


def _counters(counters: Sequence[Counter], stream: Stream) -> list[Counter]:
    return [counter for counter in counters if counter.stream is stream]


def _cells(engine: Engine, log: ir.Table, key: str, counters: Sequence[Counter]) -> Cells:
    sums = {}
    for counter in counters:
        where = selected(log, counter)
        if counter.amount is Amount.ONE:
            sums[counter.name] = log.count(where=where).cast("int32")
        else:
            sums[counter.name] = log[counter.amount.value].sum(where=where).fill_null(0).cast("int64")
    return _to_cells(engine, log.group_by([key, DAY]).aggregate(**sums), key, list(sums))


def _counted(engine: Engine, rows: ir.Table, key: str, name: str) -> Cells:
    return _to_cells(engine, rows.group_by([key, DAY]).aggregate(**{name: rows.count().cast("int32")}), key, [name])


def _sessions(events: Timeline, as_of_ms: int) -> Cells:
    """One per session, on the day of its first event; what is done to users begins and prolongs none."""
    acts = events.where(np.isin(events.event_types, [kind.code for kind in ACTIVITY]))
    starts = np.flatnonzero(session_starts(acts.ts, acts.offsets))
    days = numbered_day(acts.ts[starts], as_of_ms)
    return Cells.of(acts.rows[starts], days, {"sessions": np.ones(len(starts), np.int32)})


def _affinities(engine: Engine, log: ir.Table, labels: Mapping[str, Vocabulary], n_users: int) -> dict[str, Cells]:
    """Label column to its points.

    Almost every row is a group of its own: to sort them here takes a fraction of what the engine needs to group them.
    """
    points = {name: _points(name) for name in labels}
    rows = log.filter(log[CODE].isin(sorted({code for told in points.values() for code in np.flatnonzero(told)})))
    channels = labels["channel"]
    numbered = engine.memtable(pd.DataFrame({"named": channels.ids, "channel_code": np.arange(len(channels))}))
    rows = rows.left_join(numbered, rows["channel"] == numbered["named"])
    codes = {name: rows["channel_code" if name == "channel" else name] for name in labels}
    told = {name: code.cast("int32").fill_null(-1) for name, code in codes.items()}
    table = engine.to_arrow(
        rows.select(rows[USER], rows[CODE], rows[DAY], **{f"label_{k}": v for k, v in told.items()})
    )
    users, kinds, days = (table[name].to_numpy() for name in (USER, CODE, DAY))

    def cells(name: str) -> Cells:
        of_row = points[name][kinds]
        codes = table[f"label_{name}"].to_numpy()
        used = np.flatnonzero((codes >= 0) & (of_row > 0))
        keys = users[used].astype(np.int64) * len(labels[name]) + codes[used]
        return Cells.of(keys, days[used], {POINTS: of_row[used]})

    # Sorting leaves the interpreter free, and there are few labels: two at a time need no more memory than the log did.
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(labels, pool.map(cells, labels), strict=True))


def _points(label: str) -> NDArray[np.int32]:
    """(codes,) int32: the points of an event of each type."""
    (points,) = {feature.points for feature in AFFINITIES if feature.label == label}
    told = np.zeros(1 + max(kind.code for kind in EventType), dtype=np.int32)
    for kind, of_kind in points:
        told[kind.code] = of_kind
    return told


def _to_cells(engine: Engine, expr: ir.Table, key: str, counters: Sequence[str]) -> Cells:
    table = engine.to_arrow(expr)
    return Cells.of(table[key].to_numpy(), table[DAY].to_numpy(), {name: table[name].to_numpy() for name in counters})


def _shown(engine: Engine, impressions: ir.Table, audience: Audience, catalogue: Catalogue, as_of_ms: int) -> ir.Table:
    """Readable impressions in whole numbers: user, item (nothing if unknown), day."""
    who = engine.memtable(audience.readable[["reader_id", "user"]])
    what = engine.memtable(catalogue.numbered)
    rows = impressions.join(who, impressions[Columns.USER_ID] == who["reader_id"])
    rows = rows.left_join(what, rows[Columns.ITEM_ID] == what["numbered_item_id"])
    day = ((rows[Columns.TS] + shift_ms(as_of_ms)) // DAY_MS).cast("int32").name(DAY)
    return rows.select(rows[USER], rows[ITEM], day)


def channels_of(engine: Engine, log: ir.Table) -> list[str]:
    """The channels that a log names."""
    named = log.filter(log["channel"].notnull()).select("channel").distinct()
    return list(engine.to_arrow(named)["channel"].to_pylist())


__all__ = ["Aggregates", "aggregate", "channels_of"]
