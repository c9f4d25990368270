"""Finding behaviour clusters: k-means, and how many there are by the mean silhouette."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from features.errors import ConfigError, InputError
from features.segments.clusters import Clusters, Floats, feature_values, standardisation, standardise
from features.segments.columns import Type, schema_of

#: Users that centres are computed from, and those of them among whom all distances are measured.
SAMPLE, SILHOUETTE_SAMPLE = 20_000, 2_000

MAX_K = 8

#: A column whose logarithms differ less than this is constant up to rounding.
NO_DIFFERENCE = 1e-9


def fit_clusters(
    users: pd.DataFrame, *, columns: Sequence[str] = (), max_k: int = MAX_K, sample: int = SAMPLE, seed: int = 0
) -> Clusters:
    """Cluster the users of a matrix by k-means on standardised logarithms of their features.

    The number of clusters is the one from 2 to ``max_k`` with the highest mean silhouette (Rousseeuw 1987) where at
    most ``SILHOUETTE_SAMPLE`` users are clustered, the lowest of those that are equally good; the centres are then
    found among ``sample`` users. The same users in the same order give the same clusters.

    Args:
        users: One row per user, such as ``Snapshot.user_matrix``.
        columns: The features; every column of numbers if empty. Those without any difference are left out.
        max_k: At least 2.
        sample: Users drawn at random, if there are more.
        seed: Of the draws and of k-means.

    Raises:
        ConfigError: ``max_k`` is below 2, or ``sample`` below 3.
        InputError: A column is missing or holds no numbers, or fewer than 3 users differ.
    """
    for field, value, least in (("max_k", max_k, 2), ("sample", sample, 3)):
        if value < least:
            raise ConfigError(field, f"must be at least {least}", value)
    names = list(columns) or [name for name, of in schema_of(users).items() if of is Type.NUMBER]
    rng = np.random.default_rng(seed)
    values = feature_values(users.iloc[_some(rng, len(users), sample)], names)
    means, scales = standardisation(values)
    kept = np.flatnonzero(scales > NO_DIFFERENCE)
    names, means, scales = [names[at] for at in kept], means[kept], scales[kept]
    points = standardise(values[:, kept], means, scales)
    judged = points[_some(rng, len(points), SILHOUETTE_SAMPLE)]
    # One thread: with more, sums are rounded in whatever order the threads come in.
    with threadpool_limits(1):
        silhouettes = _silhouettes(judged, max_k, seed)
        found = _k_means(points, max(silhouettes, key=lambda k: (silhouettes[k], -k)), seed)
    sizes = np.bincount(found.labels_, minlength=found.n_clusters)
    order = np.argsort(-sizes, kind="stable")
    return Clusters(tuple(names), means, scales, found.cluster_centers_[order], sizes[order] / len(points), silhouettes)


def _silhouettes(points: Floats, max_k: int, seed: int) -> dict[int, float]:
    """The mean silhouette of each number of clusters that these points allow."""
    different = len(np.unique(points, axis=0)) if points.size else 0
    if different < 3:
        mend = "wait for more users, or name columns in which they differ"
        raise InputError("user_matrix", "must have at least 3 users who differ", f"{different} of {len(points)}", mend)
    return {
        k: float(silhouette_score(points, _k_means(points, k, seed).labels_))
        for k in range(2, min(max_k, different - 1) + 1)
    }


def _k_means(points: Floats, k: int, seed: int) -> KMeans:
    return KMeans(k, n_init=5, random_state=seed).fit(points)


def _some(rng: np.random.Generator, n: int, most: int) -> np.ndarray:
    """At most ``most`` of ``n`` positions, in order."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


__all__ = ["MAX_K", "NO_DIFFERENCE", "SAMPLE", "SILHOUETTE_SAMPLE", "fit_clusters"]
