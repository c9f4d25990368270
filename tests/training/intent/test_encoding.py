"""Data frames as matrices, written down by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from features.errors import InputError
from training.intent.encoding import MAX_LEVELS, Encoder


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pages": [1, 2, 3],
            "seconds": [0.5, np.nan, 2.0],
            "weekend": [True, False, True],
            "known": pd.array([True, None, False], dtype="boolean"),
            "device": ["phone", None, "desk"],
            "plan": pd.Categorical(["a", "b", None]),
        }
    )


def test_each_kind_is_encoded_as_said() -> None:
    encoder = Encoder.fit(frame())
    assert encoder.names == [
        *("pages", "seconds", "weekend", "known"),
        *("device=desk", "device=phone", "device:other", "device:missing"),
        *("plan=a", "plan=b", "plan:other", "plan:missing"),
    ]
    assert encoder.sources == ["pages", "seconds", "weekend", "known"] + ["device"] * 4 + ["plan"] * 4
    x = encoder.transform(frame())
    assert x.dtype == np.float32
    nan = np.nan
    want = [
        [1, 0.5, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0],
        [2, nan, 0, nan, 0, 0, 0, 1, 0, 1, 0, 0],
        [3, 2.0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1],
    ]
    np.testing.assert_array_equal(x, want)


def test_what_training_did_not_know_is_other() -> None:
    later = frame().assign(device=["watch", "phone", None], extra=1)
    x = Encoder.fit(frame()).transform(later)
    np.testing.assert_array_equal(x[:, 4:8], [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def test_rare_levels_are_other_ties_by_name() -> None:
    levels = [f"{i:02d}" for i in range(40)]
    data = pd.DataFrame({"c": [*levels, "39"]})
    encoder = Encoder.fit(data)
    assert list(encoder.columns[0].levels) == [*levels[: MAX_LEVELS - 1], "39"]
    assert encoder.transform(data)[:, -2].sum() == 40 - MAX_LEVELS


def test_a_level_named_like_another_column_stays_apart() -> None:
    data = pd.DataFrame({"c": ["other", "missing", None]})
    assert Encoder.fit(data).names == ["c=missing", "c=other", "c:other", "c:missing"]
    np.testing.assert_array_equal(Encoder.fit(data).transform(data), [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def test_json_gives_the_same_again() -> None:
    encoder = Encoder.fit(frame())
    assert Encoder.from_json(json.loads(json.dumps(encoder.to_json()))) == encoder


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])}), "numbers, booleans"),
        (pd.DataFrame({"t": [[1]]}), "numbers, booleans"),
        (pd.DataFrame({"t": [1e300]}), "finite"),
        (pd.DataFrame({"t": [np.inf]}), "finite"),
        (pd.DataFrame(index=[0]), "must have columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "must have columns"),
    ],
)
def test_what_cannot_be_encoded_is_refused(wrong: pd.DataFrame, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Encoder.fit(wrong)


def test_other_columns_than_in_training_are_refused() -> None:
    encoder = Encoder.fit(frame())
    with pytest.raises(InputError, match="seconds"):
        encoder.transform(frame().drop(columns="seconds"))
    with pytest.raises(InputError, match="pages"):
        encoder.transform(frame().assign(pages="many"))


def test_one_row_is_encoded_like_many() -> None:
    frame = pd.DataFrame(
        {
            "pages": [3.5, None, 0.0, 7.0],
            "days": pd.array([1, None, 3, 4], dtype="Int64"),
            "weekend": [True, False, True, False],
            "device": ["phone", None, "desk", "watch"],
        }
    )
    encoder = Encoder.fit(frame.iloc[:3])
    for row in range(4):
        values = {name: frame[name].iloc[row] for name in frame}
        one, many = encoder.transform_one(values), encoder.transform(frame.iloc[[row]])
        assert one.dtype == many.dtype and np.array_equal(one, many, equal_nan=True)
    with pytest.raises(InputError, match="device must be among the columns"):
        encoder.transform_one({"pages": 1, "days": 1, "weekend": True})
    with pytest.raises(InputError, match="pages must be a number as in training"):
        encoder.transform_one({"pages": "three", "days": 1, "weekend": True, "device": "phone"})
