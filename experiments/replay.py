"""Replaying arms over the questions of a label window: what each would have shown, and what it would have caught."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from features.schema import Level
from features.sequences import LIVE_FRESH_S
from features.split import Labelled
from training.blend import Blend
from training.metrics import PerUser, coverage, ranking_metrics, relevance
from training.recommender import Ids, Mask, Recommender


@dataclass(frozen=True)
class Replay:
    """One arm's answers.

    Attributes:
        ids: (n, k) int32 items, best first.
        metrics: Per user, (n,) float64 each.
        coverage: Share of the catalogue that is shown to somebody.
        levels: By level: its share of the items shown, and of the purchases caught.
    """

    ids: Ids
    metrics: PerUser
    coverage: float
    levels: dict[str, dict[str, float]] = field(default_factory=dict)


def replay(
    model: Recommender,
    asked: Labelled,
    k: int,
    allowed: Mask,
    off: frozenset[str] = frozenset(),
    live_fresh_s: int = LIVE_FRESH_S,
) -> Replay:
    """Ask a model all questions; L1 to L3 see what the snapshot knew, L4 what happened since and is fresh.

    Args:
        allowed: (n_items,) bool items that could be shown at the snapshot's instant.
        off: Labels of levels that the policy turns off ("L3"): a blend does without them, as it will when it serves.
        live_fresh_s: How old an event may be and still drive L4, by the policy.
    """
    asked = replace(asked, histories=replace(asked.histories, live_fresh_s=live_fresh_s))
    if isinstance(model, Blend):
        unused = frozenset(name for name, part in model.parts.items() if part.level.label in off)
        ranking = model.rank(asked.histories, k, allowed, unused)
        levels = np.array([part.level for part in model.parts.values()] + [Level.POPULAR])
        return measure(ranking.ids, asked, k, model.n_items, levels[ranking.parts])
    histories = asked.histories if model.level is Level.LIVE else asked.histories.past()
    ids, scores = model.recommend(histories, k, allowed)
    ids = np.where(scores > 0, ids, -1)  # a model that knows nothing recommends nothing: no credit for low item numbers
    return measure(ids.astype(np.int32), asked, k, model.n_items)


def measure(ids: Ids, asked: Labelled, k: int, n_items: int, levels: np.ndarray | None = None) -> Replay:
    """Metrics of lists, whoever made them; ``levels`` (n, k) is the level of each item shown."""
    shares: dict[str, dict[str, float]] = {}
    if levels is not None:
        shown, caught = ids >= 0, relevance(ids, asked.labels)
        for level in Level:
            of_level = (levels == level) & shown
            if of_level.any():
                shares[level.label] = {
                    "shown": float(of_level.sum() / shown.sum()),
                    "caught": float((of_level & caught).sum() / max(int(caught.sum()), 1)),
                }
    return Replay(ids, ranking_metrics(ids, asked.labels, (k,)), coverage(ids, n_items), shares)


__all__ = ["Replay", "measure", "replay"]
