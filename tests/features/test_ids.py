"""Ids outside, dense numbers inside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.ids import UNKNOWN, Vocabulary


def test_encode_and_decode_are_inverse() -> None:
    ids = ["b", "a", "ä", "", "10", "9"]
    vocabulary = Vocabulary(ids)
    codes = vocabulary.encode(ids)
    assert codes.tolist() == list(range(6)) and codes.dtype == np.int32
    assert vocabulary.decode(codes[::-1]).tolist() == ids[::-1]
    assert len(vocabulary) == 6 and "ä" in vocabulary and "z" not in vocabulary
    assert vocabulary.ids.tolist() == ids


def test_the_unknown_is_minus_one() -> None:
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary.encode(["b", "z", "b"]).tolist() == [1, UNKNOWN, 1]
    assert [vocabulary.code(one) for one in ("a", "b", "z")] == [0, 1, UNKNOWN]
    assert UNKNOWN == -1
    assert vocabulary.encode([]).shape == (0,)
    assert Vocabulary([]).encode(["a"]).tolist() == [-1]


def test_numbers_stay_when_ids_are_added() -> None:
    vocabulary = Vocabulary(["m", "c"])
    longer = vocabulary.extended(["z", "m", "a", "a"])
    assert longer.ids.tolist() == ["m", "c", "a", "z"]
    assert vocabulary.ids.tolist() == ["m", "c"]


def test_ids_are_distinct() -> None:
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary(["a", "a"])


def test_unknown_ids_can_be_told_apart() -> None:
    vocabulary = Vocabulary(["m", "c"])
    codes = vocabulary.encode_apart(pd.Index(["x", "c", "y", "x", "m"])).tolist()
    assert codes[1] == 1 and codes[4] == 0
    assert codes[0] == codes[3] < UNKNOWN and codes[2] < UNKNOWN and codes[2] != codes[0]
    assert vocabulary.encode_apart([]).tolist() == []
