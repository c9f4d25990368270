"""Where events come from: each source maps its columns to the contract and states what it does with odd rows.

A source is the module of that name beside this file. It is imported when it is asked for, so that naming all sources
costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import NotFoundError

if TYPE_CHECKING:
    import ibis

    from features.engine import Engine

#: Every known source.
SOURCES = (
    "tables",
    "benchmark_sequences",
    "benchmark_split",
    "cdnow",
    "complete_journey",
    "hillstrom",
    "movielens_1m",
    "online_retail",
    "online_shoppers",
    "open_bandit",
    "retailrocket",
    "session_lists",
)


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


def source(name: str) -> Source:
    """The source of that name; an unknown one is an error that lists the known."""
    if name not in SOURCES:
        raise NotFoundError("source", "must be a known source", name, f"choose one of {', '.join(sorted(SOURCES))}")
    module = import_module(f"{__name__}.{name}")
    return Source(name, module.DESCRIPTION, module.POLICIES, module.ORDER_WITHIN_SESSION, module.read)


__all__ = ["SOURCES", "Source", "source"]
