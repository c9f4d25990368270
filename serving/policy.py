"""The policy: a pure function from a question and what is known to a slate with levels, reasons and propensities.

The service wraps it and records what went in; experiments replay the very same function.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.errors import ConfigError
from features.ids import UNKNOWN
from features.schema import INTERACTIONS, EventType, Level
from features.sequences import LIVE_FRESH_S, Histories
from serving.candidates import among, unranked
from serving.freshness import SNAPSHOT_FRESH_S, Ages, ages
from serving.recommend_answer import Unranked
from serving.rows import LiveEvent
from training.blend import Ranking
from training.bundle import Bundle
from training.reasons import WORDS, Reason
from training.recommender import Recommender

_log = logging.getLogger(__name__)


class PolicyConfig(BaseModel):
    """``off``: levels that never answer. Turning off L1 or L4 needs ``force``: blends live from both ends.

    ``live_fresh_s``: how old an event may be and still drive L4. A limit that no visit reaches would be no limit, and
    one below a minute would turn L4 off. ``snapshot_fresh_s``: how old a snapshot may be before answers call it stale.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    off: tuple[str, ...] = ()
    force: bool = False
    live_fresh_s: int = Field(default=LIVE_FRESH_S, ge=60, le=86_400)
    snapshot_fresh_s: int = Field(default=SNAPSHOT_FRESH_S, ge=1, le=10 * 365 * 86_400)

    def checked(self) -> PolicyConfig:
        """This configuration; a ConfigError if it turns off what it must not."""
        labels = [level.label for level in Level if level is not Level.POPULAR]
        for label in self.off:
            if label not in labels:
                raise ConfigError("policy.off", f"must be of {', '.join(labels)}", label)
            if label in ("L1", "L4") and not self.force:
                raise ConfigError("policy.off", "must not name L1 or L4", label, "say `force: true` if it is meant")
        return self


@dataclass(frozen=True, slots=True)
class Request:
    """Which ``k`` items for this user, on this surface, now.

    Attributes:
        attributes: Demographics that the caller knows.
        item_id: What the user is looking at; it counts as a view at this moment and is not shown.
        now_ms: The instant of the question.
        exclude: Items that must not be shown.
        candidates: Only these are ranked; everything that is available if None.
        visitors: Other ids of the same user, from before it was known who they were.
        personal: False of whoever refuses personalisation: nothing of the user is read.
    """

    user_id: str
    k: int
    surface: str = "home"
    attributes: dict[str, str] = field(default_factory=dict)
    item_id: str | None = None
    now_ms: int = 0
    exclude: list[str] = field(default_factory=list)
    candidates: list[str] | None = None
    visitors: tuple[str, ...] = ()
    personal: bool = True

    @property
    def hidden(self) -> list[str]:
        """Items that are not shown: those excluded, and the one that the user looks at."""
        return self.exclude if self.item_id is None else [*self.exclude, self.item_id]


@dataclass(frozen=True, slots=True)
class SlateItem:
    """One item at its one-based rank, with the level that spoke most for it."""

    item_id: str
    rank: int
    score: float
    level: str
    reason: str
    propensity: float = 1.0  # nothing is drawn at random yet: what is shown was shown for certain


@dataclass(frozen=True, slots=True)
class Slate:
    """The answer: distinct available items, best first, and what the caller should know about it.

    Attributes:
        unranked: Of the caller's candidates those that are not ranked.
    """

    items: list[SlateItem]
    bundle_digest: str
    arm: str
    notes: list[str]
    ages: Ages
    unranked: dict[str, Unranked] = field(default_factory=dict)


