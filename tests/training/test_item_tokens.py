"""Tokens against items that are written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.sequences import Histories
from features.snapshot import Snapshot
from training.item_tokens import item_tokens

NAMES = ["i0", "i1", "i2", "i3", "i4"]


@pytest.fixture
def snapshot_of(make_histories: Any) -> Any:
    def make(**columns: Any) -> Snapshot:
        items = pd.DataFrame(columns, index=pd.Index(NAMES, name="item_id"))
        users = pd.DataFrame(index=pd.Index(["u0"], name="user_id"))
        sequences: Histories = make_histories([], 1, 10)
        return Snapshot(10, "0" * 64, (), users, items, sequences)

    return make


def carried(snapshot: Snapshot) -> dict[str, list[int]]:
    """Token to the items that carry it."""
    tokens = item_tokens(snapshot)
    assert tokens.matrix.shape == (len(NAMES), len(tokens.names)) and tokens.matrix.dtype == np.float32
    assert tokens.matrix.has_sorted_indices and set(tokens.matrix.data.tolist()) <= {1.0}
    dense = tokens.matrix.toarray()
    return {str(name): np.flatnonzero(dense[:, token]).tolist() for token, name in enumerate(tokens.names)}


def test_every_prefix_of_a_category_is_a_token(snapshot_of: Any) -> None:
    paths = ["home/garden/seeds", "home/garden/tools", "home/garden/seeds", "home/unknown/x", "unknown"]
    assert carried(snapshot_of(category=paths)) == {
        "category=home": [0, 1, 2, 3],
        "category=home/garden": [0, 1, 2],
        "category=home/garden/seeds": [0, 2],
    }


def test_lists_in_attributes_are_split_and_what_is_not_told_is_left_out(snapshot_of: Any) -> None:
    brands = ["acme", None, "acme", "Unknown", "missing"]
    genres = ["Drama|War", "War", "", " Drama | War", "Drama|Drama"]
    assert carried(snapshot_of(brand=brands, genres=genres)) == {
        "brand=acme": [0, 2],
        "genres=Drama": [0, 3, 4],
        "genres=War": [0, 1, 3],
    }


def test_prices_are_bands(snapshot_of: Any) -> None:
    cents = pd.array([63, 64, 255, None, 40], dtype="Int64")
    assert carried(snapshot_of(price_cents=cents)) == {"price_cents=0-63": [0, 4], "price_cents=64-255": [1, 2]}


def test_titles_flags_and_what_users_did_make_no_tokens(snapshot_of: Any) -> None:
    snapshot = snapshot_of(
        title=["a rose"] * 5, available=[True] * 5, purchases=[1] * 5, popularity=[2] * 5, views_7d=[1] * 5
    )
    assert carried(snapshot) == {}


def test_tokens_of_one_item_are_left_out(snapshot_of: Any) -> None:
    assert carried(snapshot_of(colour=["red", "blue", "red", "green", "black"])) == {"colour=red": [0, 2]}


def test_the_simulated_shop_describes_its_items(snapshot: Snapshot) -> None:
    tokens = item_tokens(snapshot)
    for number, name in enumerate(tokens.names):
        column, value = str(name).split("=", 1)
        carriers = tokens.matrix[:, [number]].toarray().ravel() > 0
        values = snapshot.item_matrix[column].astype(str).to_numpy(dtype=object)
        if column == "category":
            expected = [path == value or path.startswith(value + "/") for path in values]
        elif column == "price_cents":
            low, _, high = value.rstrip("+").partition("-")
            expected = [int(low) <= int(cents) <= int(high or 1 << 60) for cents in values]
        else:
            expected = [value in text.split("|") for text in values]
        assert carriers.tolist() == expected, name
    assert {str(name).split("=")[0] for name in tokens.names} >= {"category", "price_cents"}
