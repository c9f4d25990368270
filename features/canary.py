"""A data set with a planted future: rows from an instant on, of every table, that no snapshot as of it may show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ibis
import numpy as np
import pandas as pd

from features.dataset import Dataset
from features.engine import Engine
from features.schema import DAY_MS, NO_CONSENT, Columns, EventType, Purpose

#: The value of every planted text, and the id of the planted item and user.
CANARY = "canary"

#: A price that nothing costs, in cents.
_CENTS = 98_765_431

_KINDS = tuple(kind for kind in EventType if kind not in (EventType.IDENTIFY, EventType.UNIDENTIFY))
_HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Canaried(Dataset):
    """A data set and rows beside it.

    Attributes:
        planted: Table to its planted rows; columns that are not there are missing.
    """

    planted: Mapping[str, pd.DataFrame] = field(default_factory=dict, compare=False)

    def events(self, engine: Engine) -> ibis.Table:
        """With the planted events."""
        return self._with(engine, "events", super().events(engine))

    def items(self, engine: Engine) -> ibis.Table:
        """With the planted rows of items."""
        return self._with(engine, "items", super().items(engine))

    def users(self, engine: Engine) -> ibis.Table:
        """With the planted rows of users."""
        return self._with(engine, "users", super().users(engine))

    def _with(self, engine: Engine, table: str, rows: ibis.Table) -> ibis.Table:
        planted = self.planted[table].reindex(columns=rows.columns)
        return rows.union(engine.memtable(planted).cast(dict(rows.schema().items())).select(rows.columns))


def plant(dataset: Dataset, users: Sequence[str], items: Sequence[str], as_of_ms: int) -> Canaried:
    """The data set, and after ``as_of_ms`` everything that a leak would carry back before it.

    The users do everything there is to do, from the instant itself on, to an item that is listed only then and to those
    that were there; they change their consents and all that they told, and the first turns out to be the second. The
    items change their price, category and all else. A user and an item come in who were never heard of.

    Args:
        users, items: Ids with rows before the instant, at least one of each.
    """
    rng = np.random.default_rng(0)
    events = [
        _event(user, kind, item, as_of_ms + after)
        for user in users
        for after in (0, 7 * DAY_MS)
        for kind in _KINDS
        for item in (CANARY, str(rng.choice(list(items))))
    ]
    events.append(_event(CANARY, EventType.PURCHASE, CANARY, as_of_ms))
    if len(users) > 1:
        merge = _event(users[1], EventType.IDENTIFY, None, as_of_ms + _HOUR_MS)
        events.append({**merge, Columns.ANONYMOUS_ID: users[0]})
    consents = [NO_CONSENT, ",".join(Purpose)]
    told = dict.fromkeys(dataset.attributes, CANARY)
    return Canaried(
        dataset.folder,
        dataset.info,
        dataset.unread,
        planted={
            "events": pd.DataFrame(events),
            "users": pd.DataFrame(
                {Columns.USER_ID: user, Columns.VALID_FROM: as_of_ms, Columns.CONSENTS: consents[place % 2], **told}
                for place, user in enumerate([*users, CANARY])
            ),
            "items": pd.DataFrame(
                {
                    Columns.ITEM_ID: item,
                    Columns.VALID_FROM: as_of_ms,
                    **dict.fromkeys((Columns.CATEGORY, Columns.BRAND, Columns.TITLE), CANARY),
                    Columns.PRICE_CENTS: _CENTS,
                    Columns.AVAILABLE: False,
                }
                for item in [*items, CANARY]
            ),
        },
    )


def sample(engine: Engine, dataset: Dataset, as_of_ms: int, n: int) -> tuple[Dataset, list[str]]:
    """The data set of ``n`` users who had done something before the instant, and their ids, sorted."""
    events, users = dataset.events(engine), dataset.users(engine)
    active = events.filter(events[Columns.TS] < as_of_ms).select(Columns.USER_ID).distinct()
    ids = sorted(engine.to_arrow(active)[Columns.USER_ID].to_pylist())
    if len(ids) <= n:
        return dataset, ids
    # By a hash, so that neither who came first nor the order of files decides.
    order = pd.util.hash_array(np.array(ids, dtype=object)).argsort(kind="stable")
    chosen = {ids[place] for place in order[:n]}
    everybody = {*ids, *engine.to_arrow(users.select(Columns.USER_ID).distinct())[Columns.USER_ID].to_pylist()}
    return replace(dataset, unread=tuple({*dataset.unread, *(everybody - chosen)})), sorted(chosen)


def _event(user: str, kind: EventType, item: str | None, ts: int) -> dict[str, Any]:
    bought = kind in (EventType.PURCHASE, EventType.REFUND)
    return {
        Columns.EVENT_ID: f"{CANARY} {user} {kind.value} {item} {ts}",
        Columns.USER_ID: user,
        Columns.ITEM_ID: item,
        Columns.EVENT_TYPE: kind.value,
        Columns.TS: ts,
        Columns.ORDER_ID: f"{CANARY} {user}" if bought else None,
        Columns.QUANTITY: 7 if bought else None,
        Columns.UNIT_PRICE_CENTS: _CENTS if bought else None,
    }


__all__ = ["CANARY", "Canaried", "plant", "sample"]
