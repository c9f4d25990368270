"""Behaviour clusters: planted groups are found, described, saved, and assigned alike in batch and one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ConfigError, InputError, NotFoundError
from features.segments.cluster_fit import fit_clusters
from features.segments.clusters import Clusters

SIZES = {"browsers": 300, "buyers": 200, "sleepers": 100}


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    """Three planted groups, in order of their sizes, and columns that say nothing."""
    rng = np.random.default_rng(3)
    group = np.repeat(list(SIZES), list(SIZES.values()))
    n = len(group)
    means = {"browsers": (100, 1, 2), "buyers": (30, 20, 3), "sleepers": (1, 1, 300)}
    views, orders, recency = (rng.poisson([means[name][at] for name in group]) for at in range(3))
    frame = pd.DataFrame(
        {
            "views_30d": views,
            "orders_90d": orders,
            "recency_days": pd.array(recency, "Int64"),
            "nothing": 7,
            "unknown": np.full(n, np.nan),
            "country": rng.choice(["DE", "FR"], n),
            "member": rng.random(n) < 0.5,
        },
        index=pd.Index([f"u{at:04}" for at in range(n)], name="user_id"),
    )
    frame.loc[frame.index[::50], "recency_days"] = pd.NA
    return frame


@pytest.fixture(scope="module")
def clusters(users: pd.DataFrame) -> Clusters:
    return fit_clusters(users)


def test_the_planted_groups_are_found(users: pd.DataFrame, clusters: Clusters) -> None:
    planted = np.repeat(np.arange(3), list(SIZES.values()))
    assert (clusters.assign(users) == planted).mean() > 0.98  # a fiftieth hides its recency
    assert clusters.columns == ("views_30d", "orders_90d", "recency_days")
    assert len(clusters.centres) == 3 == max(clusters.silhouettes, key=clusters.silhouettes.__getitem__)
    assert list(clusters.silhouettes) == list(range(2, 9))
    assert clusters.shares == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=0.01)


def test_the_most_unusual_features_describe_a_cluster(clusters: Clusters) -> None:
    browsers, buyers, sleepers = clusters.describe(top=1)
    assert buyers.startswith("high orders_90d (+")
    assert sleepers.startswith("high recency_days (+")
    assert browsers.startswith("high views_30d (+")
    assert [phrase.count(",") for phrase in clusters.describe()] == [2, 2, 2]


def test_standardising_by_hand(users: pd.DataFrame, clusters: Clusters) -> None:
    logs = np.log1p(users["views_30d"].to_numpy(float))
    assert clusters.means[0] == pytest.approx(logs.mean())
    assert clusters.scales[0] == pytest.approx(logs.std())
    known = np.log1p(users["recency_days"].dropna().to_numpy(float))
    assert clusters.means[2] == pytest.approx(known.mean())
    # Who is average in everything known belongs where the average user does.
    distances = (clusters.centres**2).sum(axis=1)
    assert clusters.assign_row({}) == distances.argmin()


def test_the_same_users_give_the_same_clusters(users: pd.DataFrame, clusters: Clusters) -> None:
    again = fit_clusters(users)
    np.testing.assert_array_equal(again.centres, clusters.centres)
    assert again.silhouettes == clusters.silhouettes


def test_a_sample_is_enough(users: pd.DataFrame, clusters: Clusters) -> None:
    sampled = fit_clusters(users, sample=250, seed=5)
    assert (sampled.assign(users) == clusters.assign(users)).mean() > 0.98


def test_the_columns_may_be_named(users: pd.DataFrame) -> None:
    assert fit_clusters(users, columns=["orders_90d"], max_k=2).columns == ("orders_90d",)


def test_every_user_alone_is_assigned_as_in_the_table(users: pd.DataFrame, clusters: Clusters) -> None:
    rows = users.to_dict("records")
    assert [clusters.assign_row(row) for row in rows] == clusters.assign(users).tolist()


numbers = st.none() | st.integers(-(2**53), 2**53) | st.floats()
odd = st.fixed_dictionaries({"views_30d": numbers, "orders_90d": numbers, "recency_days": numbers})


@settings(max_examples=40, deadline=None)
@given(st.lists(odd, min_size=1, max_size=20))
def test_odd_users_too(clusters: Clusters, rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame(rows, dtype=object).astype("float64")
    assert [clusters.assign_row(row) for row in rows] == clusters.assign(frame).tolist()


def test_saved_and_loaded(users: pd.DataFrame, clusters: Clusters, tmp_path: Path) -> None:
    clusters.save(tmp_path / "clusters")
    loaded = Clusters.load(tmp_path / "clusters")
    pd.testing.assert_series_equal(loaded.assign(users), clusters.assign(users))
    assert loaded.describe() == clusters.describe()
    assert loaded.silhouettes == clusters.silhouettes
    np.testing.assert_array_equal(loaded.shares, clusters.shares)
    assert {path.suffix for path in (tmp_path / "clusters").iterdir()} == {".json", ".npz"}


def test_what_cannot_be_loaded(clusters: Clusters, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="must hold behaviour clusters"):
        Clusters.load(tmp_path)
    clusters.save(tmp_path)
    about = json.loads((tmp_path / "clusters.json").read_text())
    (tmp_path / "clusters.json").write_text(json.dumps(about | {"columns": ["one"]}))
    with pytest.raises(InputError, match="the shapes of the arrays do not fit the columns"):
        Clusters.load(tmp_path)
    for broken in ("[]", "{}", "{"):
        (tmp_path / "clusters.json").write_text(broken)
        with pytest.raises(InputError, match="must hold readable clusters"):
            Clusters.load(tmp_path)
    clusters.save(tmp_path)
    (tmp_path / "clusters.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="must hold readable clusters"):
        Clusters.load(tmp_path)


def test_what_cannot_be_clustered(users: pd.DataFrame, clusters: Clusters) -> None:
    for few in (users.iloc[:0], users.iloc[:2], users[["nothing", "country"]]):
        with pytest.raises(InputError, match="must have at least 3 users who differ"):
            fit_clusters(few)
    for changed in ({"max_k": 1}, {"sample": 2}):
        with pytest.raises(ConfigError, match="must be at least"):
            fit_clusters(users, **changed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="column 'country' must hold numbers"):
        fit_clusters(users, columns=["country"])
    with pytest.raises(InputError, match="column 'views_30d' is missing"):
        clusters.assign(users.drop(columns="views_30d"))
    with pytest.raises(InputError, match="orders_90d must be a number, received 'many'"):
        clusters.assign_row({"orders_90d": "many"})
