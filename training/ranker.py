"""The second stage: the best candidates of all models, ranked by what the models, the item and the user say together.

It is learned on a later slice than the models that it reads, and is their blend wherever that slice does not show that
more helps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from features.schema import Level
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from training.blend import BASIS, Blend, Spoke, basis
from training.candidates import candidates
from training.listwise import Doubles, least_cross_entropy
from training.ranker_features import ItemFacts, candidate_features
from training.ranker_weights import (
    ARRAYS,
    MOVING,
    OF_PART,
    Examples,
    Weights,
    clearly_best,
    joined,
    ndcg,
    scored,
)
from training.recommender import Ids, Mask, Recommender, Scores, at_once, register


class Situation(StrEnum):
    """What is known of who asks: nothing, what they did before, or also what they do now."""

    STRANGER = "stranger"
    KNOWN = "known"
    SESSION = "session"


@register
class Ranker(Blend):
    """``sum over parts of weights . (log(1 + s / scale), s / max(s), 1 / place) + weights . features(item, user)``.

    It ranks the union of every part's best items; what is not among them follows, in the blend's order. Each situation
    has weights of its own: strangers, for whom only popularity and the item's features differ, users with a past, and
    users within a session. They minimise the softmax cross entropy of what was bought (ListNet; Cao et al. 2007),
    drawn to a base, the features' with a ridge whose strength the NDCG@20 of questions held out in turn decides. The
    base is the blend, for strangers all parts alike, unless one part alone is better by a standard error; and base it
    stays unless features are better by one, or where there are few questions.

    Which part spoke most for an item is the part whose columns add most to its score.
    """

    name = "ranker"

    class Config(Blend.Config):
        """``candidates`` is how many items each part proposes.

        Attributes:
            cap: The most candidates of one question.
            ridges: Strengths to choose from, for features that are standardised.
            folds: Groups of questions that are held out in turn.
            fewest, most: Fewer questions in a situation teach nothing; of more, evenly spread ones are read.
        """

        cap: int = Field(default=300, ge=1)
        ridges: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
        folds: int = Field(default=3, ge=2)
        fewest: int = Field(default=50, ge=2)
        most: int = Field(default=2_000, ge=2)

    facts: ItemFacts
    weights: dict[Situation, Weights]

    def with_parts(self, parts: Mapping[str, Recommender], snapshot: Snapshot) -> Self:
        """This ranker over models that were fitted on ``snapshot``; they are used as they are."""
        self.facts, self.weights = ItemFacts.of(snapshot), {}
        return super().with_parts(parts, snapshot)

    def learn(self, quiet: Labelled, live: Labelled | None = None, *, again: bool = True) -> Self:
        """Learn from questions asked between sessions and, if there are any, within sessions."""
        super().learn(quiet, live, again=again)
        for situation in Situation:
            asked = live if situation is Situation.SESSION else quiet
            examples = self._learned_from(asked, situation) if asked is not None else None
            weights = self._chosen(examples, situation)
            if weights.base != "blend" or math.isfinite(weights.ridge):
                self.weights[situation] = weights
        return self

    def reweighted(self, parts: Mapping[str, Recommender], snapshot: Snapshot) -> Self:
        """The same weights over parts of the same kinds, fitted on another snapshot."""
        other = super().reweighted(parts, snapshot)
        other.weights = dict(self.weights)
        return other

    def recommend(self, histories: Histories, k: int, allowed: Mask | None = None) -> tuple[Ids, Scores]:
        """The ``k`` best items of each user; candidates are drawn from those that may be shown."""
        ranking = self.rank(histories, k, allowed)
        return ranking.ids, ranking.scores

    def _ranked(
        self, histories: Histories, scores: Scores, items: Ids | None = None, allowed: Mask | None = None
    ) -> tuple[Scores, Spoke]:
        """The candidates' scores, and below them the blend's."""
        situations = self._situations(histories, scores)
        chosen, places = candidates(scores, self.config.candidates, self.config.cap, allowed)
        columns = self._columns(scores, chosen, places)
        known = chosen if items is None else Ragged(chosen.offsets, items[chosen.values])
        features = candidate_features(self.facts, histories, known)
        added = self.added(scores)
        total = self._total(added, items)
        spoke = np.where(added.max(axis=0) > 0, added.argmax(axis=0), -1).astype(np.int8)
        for situation, weights in self.weights.items():
            flat = np.flatnonzero((situations == situation)[chosen.rows])
            by_part = np.einsum("mpc,pc->mp", columns[flat], weights.of_parts)
            ranked = by_part.sum(axis=1) + weights.standard(features[flat]) @ weights.of_features
            rows, of = chosen.rows[flat], chosen.values[flat]
            spoke[rows, of] = np.where(by_part.max(axis=1) > 0, by_part.argmax(axis=1), -1)
            total[rows, of] = -np.inf
            best_other = np.maximum(total.max(axis=1), 0.0)
            worst = np.full(len(histories), np.inf)
            np.minimum.at(worst, rows, ranked)
            # Scores above 0, and above those of all other items, say that something speaks for a candidate.
            total[rows, of] = ranked + (best_other + 1e-3 - np.minimum(worst, best_other))[rows]
        return total, lambda found: np.take_along_axis(spoke, found, axis=1)

    def _columns(self, scores: Scores, chosen: Ragged, places: NDArray[np.int16]) -> Doubles:
        """(m, parts, OF_PART) what each part says of each candidate."""
        s = scores[:, chosen.rows, chosen.values].astype(np.float64)
        best = scores.max(axis=2)[:, chosen.rows]
        place = np.where(places < self.config.candidates, 1.0 / (1.0 + places), 0.0)
        return np.stack([*basis(s, best, self.scales[:, None]), place], axis=2).transpose(1, 0, 2)

    def _situations(self, histories: Histories, scores: Scores) -> NDArray[np.object_]:
        """(n,) ``Situation`` of each question."""
        situations = np.where(histories.past().interactions().lengths > 0, Situation.KNOWN, Situation.STRANGER).astype(
            object
        )
        situations[self._in_session(scores)] = Situation.SESSION
        return situations

    def _learned_from(self, asked: Labelled, situation: Situation) -> Examples | None:
        """Examples of one situation; None where there are too few."""
        found: list[Examples] = []
        n = min(len(asked), 2 * self.config.most)
        n_parts = -(-n // at_once(self.n_items)) or 1
        for part in np.array_split(np.linspace(0, len(asked) - 1, n).astype(np.int64), n_parts):
            some = asked.take(part)
            scores = self.part_scores(some.histories)
            chosen, places = candidates(scores, self.config.candidates, self.config.cap)
            width = int(max(some.labels.values.max(initial=0), self.n_items)) + 1
            hits = np.isin(
                chosen.rows * width + chosen.values, some.labels.rows * width + some.labels.values, assume_unique=True
            )
            every = Examples(
                self._columns(scores, chosen, places),
                candidate_features(self.facts, some.histories, chosen),
                hits,
                chosen.rows,
                some.labels.lengths,
            )
            # Where no part speaks there is nothing to rank.
            asks = (self._situations(some.histories, scores) == situation) & (chosen.lengths > 0)
            found.append(every.of(np.flatnonzero(asks)))
        together = joined(found)
        n_found = len(together.wanted)
        if n_found > self.config.most:
            together = together.of(np.linspace(0, n_found - 1, self.config.most).astype(np.int64))
        return together if n_found >= self.config.fewest else None

    def _bases(self, situation: Situation) -> dict[str, Doubles]:
        """By name (parts, OF_PART) weights that need no lesson of their own, what is taken without one first.

        The blend's are learned for all situations together: where one part speaks alone they need not keep its order.
        """
        speaks = np.array([part.level is not Level.LIVE for part in self.parts.values()])
        if situation is Situation.SESSION:
            speaks[:] = True
        alone = {}
        for position, name in enumerate(self.parts):
            if speaks[position]:
                alone[name] = np.zeros((len(speaks), OF_PART))
                alone[name][position, 1] = 1.0
        even = {"even": np.sum([np.zeros((len(speaks), OF_PART)), *alone.values()], axis=0)}
        learned = self.live if situation is Situation.SESSION else self.quiet
        blend = {"blend": np.pad(learned, ((0, 0), (0, OF_PART - BASIS)))}
        return even | alone if situation is Situation.STRANGER else blend | alone

    def _chosen(self, examples: Examples | None, situation: Situation) -> Weights:
        """The best base, and the weights under the best strength where they are better than it."""
        bases = [Weights.of_base(name, of_parts) for name, of_parts in self._bases(situation).items()]
        if examples is None:
            return bases[0]
        n, folds = len(examples.wanted), self.config.folds
        base = bases[clearly_best([ndcg(examples, scored(each, examples)) for each in bases])]
        held_out = {ridge: np.zeros(n) for ridge in sorted(self.config.ridges, reverse=True)}
        for fold in range(folds):
            inside = np.arange(n) % folds == fold
            rest, asked = examples.of(np.flatnonzero(~inside)), examples.of(np.flatnonzero(inside))
            fitted = None
            for ridge in held_out:  # the solution under one strength is near that under the next
                fitted = self._fitted(rest, situation, base, ridge, fitted)
                held_out[ridge][inside] = ndcg(asked, scored(fitted, asked))
        values = [ndcg(examples, scored(base, examples)), *held_out.values()]
        best = clearly_best(values)
        if best == 0:
            return base
        gain = float((values[best] - values[0]).mean())
        return replace(self._fitted(examples, situation, base, list(held_out)[best - 1]), gain=gain)

    def _fitted(
        self, examples: Examples, situation: Situation, base: Weights, ridge: float, near: Weights | None = None
    ) -> Weights:
        """The weights under one strength; ``near`` is where the search begins."""
        features = examples.features[:, :MOVING].astype(np.float64)
        means, deviations = features.mean(axis=0), features.std(axis=0) + 1e-6
        found = Weights(base.of_parts, means, deviations, base.of_features, base.base, ridge)
        x = np.concatenate([examples.columns.reshape(len(features), -1), found.standard(features)], axis=1)
        prior = np.concatenate([base.of_parts.ravel(), base.of_features])
        start = None if near is None else np.concatenate([near.of_parts.ravel(), near.of_features])
        strengths = np.repeat([self.config.penalty, ridge], [base.of_parts.size, MOVING])
        weights = least_cross_entropy(x, examples.hits, examples.owners, prior, strengths, start)
        of_parts = weights[: base.of_parts.size].reshape(base.of_parts.shape)
        if situation is not Situation.SESSION:  # what is silent there teaches nothing
            of_parts[[part.level is Level.LIVE for part in self.parts.values()]] = 0.0
        return replace(found, of_parts=of_parts, of_features=weights[base.of_parts.size :])

    def save(self, folder: Path) -> None:
        """What the blend writes, the items' facts as npz and the weights as JSON."""
        super().save(folder)
        self.facts.save(folder / "facts.npz")
        weights = {
            situation.value: {name: np.asarray(getattr(each, name)).tolist() for name in (*ARRAYS, "base", "gain")}
            | {"ridge": each.ridge if math.isfinite(each.ridge) else None}
            for situation, each in self.weights.items()
        }
        (folder / "weights.json").write_text(json.dumps(weights, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        ranker = super().load(folder)
        ranker.facts = ItemFacts.load(folder / "facts.npz")
        ranker.weights = {}
        for situation, each in json.loads((folder / "weights.json").read_text(encoding="utf-8")).items():
            arrays = {name: np.array(each[name]) for name in ARRAYS}
            ridge = math.inf if each["ridge"] is None else each["ridge"]
            ranker.weights[Situation(situation)] = Weights(**arrays, base=each["base"], ridge=ridge, gain=each["gain"])
        return ranker


__all__ = ["Ranker", "Situation"]
