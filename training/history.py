"""L2: what the user already bought, carted or looked at, as often and as lately as they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from features.schema import DAY_MS, EventType, Level
from features.sequences import Histories
from training.configured import HyperParameters
from training.interest import INTEREST, event_weights
from training.reasons import Reason
from training.recommender import Ids, Progress, Recommender, Scores, TrainingSet, register
from training.search_space import Between, OneOf, Space


@register
class PersonalHistory(Recommender):
    """``score(user, item) = sum over the user's events with the item of weight(event type) * 2 ** (-age / half-life)``.

    Shops with repeat buying (groceries, supplies) are hard to beat with anything else (Anderson et al. 2014; Li et
    al. 2023, A next basket recommendation reality check). Ties, which are many, are broken by the item's recent
    popularity, by at most a thousandth of the score, so that it never outranks what faded long ago but less.
    """

    name = "history"
    level = Level.BEHAVIOUR
    space: ClassVar[Space] = {
        "add_to_cart": Between(0.0, 1.0),
        "view": Between(0.0, 1.0),
        "half_life_days": OneOf((None, 3.0, 7.0, 14.0, 30.0, 60.0, 120.0, 240.0)),
    }

    class Config(HyperParameters):
        """Weights of the event types; ``half_life_days`` None counts an old event like a new one."""

        purchase: float = Field(default=1.0, ge=0)
        add_to_cart: float = Field(default=0.5, ge=0)
        view: float = Field(default=0.2, ge=0)
        half_life_days: float | None = Field(default=None, gt=0)
        popularity_window_days: int = Field(default=30, ge=1)

    _tie_break: NDArray[np.float32]

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Only the items' recent popularity is learned; everything else is in the histories."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        sequences = snapshot.sequences
        recent = sequences.ts >= snapshot.as_of_ms - self.config.popularity_window_days * DAY_MS
        recent &= self._weights(sequences) > 0
        counts = np.bincount(sequences.items[recent], minlength=self.n_items).astype(np.float32)
        self._tie_break = 1e-3 * counts / max(float(counts.max(initial=0)), 1.0)
        return self

    def _weights(self, events: Histories) -> NDArray[np.float32]:
        return event_weights(events, {kind: getattr(self.config, kind.value) for kind in INTEREST}).astype(np.float32)

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items); 0 for items that the user never touched."""
        weights = self._weights(histories)
        if self.config.half_life_days is not None:
            age_days = (np.repeat(histories.as_of_ms, histories.lengths) - histories.ts) / DAY_MS
            weights = weights * 0.5 ** (age_days / self.config.half_life_days)
        known = (histories.items >= 0) & (weights > 0)
        shape = (len(histories), self.n_items)
        cells = (weights[known], (histories.rows[known], histories.items[known]))
        counted = sparse.csr_array(cells, shape=shape, dtype=np.float32).toarray()
        return np.asarray(counted + np.minimum(counted, 1.0) * self._tie_break, dtype=np.float32)

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Whether the user bought each item before, or only looked at it."""
        bought = set(histories.items[histories.event_types == EventType.PURCHASE.code].tolist())
        return [Reason("bought_before" if int(item) in bought else "seen_before") for item in items]

    def save(self, folder: Path) -> None:
        """One npz and one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "tie_break.npz", tie_break=self._tie_break)
        (folder / "model.json").write_text(json.dumps({"config": self.config.model_dump()}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        model = cls(**json.loads((folder / "model.json").read_text(encoding="utf-8"))["config"])
        with np.load(folder / "tie_break.npz", allow_pickle=False) as arrays:
            model._tie_break = arrays["tie_break"]
        model.n_items = len(model._tie_break)
        return model


__all__ = ["PersonalHistory"]
