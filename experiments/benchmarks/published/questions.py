"""What published benchmarks ask, through the interface of every model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from training.metrics import PerUser, ranking_metrics
from training.recommender import Ids, Recommender, at_once, chunks, top_k
from training.train import Notify

#: Lists are judged at these lengths.
KS = (5, 10, 20)

#: Where at least this share of the answers had been seen by the user before, seen items are recommended again.
REPEATS = 0.05


def answer(
    model: Recommender, histories: Histories, k: int, *, again: bool, stage: str = "", notify: Notify | None = None
) -> Ids:
    """(n, k) int32: the model's best items of the full catalogue, best first, -1 for padding.

    Args:
        again: Whether items of the history may be recommended.
        stage, notify: Told under this name how many are answered.
    """
    ids = np.full((len(histories), k), -1, dtype=np.int32)
    for rows in chunks(len(histories), at_once(model.n_items)):
        some = histories.take(np.arange(rows.start, rows.stop))
        scores = model.score_all(some)
        if not again:
            known = some.items >= 0
            scores[some.rows[known], some.items[known]] = -np.inf
        ids[rows], _ = top_k(scores, k)
        if notify is not None:
            notify(stage, rows.stop, len(histories), {})
    return ids


def measured(ids: Ids, labels: Ragged) -> PerUser:
    """``hr@k`` and ``ndcg@k`` of each user, for one right answer per user; ``k`` as in ``KS``."""
    found = ranking_metrics(ids, labels, KS)
    return {f"{ours}@{k}": found[f"{theirs}@{k}"] for ours, theirs in (("hr", "recall"), ("ndcg", "ndcg")) for k in KS}


def seen_share(asked: Labelled) -> float:
    """The share of the answers that were in the user's history already; 0 where nothing is asked.

    It is measured on validation, and decides whether seen items are answers.
    """
    width = len(asked.vocabulary) + 1
    histories = asked.histories
    seen = np.isin(asked.labels.rows * width + asked.labels.values, histories.rows * width + histories.items)
    return float(seen.mean()) if len(seen) else 0.0


def asked_of(snapshot: Snapshot, asked: Labelled) -> Labelled:
    """The same questions, put to models that were fitted on ``snapshot``: items have its numbers.

    Everything in the histories is input, also what happened after the snapshot.
    """
    names = asked.vocabulary.ids
    vocabulary = snapshot.items.extended(names)
    number = vocabulary.encode(names)
    items = asked.histories.items
    known = np.where(items >= 0, number[items], -1)
    histories = replace(asked.histories, items=np.where(known < len(snapshot.items), known, -1).astype(np.int32))
    labels = Ragged(asked.labels.offsets, number[asked.labels.values])
    return Labelled(histories, labels, vocabulary, asked.groups)


def means(values: PerUser) -> dict[str, float]:
    """The mean of each metric over the users."""
    return {name: float(of_users.mean()) if len(of_users) else 0.0 for name, of_users in values.items()}


def spread(runs: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation (n - 1; 0 of one run) of each metric over runs that name the same metrics."""
    table: dict[str, NDArray[np.float64]] = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    sd = {name: float(values.std(ddof=1)) if len(values) > 1 else 0.0 for name, values in table.items()}
    return {name: float(values.mean()) for name, values in table.items()}, sd


__all__ = ["KS", "REPEATS", "answer", "asked_of", "means", "measured", "seen_share", "spread"]
