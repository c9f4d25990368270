"""Tripwire: what a model answers must not depend on the answers that it will be judged by.

A model may read the labels of its validation slice to decide when to stop. On the labels of that slice it then is a
little better than with labels shuffled between the users. A model that learns from them is far better.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from features.sequences import Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from training.fit_processes import agreed
from training.metrics import ranking_metrics
from training.recommender import Recommender, TrainingSet
from training.tripwires.alarms import SURE, Alarm

WIRE = "label shuffle"

#: Users and questions that the model is fitted on twice, and epochs that are enough to learn what was leaked.
USERS, QUESTIONS, EPOCHS = 1_000, 300, 2

#: A difference of NDCG@20 below this comes from stopping at another epoch.
LEAST = 0.05

_K = 20


def label_shuffle(name: str, model: Recommender, snapshot: Snapshot, validation: Labelled) -> list[Alarm]:
    """An alarm if the model, fitted on a sample, knows the true labels better than when it was given shuffled ones.

    Args:
        model: Not changed; a new one with its hyper-parameters is fitted.
    """
    few, asked = _sample(snapshot, validation)
    watched = _Watched.of(asked)
    told = _fitted(model, few, watched)
    # Under torchrun only the first process validates, and all must know whether to fit once more.
    if not agreed(lambda: float(watched.was_read)):
        return []
    blind = _fitted(model, few, _shuffled(asked))
    known, guessed = (_ndcg(fitted, asked) for fitted in (told, blind))
    gain = known - guessed
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    if gain.mean() <= LEAST or gain.mean() <= SURE * error:
        return []
    measured = f"ndcg@{_K} {known.mean():.3f} on the answers that it was given, {guessed.mean():.3f} without them"
    return [Alarm(WIRE, f"model {name}", f"learns from the labels that it is judged by: {measured}")]


class _Watched(Labelled):
    """Labels that know whether they were looked at."""

    was_read = False

    @classmethod
    def of(cls, asked: Labelled) -> _Watched:
        watched = cls(asked.histories, asked.labels, asked.vocabulary, asked.groups)
        object.__setattr__(watched, "was_read", False)
        return watched

    def __getattribute__(self, name: str) -> Any:
        if name == "labels":
            object.__setattr__(self, "was_read", True)
        return super().__getattribute__(name)


def _sample(snapshot: Snapshot, validation: Labelled) -> tuple[Snapshot, Labelled]:
    """Some of the questions, and the snapshot of their users and some others."""
    asked = validation.spread(QUESTIONS)
    known = snapshot.users.encode(asked.histories.user_ids)
    spread = np.linspace(0, len(snapshot.users) - 1, min(USERS, len(snapshot.users))).astype(np.int64)
    rows = np.unique(np.concatenate([known[known >= 0].astype(np.int64), spread]))
    few = replace(
        snapshot,
        user_matrix=snapshot.user_matrix.iloc[rows],
        sequences=snapshot.sequences.take(rows),
        basis=None,
        counted=None,
    )
    return few, asked


def _shuffled(asked: Labelled) -> Labelled:
    """Each user's answers belong to another."""
    circle = np.random.default_rng(0).permutation(len(asked))
    order = np.empty(len(asked), dtype=np.int64)
    order[circle] = np.roll(circle, 1)
    lengths = asked.labels.lengths[order]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return replace(asked, labels=Ragged(offsets, asked.labels.take(order).values))


def _fitted(model: Recommender, snapshot: Snapshot, validation: Labelled) -> Recommender:
    settings = model.config.model_dump()
    if "epochs" in settings:
        settings["epochs"] = min(settings["epochs"], EPOCHS)
    return type(model)(**settings).fit(TrainingSet(snapshot, validation))


def _ndcg(model: Recommender, asked: Labelled) -> np.ndarray:
    ids, _ = model.recommend(asked.histories.past(), _K)
    return ranking_metrics(ids, asked.labels, (_K,))[f"ndcg@{_K}"]


__all__ = ["WIRE", "label_shuffle"]
