"""Who an anonymous visitor turned out to be: merges told by events, reversible, the same in whatever order they arrive.

``identify`` says that the visitor ``anonymous_id`` is the user ``user_id``; ``unidentify`` takes back what was said of
the same two ids up to its own instant. Of two users named for one visitor the one named last counts, and the earlier
again once the later is taken back. As of any instant after the word, all events of the visitor, past and future, count
for the user. An event that merely carries both ids merges nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import pandas as pd

from features.engine import Engine
from features.schema import IDENTITY, Columns, EventType

_NEVER = -1


class Link(NamedTuple):
    """The user that a visitor is, and the instant of the latest event that said so."""

    user_id: str
    ts: int


def identities(engine: Engine, events: ir.Table, as_of_ms: int) -> pd.DataFrame:
    """Whom the events before ``as_of_ms`` merge.

    Args:
        events: With ``user_id``, ``anonymous_id``, ``event_type`` and ``ts``; order and repetition do not matter.

    Returns:
        One row per merged visitor, by ``anonymous_id``: the visitor and the ``user_id`` at the end of its chain.
    """
    visitor, user, ts = (events[name] for name in (Columns.ANONYMOUS_ID, Columns.USER_ID, Columns.TS))
    told = events.filter(events[Columns.EVENT_TYPE].isin([kind.value for kind in IDENTITY]), ts < as_of_ms)
    pairs = told.group_by([visitor.name("visitor"), user.name("user")]).aggregate(
        said=ts.max(where=told[Columns.EVENT_TYPE] == EventType.IDENTIFY.value).fill_null(_NEVER),
        unsaid=ts.max(where=told[Columns.EVENT_TYPE] == EventType.UNIDENTIFY.value).fill_null(_NEVER),
    )
    standing = pairs.filter(pairs["said"] > pairs["unsaid"])
    last = ibis.row_number().over(group_by="visitor", order_by=[ibis.desc("said"), ibis.desc("user")])
    links = engine.to_arrow(standing.mutate(place=last).filter(ibis._["place"] == 0))
    visitors, users, instants = (links[name].to_pylist() for name in ("visitor", "user", "said"))
    merged = merges(dict(zip(visitors, map(Link, users, instants), strict=True)))
    return pd.DataFrame(sorted(merged.items()), columns=[Columns.ANONYMOUS_ID, Columns.USER_ID], dtype="str")


def resolved(engine: Engine, rows: ir.Table, merged: pd.DataFrame) -> ir.Table:
    """Events or impressions with each visitor's ``user_id`` replaced by the user's; identity events are left out.

    Args:
        rows: With ``user_id``; columns and their order stay.
        merged: From ``identities``. If nobody is merged, nothing is joined.
    """
    if Columns.EVENT_TYPE in rows.columns:
        rows = rows.filter(rows[Columns.EVENT_TYPE].notin([kind.value for kind in IDENTITY]))
    if merged.empty:
        return rows
    known = engine.memtable(merged.set_axis(["_visitor", "_user"], axis="columns"))
    beside = rows.left_join(known, rows[Columns.USER_ID] == known["_visitor"])
    return beside.mutate(**{Columns.USER_ID: beside["_user"].coalesce(beside[Columns.USER_ID])})[rows.columns]


def resolved_users(engine: Engine, users: ir.Table, merged: pd.DataFrame) -> ir.Table:
    """The rows of users who stand for themselves: of a merged visitor the user's own attributes count, not these."""
    if merged.empty:
        return users
    visitors = engine.memtable(merged[[Columns.ANONYMOUS_ID]].set_axis(["_visitor"], axis="columns"))
    return users.anti_join(visitors, users[Columns.USER_ID] == visitors["_visitor"])


def merges(links: Mapping[str, Link]) -> dict[str, str]:
    """Every linked visitor that is somebody else, and who: the end of its chain, as in ``follow``.

    >>> merges({"a": Link("b", 1), "b": Link("c", 2)})
    {'a': 'c', 'b': 'c'}
    """
    ends: dict[str, str] = {}
    for visitor in links:
        follow(links, visitor, ends)
    return {visitor: user for visitor, user in ends.items() if visitor != user}


def follow(links: Mapping[str, Link], start: str, ends: dict[str, str]) -> str:
    """The id at the end of the chain of links that begins at ``start``.

    Of links that run in a circle the latest (of one instant, the one of the greatest visitor's id) is ignored: it was
    the one that closed it.

    Args:
        ends: Ends found before; the ones found now are added.

    >>> follow({"a": Link("b", 1), "b": Link("a", 2)}, "a", {})
    'b'
    """
    path: dict[str, Link] = {}
    at = start
    while at not in ends and at not in path and at in links:
        path[at] = links[at]
        at = path[at].user_id
    if at in path:
        steps = list(path)
        at = max(steps[steps.index(at) :], key=lambda visitor: (path[visitor].ts, visitor))
    end = ends.get(at, at)
    ends.update(dict.fromkeys(path, end))
    return end


class Identities:
    """The same for events that come one by one: after the same events ``merges`` equals ``identities``."""

    def __init__(self) -> None:
        self._told: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        self._links: dict[str, Link] = {}

    def note(self, event_type: EventType, anonymous_id: str, user_id: str, ts: int) -> None:
        """Take in an identity event; in any order, any number of times."""
        said, unsaid = self._told[anonymous_id].get(user_id, (_NEVER, _NEVER))
        if event_type is EventType.IDENTIFY:
            said = max(said, ts)
        elif event_type is EventType.UNIDENTIFY:
            unsaid = max(unsaid, ts)
        else:
            raise ValueError(f"{event_type} says nothing of who somebody is")
        self._told[anonymous_id][user_id] = said, unsaid
        standing = [(said, user) for user, (said, unsaid) in self._told[anonymous_id].items() if said > unsaid]
        if standing:
            ts, user = max(standing)
            self._links[anonymous_id] = Link(user, ts)
        else:
            self._links.pop(anonymous_id, None)

    def user_of(self, user_id: str) -> str:
        """The user for whom events of ``user_id`` count: itself unless it is a merged visitor's."""
        return follow(self._links, user_id, {})

    def merges(self) -> dict[str, str]:
        """All merged visitors and their users."""
        return merges(self._links)


__all__ = ["Identities", "Link", "follow", "identities", "merges", "resolved", "resolved_users"]
