"""The log that features are computed from: readable events in whole numbers, with labels and prices as they stood."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from features.audience import Audience
from features.catalogue import BAND_BORDERS_CENTS, Catalogue
from features.cells import shift_ms
from features.consent import CHANNEL, OFFLINE_CHANNELS, happened_offline
from features.declarations import HOURS, Condition, Counter
from features.engine import Engine
from features.schema import DAY_MS, IDENTITY, Columns, EventType, Purpose

USER, ITEM, CODE, TS, DAY = "user", "item", "code", "ts", "day"


def read_log(engine: Engine, events: ir.Table, audience: Audience, catalogue: Catalogue, as_of_ms: int) -> ir.Table:
    """The readable ones of ``events`` before an instant, one row each, kept by the engine until it closes.

    Columns: user, item (int32), code (int8, ``EventType.code``), ts, day (int64), units, cents (int64), order (text, of
    purchases), category_top, brand, price_band (int32 codes), channel (text), listed, discounted (bool).
    """
    events = events.filter(
        events[Columns.TS] < as_of_ms, events[Columns.EVENT_TYPE].notin([kind.value for kind in IDENTITY])
    )
    who = engine.memtable(audience.readable)
    known = events.join(who, events[Columns.USER_ID] == who["reader_id"])
    # What somebody searched for is not even counted without a word of consent.
    known = known.filter((known[Columns.EVENT_TYPE] != EventType.SEARCH.value) | known[Purpose.SEARCH_HISTORY.value])
    channel = ibis.null("string")
    if _has_channels(engine, events):
        told = known[Columns.PROPERTIES]
        channel = ibis.ifelse(_names_channel(told), told.cast("json")[CHANNEL].str, ibis.null("string"))
        offline = happened_offline(told) | channel.lower().isin(OFFLINE_CHANNELS).fill_null(False)
        known = known.filter(~offline | known[Purpose.OFFLINE.value])
    version = engine.memtable(catalogue.versions)
    of_item = [known[Columns.ITEM_ID] == version["version_item_id"]]
    if len(catalogue.versions) > len(catalogue.items):
        of_item += [known[Columns.TS] >= version["from_ms"], known[Columns.TS] < version["until_ms"]]
    return engine.keep(_columns(known.left_join(version, of_item), channel, as_of_ms))


def _columns(rows: ir.Table, channel: ir.Value, as_of_ms: int) -> ir.Table:
    kind, price, ts = rows[Columns.EVENT_TYPE], rows[Columns.UNIT_PRICE_CENTS], rows[Columns.TS]
    units = rows[Columns.QUANTITY].fill_null(1)
    listed = ts >= rows["listed_ms"]
    list_cents = ibis.ifelse(listed, rows["list_cents"], ibis.null("int64"))
    order = ("#" + rows[Columns.ORDER_ID]).fill_null("@" + ts.cast("string"))
    return rows.select(
        rows[USER],
        rows[ITEM],
        kind.cases(*((one.value, ibis.literal(one.code, "int8")) for one in EventType)).name(CODE),
        ts,
        ((ts + shift_ms(as_of_ms)) // DAY_MS).cast("int32").name(DAY),
        (ts % DAY_MS // 3_600_000).cast("int8").name("hour"),
        # The epoch was a Thursday: with Monday as 0 it is day 3.
        ((ts // DAY_MS + 3) % 7 >= 5).name(Condition.WEEKEND.value),
        units.name("units"),
        (units * price.fill_null(0)).name("cents"),
        ibis.ifelse(kind == EventType.PURCHASE.value, order, ibis.null("string")).name("order"),
        ibis.ifelse(listed, rows["category_top"], ibis.null("int32")).name("category_top"),
        ibis.ifelse(listed, rows["brand"], ibis.null("int32")).name("brand"),
        price_band(ibis.coalesce(price, list_cents)).name("price_band"),
        channel.name("channel"),
        (price.notnull() & list_cents.notnull()).name(Condition.LISTED.value),
        (price < list_cents).fill_null(False).name(Condition.DISCOUNTED.value),
    )


def price_band(cents: ir.IntegerValue) -> ir.IntegerValue:
    """The number of the band that a price falls into: how many borders it reaches."""
    bands = [(cents < border, ibis.literal(band, "int32")) for band, border in enumerate(BAND_BORDERS_CENTS)]
    return ibis.cases((cents.isnull(), ibis.null("int32")), *bands, else_=ibis.literal(len(bands), "int32"))


def selected(log: ir.Table, counter: Counter) -> ir.BooleanValue:
    """The rows of the log that add to a counter of events."""
    codes = [kind.code for kind in counter.events]
    chosen = log[CODE] == codes[0] if len(codes) == 1 else log[CODE].isin(codes)
    if counter.condition is None:
        return chosen
    if counter.condition in HOURS:
        first, last = HOURS[counter.condition]
        return chosen & (log["hour"] >= first) & (log["hour"] < last)
    return chosen & log[counter.condition.value]


def orders(log: ir.Table) -> ir.Table:
    """One row per user and order, on the day of its last line.

    Lines of one instant without an order id are one order.
    """
    bought = log.filter(log["order"].notnull())
    return bought.group_by([USER, "order"]).aggregate(day=bought[DAY].max())


def _has_channels(engine: Engine, events: ir.Table) -> bool:
    return bool(engine.value(_names_channel(events[Columns.PROPERTIES]).any()))


def _names_channel(properties: ir.StringValue) -> ir.BooleanValue:
    return properties.contains(f'"{CHANNEL}"').fill_null(False)


__all__ = ["CODE", "DAY", "ITEM", "TS", "USER", "orders", "price_band", "read_log", "selected"]
