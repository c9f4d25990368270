"""The regression of vectors on tokens against the same least squares, written densely."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from training.described import Described


@pytest.mark.parametrize("strength", [0.1, 1.0, 50.0])
@pytest.mark.parametrize("n_tokens", [0, 1, 7])
def test_it_is_the_least_sum(n_tokens: int, strength: float) -> None:
    rng = np.random.default_rng(n_tokens)
    tokens = (rng.random((40, n_tokens)) < 0.3).astype(np.float32)
    vectors, weights = rng.normal(size=(40, 3)), rng.uniform(0.5, 9, size=40)
    found = Described.fit(sparse.csr_array(tokens), vectors, weights, strength)
    # Rows scaled by the root of their weight, and the penalty as rows of its own.
    root = np.sqrt(weights)[:, None]
    left = np.hstack([tokens, np.ones((40, 1))])
    penalty = np.sqrt(weights.mean() / strength) * np.eye(n_tokens + 1)
    expected, *_ = np.linalg.lstsq(
        np.vstack([root * left, penalty]), np.vstack([root * vectors, np.zeros((n_tokens + 1, 3))])
    )
    np.testing.assert_allclose(found.effects, expected[:-1], atol=1e-5)
    np.testing.assert_allclose(found.constant, expected[-1], atol=1e-5)
    np.testing.assert_allclose(found.means(sparse.csr_array(tokens)), left @ expected, atol=1e-5)


def test_vectors_without_width() -> None:
    found = Described.fit(sparse.csr_array(np.eye(4)), np.zeros((4, 0)), np.ones(4), 1.0)
    assert found.means(sparse.csr_array(np.eye(4))).shape == (4, 0)
