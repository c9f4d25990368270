"""Ranking metrics, one number per user, so that every comparison can be paired.

Relevance is binary: an item is relevant if the user bought it in the label window. All relevant items count in the
denominators, those that nobody could recommend included; metrics are over the full ranking, never over a sample of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.errors import ConfigError
from features.sequences import Ragged
from training.recommender import Ids

PerUser = dict[str, NDArray[np.float64]]


def relevance(ids: Ids, labels: Ragged) -> NDArray[np.bool_]:
    """(n, k) bool: whether the item at each rank is one of the user's labels; padding (-1) never is."""
    n = len(ids)
    width = int(max(ids.max(initial=-1), labels.values.max(initial=-1))) + 1
    wanted = labels.rows * width + labels.values
    shown = np.arange(n)[:, None] * width + ids
    return np.isin(shown, wanted) & (ids >= 0)


def ranking_metrics(ids: Ids, labels: Ragged, ks: tuple[int, ...] = (20,)) -> PerUser:
    """Metrics at each ``k``, each (n,) float64.

    - ``ndcg@k``: discounted cumulative gain ``sum rel / log2(rank + 1)`` over that of the best possible list, which
      holds ``min(k, number of labels)`` relevant items (Järvelin and Kekäläinen 2002).
    - ``recall@k``: relevant items shown over all relevant items.
    - ``mrr@k``: one over the rank of the first relevant item, 0 if none is shown.
    - ``purchases@k``: the number of the user's purchases that the list caught.

    Args:
        ids: (n, at least max(ks)) int32 items, best first, -1 for padding; an item twice in one list is an error.
        labels: n rows of distinct items, none of them empty.
    """
    if max(ks) > ids.shape[1]:
        raise ConfigError("k", f"must be at most the {ids.shape[1]} items that were ranked", max(ks))
    if len(labels) != len(ids):
        raise ConfigError("ids", f"must have one row per user, {len(labels)}", len(ids))
    in_order = np.sort(ids, axis=1)
    if ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any():
        raise ConfigError("ids", "must not hold an item twice in one list")
    hits = relevance(ids, labels)
    n_labels = labels.lengths
    metrics: PerUser = {}
    for k in ks:
        top = hits[:, :k]
        discounts = 1.0 / np.log2(np.arange(2, k + 2))
        ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(n_labels, k)]
        caught = top.sum(axis=1).astype(np.float64)
        first = np.where(top.any(axis=1), 1.0 / (top.argmax(axis=1) + 1), 0.0)
        metrics[f"ndcg@{k}"] = (top * discounts).sum(axis=1) / ideal
        metrics[f"recall@{k}"] = caught / n_labels
        metrics[f"mrr@{k}"] = first
        metrics[f"purchases@{k}"] = caught
    return metrics


def coverage(ids: Ids, n_items: int) -> float:
    """The share of the catalogue that appears in at least one list."""
    return len(np.unique(ids[ids >= 0])) / n_items


__all__ = ["PerUser", "coverage", "ranking_metrics", "relevance"]
