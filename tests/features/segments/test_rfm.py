"""RFM by hand and against plain counting: scores, names, and one row like the whole table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import InputError
from features.segments.rfm import GRID, NO_PURCHASE, RFM_SEGMENTS, Rfm, fit_rfm

NAMES = ("purchase_recency_days", "frequency", "monetary_cents")
SCORES = ["recency_score", "frequency_score", "monetary_score"]


def users(*rows: tuple[int | None, int | None, int | None]) -> pd.DataFrame:
    index = pd.Index([f"u{at}" for at in range(len(rows))], name="user_id")
    return pd.DataFrame(rows, columns=NAMES, index=index).astype("Int64")


def counted(value: int, others: list[int], *, fewer_is_better: bool = False) -> int:
    """The definition, word for word: one plus the fifths of buyers who are strictly worse."""
    worse = sum(other > value if fewer_is_better else other < value for other in others)
    return 1 + 5 * worse // len(others)


def test_ten_buyers_fill_five_scores_two_by_two() -> None:
    matrix = users(*((day, 11 - day, 100 * (11 - day)) for day in range(1, 11)))
    scores = fit_rfm(matrix).scores(matrix)
    assert scores["recency_score"].tolist() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert scores["frequency_score"].tolist() == scores["monetary_score"].tolist() == scores["recency_score"].tolist()
    assert list(scores.columns) == SCORES
    assert {str(dtype) for dtype in scores.dtypes} == {"Int64"}


def test_equal_values_have_equal_scores() -> None:
    matrix = users(*[(5, 1, 100)] * 6, *[(5, 2, 100)] * 4)
    scores = fit_rfm(matrix).scores(matrix)
    assert scores["recency_score"].tolist() == [1] * 10
    assert scores["frequency_score"].tolist() == [1] * 6 + [4] * 4  # six of ten are worse: three fifths
    assert scores["monetary_score"].tolist() == [1] * 10


def test_who_never_bought_is_a_segment_and_moves_no_border() -> None:
    buyers = [(day, 11 - day, 100 * (11 - day)) for day in range(1, 11)]
    without, with_others = users(*buyers), users(*buyers, *[(None, 0, 0)] * 50)
    assert fit_rfm(with_others) == fit_rfm(without)
    rfm = fit_rfm(with_others)
    assert rfm.segments(with_others).iloc[10:].tolist() == [NO_PURCHASE] * 50
    assert rfm.scores(with_others).iloc[10:].isna().all(axis=None)
    assert rfm.segment({}) == rfm.segment({"purchase_recency_days": None, "frequency": 0}) == NO_PURCHASE


def test_a_shop_without_buyers() -> None:
    nobody = users((None, 0, 0), (None, None, None))
    assert fit_rfm(nobody) == Rfm((), (), ())
    assert fit_rfm(nobody).segments(nobody).tolist() == [NO_PURCHASE] * 2
    assert fit_rfm(users()).segments(users()).tolist() == []


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
    ],
)
def test_the_names(scores: tuple[int, int, int], name: str) -> None:
    # Borders at 1.5, 2.5, 3.5, 4.5: a value is its own score, a day its own but counted from the other end.
    borders = (1.5, 2.5, 3.5, 4.5)
    rfm = Rfm(tuple(reversed(borders)), borders, borders)
    matrix = users((6 - scores[0], scores[1], scores[2]))
    assert tuple(rfm.scores(matrix).iloc[0]) == scores
    assert rfm.segments(matrix).tolist() == [name]
    assert rfm.segment(dict(zip(NAMES, matrix.iloc[0], strict=True))) == name


def test_every_name_is_listed_once_and_is_in_the_grid() -> None:
    assert sorted(RFM_SEGMENTS) == sorted({name for row in GRID for name in row} | {NO_PURCHASE})
    assert [len(row) for row in GRID] == [5] * 5


values = st.integers(0, 12)
buyer = st.tuples(values, st.integers(1, 6), values) | st.tuples(st.none(), st.none() | st.just(0), st.just(0))


@settings(max_examples=40, deadline=None)
@given(st.lists(buyer, min_size=1, max_size=40))
def test_scores_are_counts_and_one_row_is_like_the_table(rows: list[tuple[Any, Any, Any]]) -> None:
    matrix = users(*rows)
    rfm = fit_rfm(matrix)
    bought = [row for row in rows if row[0] is not None]
    scores, segments = rfm.scores(matrix), rfm.segments(matrix)
    for at, row in enumerate(rows):
        assert rfm.segment(dict(zip(NAMES, row, strict=True))) == segments.iloc[at]
        if row[0] is None:
            assert scores.iloc[at].isna().all()
            continue
        columns = list(zip(*bought, strict=True))
        expected = [counted(row[part], list(columns[part]), fewer_is_better=part == 0) for part in range(3)]
        assert scores.iloc[at].tolist() == expected
        assert segments.iloc[at] == GRID[5 - expected[0]][int(np.floor((expected[1] + expected[2]) / 2 + 0.5)) - 1]


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="column 'frequency' is missing"):
        fit_rfm(users((1, 1, 1)).drop(columns="frequency"))
    with pytest.raises(InputError, match="'monetary_cents' must not be missing where purchase_recency_days is known"):
        fit_rfm(users((1, 1, None)))
    with pytest.raises(InputError, match="'frequency' must not be missing where purchase_recency_days is known"):
        fit_rfm(users((1, 1, 1))).segment({"purchase_recency_days": 3})
