"""Tables of small trees against LightGBM's own TreeSHAP, and against Shapley values as they are defined."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from training.intent.tree_tables import TreeTables


def booster(leaves: int = 8, trees: int = 40, **more: Any) -> tuple[lightgbm.Booster, NDArray[np.float32]]:
    """Trees over columns with and without gaps, flags, and counts with many equal values."""
    random = np.random.default_rng(5)
    x = random.normal(size=(900, 6)).astype(np.float32)
    x[:, 1] = random.integers(0, 3, 900)
    x[random.random(900) < 0.3, 2] = np.nan
    x[:, 3] = random.random(900) < 0.2
    truth = x[:, 0] * (1 + x[:, 3]) + np.where(np.isnan(x[:, 2]), 1.0, x[:, 2]) - x[:, 1]
    y = (random.random(900) < 1 / (1 + np.exp(-truth))).astype(float)
    settings = {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1}
    return lightgbm.train(settings | more, lightgbm.Dataset(x, y, params={"verbose": -1}), trees), x


def rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of training, and such as were never there: gaps everywhere, zeros, values far away."""
    strange = np.array([[np.nan] * 6, [0] * 6, [1e30] * 6, [-1e30] * 6], dtype=np.float32)
    return np.concatenate([x[:60], strange])


@pytest.mark.parametrize("leaves", [2, 5, 8])
def test_it_is_what_lightgbm_says(leaves: int) -> None:
    members, x = [booster(leaves, seed=seed, feature_fraction=0.7)[0] for seed in (1, 2)], booster()[1]
    tables = TreeTables.of([member.dump_model() for member in members])
    assert tables is not None
    for row in rows(x)[:, None]:
        told = np.mean([member.predict(row, pred_contrib=True, num_threads=1) for member in members], axis=0)[0]
        np.testing.assert_allclose(tables.explain_one(row), told[:-1], rtol=0, atol=1e-13)
        assert tables.base == pytest.approx(told[-1], abs=1e-13)


def test_it_is_the_mean_over_all_orders_of_learning_the_columns() -> None:
    """Shapley's definition, on one tree, with columns not learned yet averaged over as the rows went."""
    member, x = booster(trees=1)
    told = member.dump_model()
    tables = TreeTables.of([told])
    assert tables is not None

    def expected(node: dict[str, Any], row: NDArray[np.float32], known: set[int]) -> float:
        if "leaf_value" in node:
            return float(node["leaf_value"])
        value, count = row[node["split_feature"]], node["internal_count"]
        if node["split_feature"] in known:
            if np.isnan(value) and node["missing_type"] == "NaN":
                left = node["default_left"]
            else:
                left = np.nan_to_num(value) <= node["threshold"]
            return expected(node["left_child" if left else "right_child"], row, known)
        parts = (node["left_child"], node["right_child"])
        shares = [part.get("internal_count", part.get("leaf_count")) / count for part in parts]
        return sum(share * expected(part, row, known) for share, part in zip(shares, parts, strict=True))

    tree, orders = told["tree_info"][0]["tree_structure"], list(permutations(range(6)))
    for row in rows(x)[[0, 7, 60, 61]]:
        added = np.zeros(6)
        values: dict[frozenset[int], float] = {}
        for order in orders:
            for place, column in enumerate(order):
                before, after = frozenset(order[:place]), frozenset(order[: place + 1])
                for known in (before, after):
                    if known not in values:
                        values[known] = expected(tree, row, set(known))
                added[column] += (values[after] - values[before]) / len(orders)
        np.testing.assert_allclose(tables.explain_one(row[None]), added, rtol=0, atol=1e-13)


def test_a_tree_that_found_nothing_adds_nothing() -> None:
    member, x = booster(trees=2, min_data_in_leaf=800)
    tables = TreeTables.of([member.dump_model()])
    assert tables is not None and not tables.explain_one(x[:1]).any()
    assert tables.base == pytest.approx(float(member.predict(x[:1], raw_score=True)[0]), abs=1e-13)


def test_large_trees_and_other_splits_have_no_tables() -> None:
    assert TreeTables.of([booster(leaves=9)[0].dump_model()]) is None
    assert TreeTables.of([booster(zero_as_missing=True)[0].dump_model()]) is None
    random = np.random.default_rng(0)
    kinds = random.integers(0, 5, size=(500, 1)).astype(np.float32)
    data = lightgbm.Dataset(kinds, (kinds[:, 0] % 2), categorical_feature=[0], params={"verbose": -1})
    settings = {"objective": "binary", "num_leaves": 4, "min_data_in_leaf": 5, "verbose": -1, "num_threads": 1}
    settings |= {"min_data_per_group": 5}
    assert TreeTables.of([lightgbm.train(settings, data, 2).dump_model()]) is None
