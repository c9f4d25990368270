"""Movements between segments, against counting one user at a time."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.segments.transitions import transitions


def test_who_stayed_moved_entered_and_left() -> None:
    before = pd.Series({"a": "new", "b": "new", "c": "loyal", "d": "loyal", "e": None}, dtype="str")
    after = pd.Series({"a": "new", "b": "loyal", "c": "lost", "f": "new", "e": "new"}, dtype="str")
    counts = transitions(before, after, ["loyal", "new", "nobody"])
    assert list(counts.index) == list(counts.columns) == ["loyal", "new", "nobody", "lost", None]
    assert (counts.index.name, counts.columns.name) == ("before", "after")
    assert counts.to_numpy().tolist() == [
        [0, 0, 0, 1, 1],  # loyal: c is lost, d left
        [1, 1, 0, 0, 0],  # new: b is loyal, a stayed
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 2, 0, 0, 0],  # e and f entered
    ]


names = st.none() | st.sampled_from(["new", "loyal", "lost", "at risk"])
sides = st.dictionaries(st.integers(0, 15).map(str), names, max_size=12)


@settings(max_examples=50, deadline=None)
@given(before=sides, after=sides, order=st.lists(st.sampled_from(["loyal", "champions"]), unique=True))
def test_rows_and_columns_add_up(before: dict[str, str], after: dict[str, str], order: list[str]) -> None:
    counts = transitions(pd.Series(before, dtype=object), pd.Series(after, dtype=object), order)
    users = before.keys() | after.keys()
    expected = Counter((before.get(user), after.get(user)) for user in users)
    found = {
        (one, other): counts.iloc[row, column]
        for row, one in enumerate(counts.index)
        for column, other in enumerate(counts.columns)
    }
    assert {pair: n for pair, n in found.items() if n} == expected
    sizes = Counter(before.get(user) for user in users)
    assert dict(zip(counts.index, counts.sum(axis=1), strict=True)) == dict.fromkeys(counts.index, 0) | sizes
    assert int(counts.to_numpy().sum()) == len(users)


def test_a_user_has_one_segment() -> None:
    one, two = pd.Series(["new"], index=["a"]), pd.Series(["new", "lost"], index=["a", "a"])
    with pytest.raises(InputError, match="after must have one segment per user, received 'a'"):
        transitions(one, two)
