"""L3: what others did around the items that a user has just been at, each event voting as much as it has earned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from features.schema import Level
from features.sequences import Histories, Int64s
from training.configured import HyperParameters
from training.neighbour_timelines import Asked, Timelines
from training.neighbour_votes import FIRST, N_WEIGHTS, TABLES, Floats, Votes, votes
from training.order import is_timed
from training.reasons import Reason
from training.recommender import Ids, Progress, Recommender, Scores, TrainingSet, register
from training.search_space import Between, Space
from training.sequence_batches import Supervision, supervise

#: Questions that one step of learning is about, and how often each of them is asked.
BATCH, ROUNDS = 250, 4

#: Of the steps of learning: the first one's size, what draws weights to zero, decay of both moments.
RATE, PENALTY, DECAYS = 0.15, 1e-4, (0.9, 0.99)

#: Votes that are held for learning, in bytes.
HELD_BYTES = 1 << 29


@register
class Neighbours(Recommender):
    """``p(item) = sum of exp(w) over votes for the item / sum of exp(w) over all votes``.

    Users who took what the question is about are its neighbours, as in VSKNN and STAN (Ludewig et al. 2021, Empirical
    analysis of session-based recommendation algorithms; Garg et al. 2019, Sequence and time aware neighborhood). Every
    event near the latest shared item votes for its item, the question's own events vote for taking theirs again, and
    popularity votes for everything. How much is not set by hand: ``w`` is a sum of weights, one for each property of
    the vote (how many items are shared and how long ago, how far after or before the shared item the event came, how
    popular both items are, ...), and the weights are those under which users' own next items are likeliest, as seen
    from all other users. It is attention over the log with a kernel that can be read.
    """

    name = "neighbours"
    level = Level.PREFERENCE

    class Config(HyperParameters):
        """Of who votes and of how the weights are learned.

        Attributes:
            recent: How many of the last events a question is about.
            neighbours: Users whose events vote.
            reach: Events on either side of the shared item that vote.
            postings: Events of one item that are looked up, those of the users who came last.
            questions: Events of the log that the weights are learned from, at most.
            horizon_days: As for the transformer: what is bought this long after a visit answers it.
        """

        recent: int = Field(default=30, ge=1)
        neighbours: int = Field(default=500, ge=1)
        reach: int = Field(default=20, ge=1)
        postings: int = Field(default=1_000, ge=1)
        questions: int = Field(default=8_000, ge=1)
        horizon_days: float = Field(default=30.0, gt=0)

    space: ClassVar[Space] = {
        "recent": Between(5, 100, log=True),
        "neighbours": Between(100, 2_000, log=True),
        "reach": Between(3, 50, log=True),
    }

    _timelines: Timelines
    _users: NDArray[np.uint64]  # (users,) a number for each user's id
    _by_number: Int64s  # (users,) what sorts them
    _weights: Floats  # (N_WEIGHTS,)

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Index the log and learn what its events' votes are worth."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        events = snapshot.sequences.interactions()
        self._users = _numbers(events)
        self._index(events.offsets, events.items, events.event_types, events.ts, is_timed=is_timed(events))
        self._learn(events, supervise(events, self.config.horizon_days), progress)
        return self

    def _index(self, *events: NDArray[Any], is_timed: bool) -> None:
        self._by_number = np.argsort(self._users)
        self._timelines = Timelines.of(*events, n_items=self.n_items, postings=self.config.postings, is_timed=is_timed)

    def _learn(self, events: Histories, supervision: Supervision, progress: Progress | None) -> None:
        """Adam (Kingma and Ba 2015) on the mean of ``-log p``, its rate falling to zero."""
        rng = np.random.default_rng(0)
        self._weights = np.zeros(N_WEIGHTS)
        drawn = rng.permutation(len(supervision.asked))[: self.config.questions]
        asked = self._asked_within(events, supervision.asked[drawn])
        low, high = supervision.first[drawn], supervision.last[drawn]
        answers = supervision.answers[low + (rng.random(len(drawn)) * (high - low)).astype(np.int64)]
        batches: list[tuple[Votes, NDArray[np.int32]]] = []
        held = 0
        for start in range(0, len(drawn), BATCH):
            rows = np.arange(start, min(start + BATCH, len(drawn)))
            batches.append((self._votes(asked.take(rows)), answers[rows]))
            held += batches[-1][0].nbytes
            if held > HELD_BYTES:
                break
        mean, square, step = np.zeros(N_WEIGHTS), np.zeros(N_WEIGHTS), 0
        for done in range(ROUNDS):
            total = 0.0
            for batch in rng.permutation(len(batches)):
                found, right = batches[batch]
                loss, gradient = likelihood(self._weights, found, right, self._popularity())
                gradient += PENALTY * self._weights
                total += loss
                mean = DECAYS[0] * mean + (1 - DECAYS[0]) * gradient
                square = DECAYS[1] * square + (1 - DECAYS[1]) * gradient**2
                rate = RATE * (1 - step / (ROUNDS * len(batches)))
                step += 1
                moved = mean / (1 - DECAYS[0] ** step) / (np.sqrt(square / (1 - DECAYS[1] ** step)) + 1e-8)
                self._weights = self._weights - rate * moved
            if progress is not None and batches:
                progress(done + 1, ROUNDS, {"loss": total / len(batches)})

    def _asked_within(self, events: Histories, last: Int64s) -> Asked:
        """Questions as of just after the events at flat positions ``last``."""
        own = events.rows[last]
        begins = np.maximum(events.offsets[own], last + 1 - self.config.recent)
        lengths = last + 1 - begins
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], lengths)
        of_events = (events.items[flat], events.event_types[flat], events.ts[flat])
        return Asked(offsets, *of_events, events.ts[last] + 1, own)

    def _asked(self, histories: Histories) -> Asked:
        recent = histories.interactions().tail(self.config.recent)
        numbers = _numbers(recent)
        place = np.searchsorted(self._users, numbers, sorter=self._by_number)
        row = np.append(self._by_number, -1)[place]
        own = np.where((row >= 0) & (np.append(self._users, 0)[row] == numbers), row, -1)
        of_events = (recent.items, recent.event_types, recent.ts)
        return Asked(recent.offsets, *of_events, recent.as_of_ms, own)

    def _votes(self, asked: Asked) -> Votes:
        return votes(self._timelines, asked, self.config.neighbours, self.config.reach)

    def _popularity(self) -> Floats:
        counts = self._timelines.counts
        return (counts + 1.0) / (counts.sum() + len(counts))

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items): probabilities over the catalogue; 0 for users without a known item."""
        asked = self._asked(histories)
        found = self._votes(asked)
        others, own, anything = strengths(self._weights, found)
        n = len(histories)
        total = anything.copy()
        scores = np.zeros((n, self.n_items), dtype=np.float32)
        for question, item, values in (
            (found.question.astype(np.int64), found.item, others),
            (found.distinct.question, found.distinct.item, own),
        ):
            total += np.bincount(question, values, n)
            np.add.at(scores.reshape(-1), question * self.n_items + item, values.astype(np.float32))
        scores += anything.astype(np.float32)[:, None] * self._popularity().astype(np.float32)
        is_asked = np.diff(asked.offsets) > 0
        scores *= (is_asked / total).astype(np.float32)[:, None]
        return scores

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """Names the item of the history around which others took each of ``items`` most, or says that it was seen."""
        found = self._votes(self._asked(histories))
        others, own, _ = strengths(self._weights, found)
        distinct = found.distinct
        sources = distinct.item[found.matches.distinct[found.match]]
        reasons = []
        for item in items.tolist():
            again = own[distinct.item == item].sum()
            of_item = found.item == item
            by_source = np.bincount(sources[of_item], others[of_item])
            source = int(by_source.argmax()) if len(by_source) else -1
            if source == item or again > by_source.sum():
                reasons.append(Reason("seen_before"))
            else:
                reasons.append(Reason("unexplained") if source < 0 else Reason("often_taken_with", item=source))
        return reasons

    def weights(self) -> dict[str, list[float]]:
        """What was learned: of each property the logarithm of what a vote that has it counts."""
        return {name: self._weights[start : start + TABLES[name]].round(3).tolist() for name, start in FIRST.items()}

    def save(self, folder: Path) -> None:
        """One npz and one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = self._timelines
        np.savez_compressed(
            folder / "neighbours.npz",
            users=self._users,
            weights=self._weights,
            **{name: getattr(lines, name) for name in ("offsets", "items", "types", "ts")},
        )
        about = {"config": self.config.model_dump(), "n_items": self.n_items, "is_timed": lines.is_timed}
        (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**about["config"])
        model.n_items = about["n_items"]
        with np.load(folder / "neighbours.npz", allow_pickle=False) as arrays:
            model._users, model._weights = arrays["users"], arrays["weights"]
            events = [arrays[name] for name in ("offsets", "items", "types", "ts")]
        model._index(*events, is_timed=about["is_timed"])
        return model


def strengths(weights: Floats, found: Votes) -> tuple[Floats, Floats, Floats]:
    """``exp(w)`` of each vote: by others' events (e,), by own items (d,), and for popularity (n,)."""
    of_match = weights[found.matches.columns].sum(axis=1)
    of_event = of_match[found.match]
    for column in range(found.columns.shape[1]):
        of_event += weights[found.columns[:, column]]
    own = weights[found.own_columns].sum(axis=1)
    return np.exp(of_event), np.exp(own), np.exp(weights[found.else_columns])


