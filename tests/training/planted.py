"""Models that say what a test wrote down."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np

from features.schema import Level
from features.sequences import Histories
from training.recommender import Progress, Recommender, Scores, TrainingSet


class Unsaved(Recommender):
    """A model of a test, which nobody saves; it learns nothing unless the test says what."""

    level = Level.PREFERENCE

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        return self

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise NotImplementedError


class Planted(Unsaved):
    """Scores that were written down: row i is for user ``ui``."""

    name = "planted"

    def __init__(self, scores: np.ndarray, level: Level = Level.PREFERENCE) -> None:
        super().__init__()
        self.scores: Scores = scores.astype(np.float32)
        self.n_items = scores.shape[1]
        self.level = level  # type: ignore[misc]
        self.asked: list[Histories] = []

    def score_all(self, histories: Histories) -> Scores:
        self.asked.append(histories)
        scores = self.scores[[int(user_id[1:]) for user_id in histories.user_ids]]
        if self.level is Level.LIVE:  # nothing live, nothing known
            scores = scores * (histories.live().lengths > 0)[:, None].astype(np.float32)
        return scores