def decide(
    request: Request, events: Sequence[LiveEvent], bundle: Bundle, unavailable: frozenset[str] = frozenset()
) -> Slate:
    """Rank for one request.

    The ladder: the blend of all levels that are available, which itself ends in what is popular, so that the slate is
    never empty while there is anything to show.

    Args:
        events: The user's events since ``bundle.as_of_ms``, oldest first; those that are no longer fresh do not drive
            L4, but they were seen.
        unavailable: Labels of levels that cannot answer now ("L3"); a level that fails is found out and joins them.
    """
    notes: list[str] = []
    config = PolicyConfig(**bundle.policy).checked()
    off = set(unavailable) | set(config.off)
    question = _question(request, events, bundle, config.live_fresh_s)
    allowed = _allowed(request, bundle)
    unused = _unused(bundle, off) | _off_surface(request.surface, bundle)
    ranking, failed = _rank(question, request.k, allowed, bundle, unused)
    if request.surface == "recently_viewed":
        ranking = _seen_first(question, ranking, allowed, bundle)
    if not request.personal:
        notes.append("did without all that is known of the user, who refuses personalisation")
    if failed:
        notes.append(f"did without {', '.join(sorted(failed))}, which failed")
    return _slate(request, ranking, bundle, question, notes, config)


def _question(request: Request, events: Sequence[LiveEvent], bundle: Bundle, live_fresh_s: int) -> Histories:
    if not request.personal:  # nobody has the empty id
        return replace(bundle.question("", request.now_ms), live_fresh_s=live_fresh_s)
    seen = [(event.item_id, event.event_type, event.ts) for event in events if event.ts < request.now_ms]
    if request.item_id is not None:
        seen.append((request.item_id, EventType.VIEW, request.now_ms - 1))
    question = bundle.question(request.user_id, request.now_ms, seen, request.attributes)
    return replace(_with_visitors(question, request.visitors, bundle), live_fresh_s=live_fresh_s)


def _with_visitors(question: Histories, visitors: tuple[str, ...], bundle: Bundle) -> Histories:
    """The question with what the snapshot knows of the same user under other ids, as the next snapshot will merge it.

    Attributes remain those of the user.
    """
    if not visitors:
        return question
    codes = bundle.users.encode(visitors)
    known = bundle.sequences.take(codes[codes != UNKNOWN].astype(np.int64))
    ts = np.append(known.ts, question.ts)
    in_time = np.argsort(ts, kind="stable")
    return replace(
        question,
        offsets=np.array([0, len(ts)], dtype=np.int64),
        items=np.append(known.items, question.items)[in_time],
        event_types=np.append(known.event_types, question.event_types)[in_time],
        ts=ts[in_time],
    )


def _allowed(request: Request, bundle: Bundle) -> NDArray[np.bool_]:
    allowed = bundle.available.copy()
    codes = bundle.items.encode(request.hidden)
    allowed[codes[codes != UNKNOWN]] = False
    return allowed if request.candidates is None else among(request.candidates, allowed, bundle)


def _unused(bundle: Bundle, levels: set[str]) -> frozenset[str]:
    return frozenset(name for name, part in bundle.blend.parts.items() if part.level.label in levels)


def _off_surface(surface: str, bundle: Bundle) -> frozenset[str]:
    """On the bestsellers' page only bestsellers rank."""
    if surface != "bestsellers":
        return frozenset()
    return frozenset(name for name, part in bundle.blend.parts.items() if part.name != "bestsellers")


def _rank(
    question: Histories, k: int, allowed: NDArray[np.bool_], bundle: Bundle, unused: frozenset[str]
) -> tuple[Ranking, frozenset[str]]:
    """The ranking, and the names of parts that failed and were left out: one broken model must not empty the page."""
    try:
        ranking = bundle.blend.rank(question, k, allowed, unused)
        # Where a part's scores are not numbers, their sum ranks nothing.
        if np.count_nonzero(ranking.ids != UNKNOWN) == min(k, np.count_nonzero(allowed)):
            return ranking, frozenset()
        _log.error("a part of the blend gave scores that are not finite")
    except Exception:
        _log.exception("a part of the blend failed")
    everything = frozenset(bundle.blend.parts)
    failed = frozenset(name for name in everything - unused if not _works(question, bundle, everything - {name}))
    return bundle.blend.rank(question, k, allowed, unused | failed), failed