def likelihood(weights: Floats, found: Votes, answers: NDArray[np.int32], popularity: Floats) -> tuple[float, Floats]:
    """Mean of ``-log p(answer)`` over the questions, and its gradient (N_WEIGHTS,)."""
    n, distinct = len(answers), found.distinct
    others, own, anything = strengths(weights, found)
    mass = np.bincount(found.question, others, n) + np.bincount(distinct.question, own, n) + anything
    right = np.flatnonzero(found.item == answers[found.question])
    own_right = np.flatnonzero(distinct.item == answers[distinct.question])
    right_mass = anything * popularity[answers]
    right_mass += np.bincount(found.question[right], others[right], n)
    right_mass += np.bincount(distinct.question[own_right], own[own_right], n)
    # From here on the strengths become the derivatives by their logarithms.
    of_right, of_own = others[right] / right_mass[found.question[right]], own[own_right]
    of_own = of_own / right_mass[distinct.question[own_right]]
    of_anything = anything / mass - anything * popularity[answers] / right_mass
    others /= mass[found.question]
    own /= mass[distinct.question]
    others[right] -= of_right
    own[own_right] -= of_own
    gradient = np.bincount(found.else_columns, of_anything, N_WEIGHTS)
    of_match = np.bincount(found.match, others, len(found.matches.event))
    for columns, values in ((found.columns, others), (found.matches.columns, of_match), (found.own_columns, own)):
        for column in range(columns.shape[1]):
            gradient += np.bincount(columns[:, column], values, N_WEIGHTS)
    return float(np.log(mass / right_mass).mean()), gradient / n


def _numbers(histories: Histories) -> NDArray[np.uint64]:
    """(n,) uint64: the same for the same user id, another for another as good as always."""
    return pd.util.hash_array(histories.user_ids.astype(object), categorize=False)


__all__ = ["Neighbours", "likelihood", "strengths"]
