"""Tokens of users against attributes that are written down."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.user_tokens import UserTokens

TOLD = {"country": ["DE", "DE", "FR", "missing", "DE", "Unknown"], "gender": ["f", "m", "f", "f", "missing", ""]}


def test_values_that_two_told_are_tokens(make_histories: Any) -> None:
    users = make_histories([], 6, 10, attributes=TOLD)
    tokens = UserTokens.of(users, ("country", "gender"))
    assert tokens.values == {"country": ("DE",), "gender": ("f",)} and tokens.details == ["DE", "f"]
    half = np.sqrt(0.5)
    expected = [[half, half], [1, 0], [0, 1], [0, 1], [1, 0], [0, 0]]
    np.testing.assert_allclose(tokens.matrix(users).toarray(), expected, rtol=1e-6)


def test_only_the_attributes_asked_for(make_histories: Any) -> None:
    users = make_histories([], 6, 10, attributes=TOLD)
    assert UserTokens.of(users, ("gender",)).values == {"gender": ("f",)}
    assert UserTokens.of(users, ()).matrix(users).shape == (6, 0)


def test_who_does_not_tell_has_no_token(make_histories: Any) -> None:
    tokens = UserTokens.of(make_histories([], 6, 10, attributes=TOLD), ("country", "gender"))
    strangers = make_histories([], 2, 10, attributes={"gender": ["f", "x"], "age": ["1", "2"]})
    assert tokens.matrix(strangers).toarray().tolist() == [[0, 1], [0, 0]]
    assert not tokens.matrix(make_histories([], 3, 10)).nnz
