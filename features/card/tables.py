"""The tables of a data set as they can be read at an instant: what every figure of a card is counted from."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.schema import INTERACTIONS, Columns, EventType


@dataclass(frozen=True, slots=True)
class Tables:
    """Expressions of one engine; ``impressions`` is None where the source had none."""

    events: ir.Table
    items: ir.Table
    users: ir.Table
    impressions: ir.Table | None

    @classmethod
    def of(cls, engine: Engine, dataset: Dataset, as_of_ms: int | None = None) -> Tables:
        """Everything in the data set, or only rows whose time is strictly before ``as_of_ms``.

        Raises:
            ConfigError: No event is that early.
        """
        if as_of_ms is not None and as_of_ms <= dataset.first_ms:
            rule, mend = "must be after the first event", f"events begin at {dataset.first_ms}"
            raise ConfigError("as_of", rule, as_of_ms, mend)

        def readable(rows: ir.Table, time: str) -> ir.Table:
            return rows if as_of_ms is None else rows.filter(rows[time] < as_of_ms)

        impressions = dataset.impressions(engine)
        return cls(
            readable(dataset.events(engine), Columns.TS),
            readable(dataset.items(engine), Columns.VALID_FROM),
            readable(dataset.users(engine), Columns.VALID_FROM),
            None if impressions is None else readable(impressions, Columns.TS),
        )

    @property
    def named(self) -> dict[str, ir.Table]:
        """Name to table, of those that are there."""
        tables = {"events": self.events, "items": self.items, "users": self.users, "impressions": self.impressions}
        return {name: rows for name, rows in tables.items() if rows is not None}

    @property
    def interactions(self) -> ir.Table:
        """Views, carts and purchases."""
        return self.events.filter(self.events[Columns.EVENT_TYPE].isin([kind.value for kind in INTERACTIONS]))

    @property
    def purchases(self) -> ir.Table:
        """Purchases with a column ``order``: those of one user at one instant without an order id are one order."""
        bought = self.events.filter(self.events[Columns.EVENT_TYPE] == EventType.PURCHASE.value)
        return bought.mutate(order=bought[Columns.ORDER_ID].fill_null("@" + bought[Columns.TS].cast("string")))

    @property
    def user_ids(self) -> ir.Table:
        """One row per user who is listed or has events."""
        return ibis.union(self.users[[Columns.USER_ID]], self.events[[Columns.USER_ID]], distinct=True)

    @property
    def item_ids(self) -> ir.Table:
        """One row per item that is listed or has events."""
        named = self.events.filter(self.events[Columns.ITEM_ID].notnull())
        return ibis.union(self.items[[Columns.ITEM_ID]], named[[Columns.ITEM_ID]], distinct=True)


def latest(rows: ir.Table, key: str) -> ir.Table:
    """Of each user or item the row that holds last."""
    newest_first = ibis.window(group_by=key, order_by=ibis.desc(rows[Columns.VALID_FROM]))
    return rows.mutate(_age=ibis.row_number().over(newest_first)).filter(ibis._["_age"] == 0).drop("_age")


__all__ = ["Tables", "latest"]
