"""A snapshot that also says in words which segments its users are in, as links of a chain from large to small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.engine import Engine
from features.errors import ConfigError, InputError
from features.remember import Served
from features.schema import MISSING
from features.segments.columns import Row, schema_of
from features.segments.definitions import SegmentRule, Segments, make_segments, read_segments
from features.segments.membership import member_of, memberships
from features.segments.rfm import RFM, rfm_segment, rfm_segments
from features.snapshot import Snapshot

#: The column of the outermost segment; the one inside it stands in ``segment_2``, and so on.
SEGMENT = "segment"

Rules = Path | Sequence[SegmentRule | Mapping[str, Any]]


def segmented(engine: Engine, snapshot: Snapshot, rules: Rules = ()) -> Served:
    """The snapshot with text columns of segments in its user matrix and, for models to group by, in its histories.

    ``rfm_segment`` is the user's segment by recency, frequency and monetary value, which rules may read too;
    ``segment``, ``segment_2``, ... are those of ``lineages``.

    Args:
        engine: Computes the rules' conditions.
        rules: Segments as they are written, or the YAML file in which they are.

    Raises:
        InputError: The user matrix has a column of that name already.
        ConfigError, NotFoundError: As in ``make_segments``, ``read_segments`` and ``lineages``.
    """
    users = _with(snapshot.user_matrix, rfm_segments(snapshot.user_matrix).to_frame())
    schema = schema_of(users)
    segments = read_segments(rules, schema) if isinstance(rules, Path) else make_segments(rules, schema)
    if len(segments):
        users = _with(users, lineages(memberships(engine, users, segments), segments))
    added = users.columns.drop(snapshot.user_matrix.columns)
    groups = {name: users[name].to_numpy(dtype=object) for name in added}
    sequences = replace(snapshot.sequences, attributes={**snapshot.sequences.attributes, **groups})
    return Served.of(snapshot, user_matrix=users, sequences=sequences, segments=segments)


def live_segments(segments: Segments) -> Callable[[Row], tuple[str, tuple[str, ...]]]:
    """The function from one row of the user matrix to the user's RFM segment and to the segments that they belong to.

    The names are in the order in which they were written; nobody who is not in the segment's parent belongs to it.
    """
    members = member_of(segments)

    def function(row: Row) -> tuple[str, tuple[str, ...]]:
        rfm = rfm_segment(row)
        found = members({**row, RFM: rfm})
        return rfm, tuple(name for name in segments.names if name in found)

    return function


def lineages(members: pd.DataFrame, segments: Segments) -> pd.DataFrame:
    """Of the segments that a user is a member of, one line from the outermost inwards: at each depth one name.

    Of several at one depth the first that was written counts, and below it only its own children.

    Args:
        members: (n users, n segments) bool, as from ``memberships``.

    Returns:
        (n users, depth of the deepest segment) text, ``MISSING`` from where the user's line has ended.

    Raises:
        ConfigError: A segment is called ``MISSING``.
    """
    if MISSING in segments.names:
        raise ConfigError("segments: name", "must not be the word for what is not known", MISSING, "rename it")
    lines = {name: segments.lineage(name) for name in segments.names}
    columns: list[np.ndarray] = []
    for depth in range(1, max(map(len, lines.values()), default=0) + 1):
        column = np.full(len(members), MISSING, dtype=object)
        for name, line in lines.items():
            if len(line) == depth:
                inside = members[name].to_numpy() & (column == MISSING)
                if depth > 1:
                    inside &= columns[-1] == line[1]
                column[inside] = name
        columns.append(column)
    names = [SEGMENT if depth == 1 else f"{SEGMENT}_{depth}" for depth in range(1, len(columns) + 1)]
    return pd.DataFrame(dict(zip(names, columns, strict=True)), index=members.index, dtype="str")


def _with(users: pd.DataFrame, added: pd.DataFrame) -> pd.DataFrame:
    taken = users.columns.intersection(added.columns)
    if len(taken):
        raise InputError(f"users: column {taken[0]!r}", "must not have the name of a segment column", mend="rename it")
    return pd.concat([users, added], axis="columns")


__all__ = ["SEGMENT", "Rules", "lineages", "live_segments", "segmented"]