def _works(question: Histories, bundle: Bundle, others: frozenset[str]) -> bool:
    try:
        return bool(np.isfinite(bundle.blend.part_scores(question, others)).all())
    except Exception:
        return False


def _seen_first(question: Histories, ranking: Ranking, allowed: NDArray[np.bool_], bundle: Bundle) -> Ranking:
    """What the user viewed or carted and did not buy since, newest first; then the ranking, up to its length."""
    interactions = {event_type.code for event_type in INTERACTIONS}
    newest: dict[int, None] = {}
    for item, event_type in zip(question.items.tolist(), question.event_types.tolist(), strict=True):
        if event_type in interactions:  # what was taken out of the cart or sent back was still seen
            newest.pop(item, None)
            if item != UNKNOWN and event_type != EventType.PURCHASE.code and allowed[item]:
                newest[item] = None
    k = ranking.ids.shape[1]
    seen = list(reversed(newest))[:k]
    rest = np.flatnonzero(~np.isin(ranking.ids[0], seen))[: k - len(seen)]
    by_history = next((n for n, part in enumerate(bundle.blend.parts.values()) if part.name == "history"), UNKNOWN)
    above = float(np.max(ranking.scores[0], initial=0.0, where=np.isfinite(ranking.scores[0])))
    return Ranking(
        np.append(seen, ranking.ids[0][rest]).astype(np.int32)[None],
        np.append(above + np.arange(len(seen), 0, -1), ranking.scores[0][rest]).astype(np.float32)[None],
        np.append(np.full(len(seen), by_history), ranking.parts[0][rest]).astype(np.int8)[None],
    )


def _slate(
    request: Request, ranking: Ranking, bundle: Bundle, question: Histories, notes: list[str], config: PolicyConfig
) -> Slate:
    known = ranking.ids[0] != UNKNOWN
    ids, scores = ranking.ids[0][known], ranking.scores[0][known].astype(float)
    reasons, levels = _reasons(ids, ranking.parts[0][known], bundle, question)
    if len(ids) < request.k and request.candidates is None:
        notes.append(f"the catalogue has only {len(ids)} items to show")
    items = [
        SlateItem(item_id, rank, score, level.label, words(reason, bundle))
        for rank, (item_id, score, level, reason) in enumerate(
            zip(bundle.items.decode(ids).tolist(), scores.tolist(), levels, reasons, strict=True), start=1
        )
    ]
    told = ages(question, request.attributes, config.snapshot_fresh_s)
    left = {} if request.candidates is None else unranked(request.candidates, request.hidden, bundle)
    return Slate(items, bundle.digest, bundle.arm, notes, told, left)


def _reasons(
    ids: NDArray[np.int32], parts: NDArray[np.int8], bundle: Bundle, question: Histories
) -> tuple[list[Reason], list[Level]]:
    reasons, levels = [Reason("popular")] * len(ids), [Level.POPULAR] * len(ids)
    past = question.past()
    for position, part in enumerate(bundle.blend.parts.values()):
        places = np.flatnonzero(parts == position)
        if len(places):
            told = _explained(part, question if part.level is Level.LIVE else past, ids[places])
            for place, reason in zip(places.tolist(), told, strict=True):
                reasons[place] = reason
                levels[place] = Level.POPULAR if reason.code == "popular" else part.level
    return reasons, levels


def _explained(part: Recommender, question: Histories, ids: NDArray[np.int32]) -> list[Reason]:
    """The part's reasons; a part that ranks but fails to explain is still what the items come from."""
    try:
        return part.explain(question, ids)
    except Exception:
        _log.exception("a part of the blend could not explain its items")
        return [Reason("unexplained")] * len(ids)


def words(reason: Reason, bundle: Bundle) -> str:
    """What a reason says to the person who sees the item."""
    item = str(bundle.items.ids[reason.item]) if reason.item != UNKNOWN else "what you have"
    return WORDS[reason.code].format(item=item, detail=reason.detail)


__all__ = ["PolicyConfig", "Request", "Slate", "SlateItem", "decide", "words"]
