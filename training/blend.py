"""The four levels in one ranking: a listwise logistic regression over the scores of fitted models.

The models are fitted on what was known at one instant and the weights on what users bought afterwards, so no model is
weighted by how well it remembers its own training data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from features.errors import ConfigError
from features.schema import Level
from features.sequences import Histories
from features.snapshot import Snapshot
from features.split import Labelled
from training.configured import HyperParameters
from training.listwise import Doubles, least_cross_entropy
from training.recommender import (
    Ids,
    Mask,
    Progress,
    Recommender,
    Scores,
    TrainingSet,
    at_once,
    chunks,
    model_class,
    register,
    top_k,
)
from training.shortlist import shortlists

#: Columns that one model's scores become: evidence in all, and evidence relative to the user's best item.
BASIS = 2

#: What no part speaks for scores between minus this and zero, by its popularity.
POPULARITY_FLOOR = 1e-6


def basis(s: NDArray[Any], best: NDArray[Any], scale: NDArray[Any] | float) -> tuple[NDArray[Any], NDArray[Any]]:
    """The ``BASIS`` columns of scores: evidence in units of ``scale``, and relative to the user's ``best``."""
    return np.log1p(s / scale), s / np.where(best > 0, best, 1.0)


#: Of (n, k) places in the rows of n questions, the position in ``Blend.parts`` of what spoke most, -1 for none.
Spoke = Callable[[Ids], NDArray[np.int8]]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranked items and which part spoke most for each.

    Attributes:
        ids, scores: (n, k) int32 and float32, padded with -1 and -inf.
        parts: (n, k) int8 position in ``Blend.parts`` of the largest contribution, -1 where no part knows anything.
    """

    ids: Ids
    scores: Scores
    parts: NDArray[np.int8]


@register
class Blend(Recommender):
    """``sum over parts of w1 * log(1 + s / scale) + w2 * s / max(s)``, ``s`` being the part's score of the item.

    Weights minimise the softmax cross entropy of what was bought among the parts' best items (ListNet; Cao et al.
    2007), one set for users who are in a session now and one for those who are not. Where the data carries no order
    inside a visit the former cannot be learned: it is the latter, and the live part weighs ``unmeasured_live_weight``.

    Items that no part has anything to say about are ranked by popularity: whatever fails, there is an answer.
    """

    name = "blend"
    level = Level.PREFERENCE

    class Config(HyperParameters):
        """What is blended, and what the weights learn from.

        Attributes:
            parts: Names of models.
            candidates: How many of each part's best items the weights learn from.
            questions: At most so many teach the weights, spread evenly over the users.
            penalty: The pull to an even mix, per question that teaches ...
            evenness: ... and at least this in all: a few dozen questions teach more of their own chance than of parts.
        """

        parts: tuple[str, ...] = ("bestsellers", "history", "cooccurrence", "transformer", "live")
        candidates: int = Field(default=100, ge=1)
        questions: int = Field(default=20_000, ge=1)
        penalty: float = Field(default=1e-3, ge=0)
        evenness: float = Field(default=5.0, ge=0)
        unmeasured_live_weight: float = Field(default=2.0, ge=0)

    parts: dict[str, Recommender]
    scales: NDArray[np.float64]  # (parts,)
    quiet: NDArray[np.float64]  # (parts, BASIS): weights between sessions
    live: NDArray[np.float64]  # (parts, BASIS): weights within one
    live_is_measured: bool = False

    popular: Scores  # (n_items,) in [-POPULARITY_FLOOR, 0]

    def with_parts(self, parts: Mapping[str, Recommender], snapshot: Snapshot) -> Self:
        """This blend over models that were fitted on ``snapshot``; they are used as they are."""
        missing = [name for name in self.config.parts if name not in parts]
        if missing:
            raise ConfigError("parts", "must be fitted models", missing[0], f"choose from {', '.join(parts)}")
        self.parts = {name: parts[name] for name in self.config.parts}
        self.n_items = len(snapshot.items)
        popularity = snapshot.item_matrix["popularity"].to_numpy(dtype=np.float64)
        share = popularity / max(popularity.max(initial=0.0), 1.0)
        self.popular = (POPULARITY_FLOOR * (share - 1.0)).astype(np.float32)
        return self

    @classmethod
    def of_one(cls, name: str, model: Recommender, snapshot: Snapshot) -> Self:
        """A fitted model as a blend that can be served: it ranks as the model does, and below that by popularity."""
        blend = cls(parts=(name,)).with_parts({name: model}, snapshot)
        blend.scales = np.ones(1)
        blend.quiet = blend.live = np.array([[0.0, 1.0]])
        return blend

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Fit the parts, unless they were given, and the weights on the validation slice."""
        if training_set.validation is None:
            raise ConfigError("validation", "is what a blend learns its weights from", mend="give a later label window")
        if not hasattr(self, "parts"):
            fitted = {name: model_class(name)().fit(training_set, progress) for name in self.config.parts}
            self.with_parts(fitted, training_set.snapshot)
        return self.learn(training_set.validation)

    def learn(self, quiet: Labelled, live: Labelled | None = None, *, again: bool = True) -> Self:
        """Learn the weights from questions asked between sessions and, if there are any, within sessions.

        Args:
            again: Whether items that the user has seen can be answers.
        """
        self.scales = self._scales(quiet) if live is None else self._scales(quiet, live)
        is_live = np.array([part.level is Level.LIVE for part in self.parts.values()])
        self.quiet = self._weights(quiet, in_session=False, again=again)
        self.quiet[is_live] = 0.0
        self.live_is_measured = live is not None and len(live) > 0
        if live is not None and self.live_is_measured:
            self.live = self._weights(live, in_session=True, again=again)
        else:
            self.live = self.quiet.copy()
            self.live[is_live] = self.config.unmeasured_live_weight
        return self

    def refit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """The same weights over parts fitted on a later snapshot."""
        parts = {name: part.refit(training_set, progress) for name, part in self.parts.items()}
        return self.reweighted(parts, training_set.snapshot)

    def reweighted(self, parts: Mapping[str, Recommender], snapshot: Snapshot) -> Self:
        """The same weights over parts of the same kinds, fitted on another snapshot."""
        other = type(self)(**self.config.model_dump()).with_parts(parts, snapshot)
        other.scales, other.quiet, other.live = self.scales, self.quiet, self.live
        other.live_is_measured = self.live_is_measured
        return other

    def part_scores(self, histories: Histories, unavailable: frozenset[str] = frozenset()) -> Scores:
        """(parts, n, n_items): L1 to L3 see what the snapshot knew, L4 what is live; 0 for unavailable parts."""
        past = histories.past()
        scores = np.zeros((len(self.parts), len(histories), self.n_items), dtype=np.float32)
        for position, (name, part) in enumerate(self.parts.items()):
            if name not in unavailable:
                scores[position] = part.score_all(histories if part.level is Level.LIVE else past)
        return np.maximum(scores, 0.0, out=scores)

    def contributions(self, histories: Histories, unavailable: frozenset[str] = frozenset()) -> Scores:
        """(parts, n, n_items): what each part adds to each item's score."""
        return self.added(self.part_scores(histories, unavailable))

    def added(self, scores: Scores) -> Scores:
        """(parts, n, n_items): what each part adds to the blend, written over its ``part_scores``."""
        in_session = self._in_session(scores)
        for position, s in enumerate(scores):
            weights = np.where(in_session[:, None], self.live[position], self.quiet[position]).astype(np.float32)
            evidence, relative = basis(s, s.max(axis=1, keepdims=True), self.scales[position])
            scores[position] = weights[:, :1] * evidence + weights[:, 1:] * relative
        return scores

    def _in_session(self, scores: Scores) -> Mask:
        """(n,) bool: whether L4 has anything to say; stale events, or such that lead nowhere, make no session."""
        live = [part.level is Level.LIVE for part in self.parts.values()]
        return np.asarray((scores[live] > 0).any(axis=(0, 2)), dtype=bool)

    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items) sums of the parts' contributions; popularity where there are none."""
        return self._ranked(histories, self.part_scores(histories))[0]

    def _total(self, added: Scores, items: Ids | None) -> Scores:
        popular = self.popular if items is None else self.popular[items]
        return np.where((added != 0).any(axis=0), added.sum(axis=0), popular)

    @property
    def is_indexed(self) -> bool:
        """Whether a part is: then ``recommend`` and ``rank`` ask all parts for their best, and rank only these."""
        return any(part.is_indexed for part in self.parts.values())

    def recommend(self, histories: Histories, k: int, allowed: Mask | None = None) -> tuple[Ids, Scores]:
        """The ``k`` best items of each user, of a large catalogue those among the parts' best."""
        if not self.is_indexed:
            return super().recommend(histories, k, allowed)
        ranking = self.rank(histories, k, allowed)
        return ranking.ids, ranking.scores

    def rank(
        self, histories: Histories, k: int, allowed: Mask | None = None, unavailable: frozenset[str] = frozenset()
    ) -> Ranking:
        """Like ``recommend``, saying which part spoke most for each item, and able to do without some parts."""
        ids = np.full((len(histories), k), -1, dtype=np.int32)
        scores = np.full((len(histories), k), -np.inf, dtype=np.float32)
        parts = np.full((len(histories), k), -1, dtype=np.int8)
        for rows in chunks(len(histories), at_once(self.n_items)):
            some = np.arange(rows.start, rows.stop)
            for of, items, said in self._asked(histories.take(some), k, allowed, unavailable):
                mine = allowed if allowed is None or items is None else allowed[items]
                total, spoke = self._ranked(histories.take(some[of]), said, items, mine)
                places, best = top_k(total, k, mine)
                found = np.maximum(places, 0)
                scores[some[of]] = best
                parts[some[of]] = np.where(places >= 0, spoke(found), -1)
                ids[some[of]] = np.where(places >= 0, found if items is None else items[found], -1)
        return Ranking(ids, scores, parts)

    def _asked(
        self, histories: Histories, k: int, allowed: Mask | None, unavailable: frozenset[str]
    ) -> Iterator[tuple[NDArray[np.int64], Ids | None, Scores]]:
        """Rows, the items in question, all if absent, and (parts, rows, items) what the parts say of them."""
        if not self.is_indexed:
            yield np.arange(len(histories)), None, self.part_scores(histories, unavailable)
            return
        each, popular = max(k, self.config.candidates), self._most_popular(k, allowed)
        lists = shortlists(self.parts, histories, each, allowed, unavailable, popular)
        for row, (items, said) in enumerate(lists):
            if len(items):
                yield np.array([row]), items, said

    def _most_popular(self, k: int, allowed: Mask | None) -> Ids:
        """(k,) int32, or fewer: what is ranked where no part speaks for as many."""
        order = self._by_popularity
        if allowed is None:
            return order[:k]
        likely = order[: 4 * k]
        found = likely[allowed[likely]]
        return found[:k] if len(found) >= k else order[allowed[order]][:k]

    @cached_property
    def _by_popularity(self) -> Ids:
        return np.argsort(-self.popular, kind="stable").astype(np.int32)

    def _ranked(
        self, histories: Histories, scores: Scores, items: Ids | None = None, allowed: Mask | None = None
    ) -> tuple[Scores, Spoke]:
        """(n, u) what ``rank`` sorts by, and who spoke.

        Args:
            scores: (parts, n, u) what the parts say; may be written over.
            items: (u,) which they are; all if absent.
            allowed: (u,) which of them may be shown, for rankings that choose candidates.
        """
        added = self.added(scores)

        def spoke(places: Ids) -> NDArray[np.int8]:
            of_items = np.take_along_axis(added, places[None], axis=2)
            return np.where(of_items.max(axis=0) > 0, of_items.argmax(axis=0), -1).astype(np.int8)

        return self._total(added, items), spoke

    def _scales(self, *questions: Labelled) -> NDArray[np.float64]:
        """The mean positive score of each part: what counts as one unit of its evidence."""
        sums, counts = np.zeros(len(self.parts)), np.zeros(len(self.parts))
        for asked in questions:
            for rows in chunks(len(asked), at_once(self.n_items)):
                scores = self.part_scores(asked.histories.take(np.arange(rows.start, rows.stop)))
                sums += scores.sum(axis=(1, 2), dtype=np.float64)
                counts += (scores > 0).sum(axis=(1, 2))
        return np.where(sums > 0, sums / np.maximum(counts, 1), 1.0)

    def _weights(self, asked: Labelled, *, in_session: bool, again: bool) -> NDArray[np.float64]:
        """(parts, BASIS) weights with the least cross entropy, drawn to an even mix where there is little to learn."""
        columns, hits, owners = self._examples(asked.spread(self.config.questions), in_session, again)
        even = np.tile([0.0, 1.0], len(self.parts))
        n_teaching = int(owners.max(initial=0)) + 1
        strength = max(self.config.penalty, self.config.evenness / n_teaching)
        weights = least_cross_entropy(columns, hits, owners, even, strength)
        return weights.reshape(len(self.parts), BASIS)

    def _examples(self, asked: Labelled, in_session: bool, again: bool) -> tuple[Doubles, Mask, NDArray[np.int64]]:
        """Columns (c, parts * BASIS), whether it was bought (c,) and question (c,) of every candidate.

        Questions none of whose purchases is a candidate teach nothing and are left out; so are, with ``in_session``,
        those to which L4 has nothing to say.
        """
        columns, bought_of, owners, kept = [], [], [], 0
        for rows in chunks(len(asked), at_once(self.n_items)):
            some = asked.take(np.arange(rows.start, rows.stop))
            scores = self.part_scores(some.histories)
            seen, bought = np.zeros((2, *scores.shape[1:]), dtype=bool)
            if not again:
                known = some.histories.items >= 0
                seen[some.histories.rows[known], some.histories.items[known]] = True
            known = some.labels.values < self.n_items
            bought[some.labels.rows[known], some.labels.values[known]] = True
            for row in range(len(some)) if not in_session else np.flatnonzero(self._in_session(scores)):
                of_row = scores[:, row]
                best, _ = top_k(of_row, self.config.candidates)
                candidates = np.unique(best[np.take_along_axis(of_row, np.maximum(best, 0), axis=1) > 0])
                candidates = candidates[~seen[row, candidates]]
                hits = bought[row, candidates]
                if hits.any():
                    s = of_row[:, candidates].astype(np.float64)
                    of_parts = basis(s, of_row.max(axis=1, keepdims=True), self.scales[:, None])
                    columns.append(np.stack(of_parts, axis=1).reshape(-1, len(candidates)).T)
                    bought_of.append(hits)
                    owners.append(np.full(len(candidates), kept))
                    kept += 1
        if not kept:
            return np.zeros((0, len(self.parts) * BASIS)), np.zeros(0, bool), np.zeros(0, np.int64)
        return np.concatenate(columns), np.concatenate(bought_of), np.concatenate(owners)

    def save(self, folder: Path) -> None:
        """A folder per part, and the weights as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {
            "config": self.config.model_dump(),
            "parts": {name: part.name for name, part in self.parts.items()},
            "scales": self.scales.tolist(),
            "quiet": self.quiet.tolist(),
            "live": self.live.tolist(),
            "live_is_measured": self.live_is_measured,
        }
        for name, part in self.parts.items():
            part.save(folder / "parts" / name)
        np.savez_compressed(folder / "popular.npz", popular=self.popular)
        (folder / "model.json").write_text(json.dumps(about, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        parts = {name: model_class(kind).load(folder / "parts" / name) for name, kind in about["parts"].items()}
        blend = cls(**about["config"])
        blend.parts = {name: parts[name] for name in blend.config.parts}
        with np.load(folder / "popular.npz", allow_pickle=False) as arrays:
            blend.popular = arrays["popular"]
        blend.n_items = len(blend.popular)
        blend.scales, blend.quiet, blend.live = (np.array(about[name]) for name in ("scales", "quiet", "live"))
        blend.live_is_measured = about["live_is_measured"]
        return blend


__all__ = ["BASIS", "Blend", "Ranking", "Spoke", "basis"]
