"""Segments as text columns: one line of names per user, against a plain loop, and the same when read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.remember import Served
from features.schema import MISSING
from features.segments.columns import Type
from features.segments.definitions import Segments, make_segments
from features.segments.rfm import rfm_segments
from features.segments.segmented import lineages, live_segments, segmented
from features.snapshot import Snapshot, build_snapshot

RULES = [
    {"name": "inner", "parent": "buyers", "where": 'funnel_stage = "purchase"'},
    {"name": "buyers", "where": 'rfm_segment != "no purchase"'},
    {"name": "browsers", "where": "views_30d > 0"},
    {"name": "grocers", "parent": "browsers", "where": 'top_category = "grocery"'},
]


@pytest.fixture(scope="module")
def snapshot(shop_data: Dataset) -> Snapshot:
    with Engine.duckdb(threads=1) as engine:
        return build_snapshot(engine, shop_data, shop_data.last_ms + 1)


def add(snapshot: Snapshot, rules: Any = ()) -> Served:
    with Engine.duckdb(threads=1) as engine:
        return segmented(engine, snapshot, rules)


def line(members: dict[str, bool], children: dict[str | None, list[str]]) -> list[str]:
    """The user's line: at each depth the first name of which they are a member."""
    found: list[str] = []
    at: str | None = None
    while inside := [name for name in children.get(at, []) if members[name]]:
        at = inside[0]
        found.append(at)
    return found


@given(data=st.data())
def test_lines_against_a_plain_loop(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 7))
    parents = [data.draw(st.one_of(st.none(), st.integers(0, at - 1))) if at else None for at in range(n)]
    order = data.draw(st.permutations(range(n)))
    rules = [
        {"name": f"s{at}", "where": "x > 0"} | ({} if parents[at] is None else {"parent": f"s{parents[at]}"})
        for at in order
    ]
    segments = make_segments(rules, {"x": Type.NUMBER})
    members = pd.DataFrame(
        data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=5)),
        columns=list(segments.names),
    )
    for name in segments.parents_first:  # only members of the parent are members
        if (parent := segments[name].parent) is not None:
            members[name] &= members[parent]
    children: dict[str | None, list[str]] = {}
    for segment in segments:
        children.setdefault(segment.parent, []).append(segment.name)
    found = lineages(members, segments)
    depth = max(len(segments.lineage(name)) for name in segments.names)
    assert list(found.columns) == ["segment", *(f"segment_{at}" for at in range(2, depth + 1))]
    for row, columns in zip(members.to_dict("records"), found.to_numpy().tolist(), strict=True):
        expected = line(row, children)  # type: ignore[arg-type]
        assert columns == expected + [MISSING] * (depth - len(expected))


def test_no_rules_make_no_lines() -> None:
    assert lineages(pd.DataFrame(index=["u"]), Segments([])).shape == (1, 0)


def test_a_snapshot_says_which_segments_its_users_are_in(snapshot: Snapshot) -> None:
    found = add(snapshot, RULES)
    users = found.user_matrix
    assert list(users.columns) == [*snapshot.user_matrix.columns, "rfm_segment", "segment", "segment_2"]
    pd.testing.assert_frame_equal(users[list(snapshot.user_matrix.columns)], snapshot.user_matrix)
    assert users["rfm_segment"].tolist() == rfm_segments(snapshot.user_matrix).tolist()
    buys = users["purchase_recency_days"].notna().to_numpy()
    browses = ~buys & (users["views_30d"] > 0).to_numpy()
    assert users["segment"].tolist() == np.where(buys, "buyers", np.where(browses, "browsers", MISSING)).tolist()
    inner = buys & (users["funnel_stage"] == "purchase").to_numpy()
    grocers = browses & (users["top_category"] == "grocery").to_numpy()
    assert inner.any()
    assert grocers.any()
    assert users["segment_2"].tolist() == np.where(inner, "inner", np.where(grocers, "grocers", MISSING)).tolist()


def test_rules_written_and_read_again_say_of_one_row_what_the_table_says(snapshot: Snapshot) -> None:
    found = add(snapshot, RULES)
    assert found.segments is not None
    again = Segments.from_json(json.loads(json.dumps(found.segments.as_json())))
    assert [segment.rule for segment in again] == [segment.rule for segment in found.segments]
    live = live_segments(again)
    for record in found.user_matrix.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        line = [row.pop(name) for name in ("segment", "segment_2")]
        rfm, names = row.pop("rfm_segment"), [name for name in line if name != MISSING]
        told = live(row)
        assert told[0] == rfm
        assert set(names) <= set(told[1]) and bool(names) == bool(told[1])


def test_histories_carry_every_text_column_and_the_snapshot_names_what_was_told(snapshot: Snapshot) -> None:
    found = add(snapshot, RULES)
    assert found.attributes == snapshot.attributes == ("country", "gender", "age_band")
    texts = [name for name in found.user_matrix if not pd.api.types.is_numeric_dtype(found.user_matrix[name])]
    assert list(found.sequences.attributes) == texts
    assert {"top_category", "funnel_stage", "rfm_segment", "segment", "segment_2"} <= set(texts)
    for name, values in found.sequences.attributes.items():
        assert values.tolist() == found.user_matrix[name].tolist()


def test_it_is_the_same_when_it_is_read_back_or_done_again(snapshot: Snapshot, tmp_path: Path) -> None:
    found = add(snapshot, RULES)
    found.save(tmp_path / "snapshot")
    loaded = Snapshot.load(tmp_path / "snapshot")
    assert loaded.digest == found.digest == add(snapshot, RULES).digest != snapshot.digest
    for name, values in found.sequences.attributes.items():
        assert loaded.sequences.attributes[name].tolist() == values.tolist()


def test_rules_come_from_a_file_too(snapshot: Snapshot, tmp_path: Path) -> None:
    file = tmp_path / "segments.yaml"
    file.write_text('segments:\n  - {name: grocers, where: top_category = "grocery"}\n')
    rules = [{"name": "grocers", "where": 'top_category = "grocery"'}]
    assert add(snapshot, file).digest == add(snapshot, rules).digest


def test_names_that_are_taken_are_refused(snapshot: Snapshot) -> None:
    with pytest.raises(InputError, match=r"'rfm_segment'.*rename it"):
        add(add(snapshot))
    with pytest.raises(ConfigError, match="must not be the word for what is not known"):
        add(snapshot, [{"name": MISSING, "where": "views_30d > 0"}])
