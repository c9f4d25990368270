"""Where events come from: each source maps its columns to the contract and states what it does with odd rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ibis

from features.engine import Engine
from features.errors import NotFoundError
from features.sources import online_retail, retailrocket, tables


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of folder.

    Attributes:
        name: As in ``--source``.
        description: What the folder holds.
        policies: What the source does with rows that are not simply events, in words.
        order_within_session: Whether the times tell the order of events inside one visit; else L4 is not measurable.
        read: (engine, folder) to table name to expression: contract columns, ``source_file``, ``source_row``, and
            ``reject`` with the name of the policy that refuses the row, or nothing.
    """

    name: str
    description: str
    policies: Mapping[str, str]
    order_within_session: bool
    read: Callable[[Engine, Path], dict[str, ibis.Table]]


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source("tables", tables.DESCRIPTION, tables.POLICIES, tables.ORDER_WITHIN_SESSION, tables.read),
        Source(
            "online_retail",
            online_retail.DESCRIPTION,
            online_retail.POLICIES,
            online_retail.ORDER_WITHIN_SESSION,
            online_retail.read,
        ),
        Source(
            "retailrocket",
            retailrocket.DESCRIPTION,
            retailrocket.POLICIES,
            retailrocket.ORDER_WITHIN_SESSION,
            retailrocket.read,
        ),
    )
}


def source(name: str) -> Source:
    """The source of that name; an unknown one is an error that lists the known."""
    if name not in SOURCES:
        raise NotFoundError("source", "must be a known source", name, f"choose one of {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


__all__ = ["SOURCES", "Source", "source"]
