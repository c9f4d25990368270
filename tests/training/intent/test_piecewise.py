"""Piecewise linear functions against plain loops."""

from __future__ import annotations

import numpy as np

from training.intent.piecewise import PiecewiseLinear


def test_functions_follow_their_formulas() -> None:
    random = np.random.default_rng(0)
    x = np.column_stack([random.exponential(size=200), random.integers(0, 2, 200), random.normal(size=200)])
    x[:5, 2] = np.nan
    x = x.astype(np.float32)
    basis = PiecewiseLinear.fit(x, 4)
    got = basis.transform(x)
    assert basis.source.tolist() == [0] * 4 + [2] * 4 + [0, 1, 2] + [2]
    for column, start in ((0, 0), (2, 4)):
        known = x[:, column].astype(float)
        known = known[~np.isnan(known)]
        edges = np.quantile(known, [0, 0.25, 0.5, 0.75, 1])
        for i in range(200):
            for piece in range(4):
                a, b, v = edges[piece], edges[piece + 1], float(x[i, column])
                want = 0.0 if np.isnan(v) else min(max((v - a) / (b - a), 0), 1) - 0.5
                assert abs(got[i, start + piece] - want) < 1e-6
    s = (x[:, 1].astype(float) - x[:, 1].mean()) / x[:, 1].std()
    np.testing.assert_allclose(got[:, 9], s / np.sqrt(1 + s**2 / 9), atol=1e-6)
    assert got[:, 11].tolist() == [1.0] * 5 + [0.0] * 195


def test_a_column_without_values_or_variation_becomes_nothing() -> None:
    x = np.column_stack([np.full(20, np.nan), np.full(20, 3.0)]).astype(np.float32)
    got = PiecewiseLinear.fit(x, 4).transform(x)
    np.testing.assert_array_equal(got[:, :2], 0)


def test_contributions_are_added_by_column() -> None:
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    basis = PiecewiseLinear.fit(x, 3)
    values = np.random.default_rng(0).normal(size=(20, len(basis.source)))
    want = np.column_stack([values[:, basis.source == column].sum(axis=1) for column in range(2)])
    np.testing.assert_allclose(basis.by_column(values), want)


def test_arrays_make_the_same_again() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    basis = PiecewiseLinear.fit(x, 5)
    np.testing.assert_array_equal(PiecewiseLinear(**basis.arrays()).transform(x), basis.transform(x))
