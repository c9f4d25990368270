"""RFM by hand and against plain counting: the declared scores, the names, and one row like the whole table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declarations import Score
from features.definitions import USER_FEATURES
from features.derived import Population, derive
from features.errors import InputError
from features.segments.rfm import GRID, NO_PURCHASE, RFM_SEGMENTS, rfm_segment, rfm_segments

MEASURES = ("purchase_recency_days", "frequency", "monetary_cents")
SCORES = ("recency_score", "frequency_score", "monetary_score")
DECLARED = tuple(feature for feature in USER_FEATURES if isinstance(feature, Score))


def users(*rows: tuple[int | None, int | None, int | None]) -> pd.DataFrame:
    """The columns that segments are read from, as the pipeline derives them from the three measures."""
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    values = {name: np.array(column, dtype=np.float64) for name, column in zip(MEASURES, columns, strict=True)}
    derive(DECLARED, values, Population(), learn=True)
    return pd.DataFrame(values, index=pd.Index([f"u{at}" for at in range(len(rows))], name="user_id"))


def scored(*scores: int | None) -> pd.DataFrame:
    return pd.DataFrame([scores], columns=list(SCORES), index=["u"], dtype="Float64")


def counted(value: int, others: list[int], *, fewer_is_better: bool = False) -> int:
    """The definition, word for word: the fifths of buyers who are strictly below, counted from the better end."""
    below = 5 * sum(other < value for other in others) // len(others)
    return 5 - below if fewer_is_better else 1 + below


def test_the_scores_are_the_declared_features() -> None:
    assert tuple(score.name for score in DECLARED) == SCORES
    assert tuple(score.feature for score in DECLARED) == MEASURES


def test_ten_buyers_fill_five_scores_two_by_two() -> None:
    matrix = users(*((day, 11 - day, 100 * (11 - day)) for day in range(1, 11)))
    for score in SCORES:
        assert matrix[score].tolist() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    names = ["champions"] * 2 + ["loyal"] * 2 + ["needs attention"] * 2 + ["hibernating"] * 4
    assert rfm_segments(matrix).tolist() == names


def test_who_bought_as_lately_as_everybody_has_bought_lately() -> None:
    assert rfm_segments(users(*[(5, 1, 100)] * 6, *[(5, 2, 100)] * 4)).tolist() == ["new"] * 6 + ["potential loyal"] * 4


def test_who_never_bought_is_a_segment_and_moves_no_border() -> None:
    buyers = [(day, 11 - day, 100 * (11 - day)) for day in range(1, 11)]
    without, with_others = users(*buyers), users(*buyers, *[(None, 0, 0)] * 50)
    assert rfm_segments(with_others).tolist() == rfm_segments(without).tolist() + [NO_PURCHASE] * 50
    assert rfm_segment({}) == rfm_segment({"recency_score": None, "frequency_score": None}) == NO_PURCHASE


def test_a_shop_without_buyers() -> None:
    assert rfm_segments(users((None, 0, 0), (None, None, None))).tolist() == [NO_PURCHASE] * 2
    assert rfm_segments(users()).tolist() == []


def test_where_nothing_is_known_of_money_frequency_alone_tells_the_value() -> None:
    """A shop whose log has no prices: its most frequent buyers are not half as good for that."""
    matrix = users(*((day, 11 - day, 0) for day in range(1, 11)))
    assert matrix["monetary_score"].isna().all()
    priced = users(*((day, 11 - day, 11 - day) for day in range(1, 11)))
    assert rfm_segments(matrix).tolist() == rfm_segments(priced).tolist()
    assert rfm_segment({"recency_score": 5, "frequency_score": 5}) == "champions"


@pytest.mark.parametrize(
    ("scores", "name"),
    [
        ((5, 5, 5), "champions"),
        ((5, 4, 3), "champions"),
        ((4, 5, 5), "loyal"),
        ((3, 4, 4), "loyal"),
        ((5, 1, 1), "new"),
        ((4, 1, 1), "promising"),
        ((4, 1, 3), "potential loyal"),
        ((3, 3, 3), "needs attention"),
        ((3, 1, 2), "about to sleep"),
        ((2, 3, 4), "at risk"),
        ((1, 5, 5), "cannot lose"),
        ((1, 1, 1), "hibernating"),
        ((2, 3, None), "at risk"),
        ((None, None, None), NO_PURCHASE),
    ],
)
def test_the_names(scores: tuple[int | None, int | None, int | None], name: str) -> None:
    assert rfm_segments(scored(*scores)).tolist() == [name]
    assert rfm_segment(dict(zip(SCORES, scores, strict=True))) == name


def test_every_name_is_listed_once_and_is_in_the_grid() -> None:
    assert sorted(RFM_SEGMENTS) == sorted({name for row in GRID for name in row} | {NO_PURCHASE})
    assert [len(row) for row in GRID] == [5] * 5


values = st.integers(0, 12)
buyer = st.tuples(values, st.integers(1, 6), st.integers(1, 12)) | st.tuples(
    st.none(), st.none() | st.just(0), st.just(0)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(buyer, min_size=1, max_size=40))
def test_scores_are_counts_and_one_row_is_like_the_table(rows: list[tuple[Any, Any, Any]]) -> None:
    matrix = users(*rows)
    bought = [row for row in rows if row[0] is not None]
    segments, records = rfm_segments(matrix), matrix.to_dict("records")
    for at, row in enumerate(rows):
        assert rfm_segment({str(name): value for name, value in records[at].items()}) == segments.iloc[at]
        if row[0] is None:
            assert matrix[list(SCORES)].iloc[at].isna().all()
            continue
        columns = list(zip(*bought, strict=True))
        expected = [counted(row[part], list(columns[part]), fewer_is_better=part == 0) for part in range(3)]
        assert matrix[list(SCORES)].iloc[at].tolist() == expected
        assert segments.iloc[at] == GRID[5 - expected[0]][int(np.floor((expected[1] + expected[2]) / 2 + 0.5)) - 1]


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="column 'frequency_score' is missing"):
        rfm_segments(users((1, 1, 1)).drop(columns="frequency_score"))
    rule = "'frequency_score' must not be missing where recency_score is known"
    with pytest.raises(InputError, match=rule):
        rfm_segments(scored(5, None, 5))
    with pytest.raises(InputError, match=rule):
        rfm_segment({"recency_score": 3})
