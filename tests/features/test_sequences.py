"""Ragged batches against lists of lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.sequences import Histories, Ragged, positions


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**31 - 1) | st.integers(0, 3))))
def test_distinct_values_of_each_row_against_sets(pairs: list[tuple[int, int]]) -> None:
    rows, values = (np.array([pair[side] for pair in pairs], dtype=np.int32) for side in (0, 1))
    found = Ragged.distinct(rows, values, 6)
    expected = [sorted({value for row, value in pairs if row == number}) for number in range(6)]
    assert [found.values[a:b].tolist() for a, b in pairwise(found.offsets)] == expected
    assert (found.values.dtype, found.offsets.dtype) == (np.int32, np.int64)


class Row(NamedTuple):
    """One question as plain values: user, as_of_ms, snapshot_ms, [(item, event type, ts)]."""

    user: str
    as_of: int
    snapshot: int
    events: list[tuple[int, int, int]]


def batch(rows: list[Row], *, anchors: bool = True) -> Histories:
    flat = [event for row in rows for event in row.events]
    return Histories(
        user_ids=np.array([row.user for row in rows], dtype=object),
        as_of_ms=np.array([row.as_of for row in rows], np.int64),
        snapshot_ms=np.array([row.snapshot for row in rows], np.int64),
        offsets=np.cumsum([0, *(len(row.events) for row in rows)]).astype(np.int64),
        items=np.array([event[0] for event in flat], np.int32),
        event_types=np.array([event[1] for event in flat], np.int8),
        ts=np.array([event[2] for event in flat], np.int64),
        attributes={"country": np.array([row.user[::-1] for row in rows], dtype=object)},
        anchors=np.array([len(row.user) for row in rows], np.int32) if anchors else None,
    )


def plain(histories: Histories) -> list[Row]:
    """Back to plain values, by ``offsets`` alone."""
    assert histories.anchors is None or histories.anchors.tolist() == [len(user) for user in histories.user_ids]
    assert histories.attributes["country"].tolist() == [user[::-1] for user in histories.user_ids]
    rows = []
    bounds = list(pairwise(histories.offsets.tolist()))
    for row, (start, stop) in enumerate(bounds):
        events = list(
            zip(
                histories.items[start:stop].tolist(),
                histories.event_types[start:stop].tolist(),
                histories.ts[start:stop].tolist(),
                strict=True,
            )
        )
        instants = int(histories.as_of_ms[row]), int(histories.snapshot_ms[row])
        rows.append(Row(histories.user_ids[row], *instants, events))
    assert len(histories) == len(rows) and histories.lengths.tolist() == [len(row.events) for row in rows]
    assert histories.rows.tolist() == [at for at, row in enumerate(rows) for _ in row.events]
    return rows


events = st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 6), st.integers(0, 99)), max_size=6)
questions = st.lists(
    st.builds(
        lambda user, snapshot, some: Row(user, 100, snapshot, sorted(some, key=lambda event: event[2])),
        st.text("ab", min_size=1, max_size=3),
        st.integers(0, 100),
        events,
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(rows=questions, length=st.integers(0, 7), data=st.data())
def test_selections_against_lists(rows: list[Row], length: int, data: st.DataObject) -> None:
    histories = batch(rows, anchors=data.draw(st.booleans()))
    assert plain(histories) == rows

    def only(keep: Callable[[Row], list[tuple[int, int, int]]]) -> list[Row]:
        return [row._replace(events=keep(row)) for row in rows]

    assert plain(histories.past()) == only(lambda row: [event for event in row.events if event[2] < row.snapshot])
    assert plain(histories.live()) == only(lambda row: [event for event in row.events if event[2] >= row.snapshot])
    assert plain(histories.tail(length)) == only(lambda row: row.events[max(0, len(row.events) - length) :])
    assert plain(histories.where(histories.items > 3)) == only(lambda row: [e for e in row.events if e[0] > 3])
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    assert plain(histories.take(np.array(picked, np.int64))) == [rows[at] for at in picked]


@settings(max_examples=60, deadline=None)
@given(rows=questions, live_fresh_s=st.integers(0, 11))
def test_what_is_live_is_since_the_snapshot_and_fresh(rows: list[Row], live_fresh_s: int) -> None:
    seconds = [(row, [(item, kind, ts * 100) for item, kind, ts in row.events]) for row in rows]
    rows = [Row(row.user, row.as_of * 100, row.snapshot * 100, events) for row, events in seconds]

    def is_live(row: Row, ts: int) -> bool:
        return ts >= row.snapshot and row.as_of - ts <= 1_000 * live_fresh_s

    histories = replace(batch(rows), live_fresh_s=live_fresh_s)
    assert plain(histories.live()) == [
        row._replace(events=[e for e in row.events if is_live(row, e[2])]) for row in rows
    ]
    picked = np.arange(len(rows))[::-1]
    assert plain(histories.take(picked).live()) == plain(histories.live())[::-1]


@settings(max_examples=60, deadline=None)
@given(rows=questions, gap_s=st.integers(1, 3))
def test_visits_against_a_loop(rows: list[Row], gap_s: int) -> None:
    rows = [row._replace(events=[(item, kind, ts * 100) for item, kind, ts in row.events]) for row in rows]
    visit, expected = -1, []
    for row in rows:
        for at, event in enumerate(row.events):
            visit += at == 0 or event[2] - row.events[at - 1][2] >= gap_s * 1000
            expected.append(visit)
    assert batch(rows).visits(gap_s).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=6), data=st.data())
def test_ragged_against_lists(rows: list[list[int]], data: st.DataObject) -> None:
    numbers = np.array([at for at, row in enumerate(rows) for _ in row], np.int64)
    values = np.array([value for row in rows for value in row], np.int32)
    ragged = Ragged.from_rows(numbers, values, len(rows))
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows] and ragged.rows.tolist() == numbers.tolist()
    picked = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    taken = ragged.take(np.array(picked, np.int64))
    assert [taken.values[a:b].tolist() for a, b in pairwise(taken.offsets)] == [rows[at] for at in picked]
    flat = [int(ragged.offsets[at]) + place for at in picked for place in range(len(rows[at]))]
    assert positions(ragged.offsets, np.array(picked, np.int64)).tolist() == flat


@pytest.mark.parametrize("gap_s", [1, 1_800])
def test_the_next_user_begins_a_visit_of_their_own(gap_s: int) -> None:
    rows = [Row("a", 9, 9, [(1, 0, 5)]), Row("b", 9, 9, []), Row("c", 9, 9, [(1, 0, 5), (2, 0, 6)])]
    assert batch(rows).visits(gap_s).tolist() == [0, 1, 1]
