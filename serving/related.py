"""What goes with an item or a cart: partners in orders, ranked, without substitutes where complements are wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import NotFoundError
from features.ids import UNKNOWN
from features.schema import Level
from features.together import Pairs, Together
from serving.contracts import RequestError
from serving.freshness import age_of
from serving.policy import PolicyConfig, words
from serving.related_answer import Evidence, Kind, RelatedAnswer, RelatedItem, RelatedRequest
from serving.rows import Impression
from training.bundle import Bundle
from training.reasons import Reason

Bools = NDArray[np.bool_]


def related(asked: RelatedRequest, bundle: Bundle, now_ms: int, request_id: str) -> RelatedAnswer:
    """What is bought with the anchors more often than by chance, the strongest first, ties by lower dense id.

    Of several anchors an item's score is the chance that one of independent causes brings it about,
    ``1 - product(1 - strength)``: of Online Retail's carts of two and of five this hits the rest of the order as often
    as the sum of the strengths (78.6 %, 84.4 %) or the largest (77.6 %, 85.2 %) where that is the better one.

    Raises:
        NotFoundError: The bundle was made without what is bought together.
        RequestError: No anchor is known (404).
    """
    if bundle.together is None:
        raise NotFoundError("bundle", "must hold what is bought together", mend="train it again, from a data set")
    config = PolicyConfig(**bundle.policy).checked()
    anchors, unknown = _known(asked.anchors, bundle)
    notes = _why_none(anchors, bundle, bundle.together)
    found = _allowed(asked, anchors, _Found.of(anchors, bundle.together), bundle, notes)
    if Level.BEHAVIOUR.label in config.off:
        found, notes = found.where(np.zeros(len(found.anchors), dtype=bool)), ["the policy has turned L2 off"]
    return RelatedAnswer(
        request_id=request_id,
        kind=asked.kind,
        surface=asked.surface,
        anchors=bundle.items.decode(np.array(anchors, dtype=np.int32)).tolist(),
        unknown_anchors=unknown,
        orders=bundle.together.n_orders,
        items=_ranked(found, asked.k, bundle),
        bundle_digest=bundle.digest,
        arm=bundle.arm,
        as_of_ms=bundle.as_of_ms,
        served_ms=now_ms,
        snapshot=age_of(now_ms, bundle.as_of_ms, config.snapshot_fresh_s),
        notes=notes,
    )


def impressions(answer: RelatedAnswer, user_id: str | None) -> list[Impression]:
    """What the answer shows to a user; nothing if it is not said to whom."""
    if user_id is None:
        return []
    return [
        Impression(
            request_id=answer.request_id,
            user_id=user_id,
            surface=answer.surface.value,
            item_id=item.item_id,
            rank=item.rank,
            score=item.score,
            level=Level.BEHAVIOUR,
            propensity=1.0,
            arm=answer.arm,
            bundle_digest=answer.bundle_digest,
            ts=answer.served_ms,
        )
        for item in answer.items
    ]


@dataclass(frozen=True, slots=True)
class _Found:
    """Pairs of several anchors: ``anchors`` (m,) int32 beside the columns of ``pairs``."""

    anchors: NDArray[np.int32]
    pairs: Pairs

    @classmethod
    def of(cls, anchors: list[int], together: Together) -> _Found:
        of_each = [together.partners_of(anchor) for anchor in anchors]
        owners = np.repeat(np.array(anchors, dtype=np.int32), [len(pairs.items) for pairs in of_each])
        return cls(owners, Pairs._make(np.concatenate(columns) for columns in zip(*of_each, strict=True)))

    def where(self, keep: Bools) -> _Found:
        return _Found(self.anchors[keep], Pairs._make(column[keep] for column in self.pairs))

    @property
    def n_items(self) -> int:
        return len(np.unique(self.pairs.items))


def _known(anchors: list[str], bundle: Bundle) -> tuple[list[int], list[str]]:
    """Dense ids of those that are known, and the others; each once, as asked."""
    once = list(dict.fromkeys(anchors))
    codes = bundle.items.encode(once).tolist()
    unknown = [one for one, code in zip(once, codes, strict=True) if code == UNKNOWN]
    if len(unknown) == len(once):
        mend = "name an item that was listed before as_of_ms"
        raise RequestError(404, "anchors.0", "must be an item that the snapshot knows", unknown[0], mend)
    return [code for code in codes if code != UNKNOWN], unknown


def _why_none(anchors: list[int], bundle: Bundle, together: Together) -> list[str]:
    """Why anchors lead nowhere, of those that do."""
    if not together.n_orders:
        return ["the snapshot knows of no order"]
    names = bundle.items.ids
    never = [str(names[anchor]) for anchor in anchors if not together.orders[anchor]]
    alone = [
        f"{names[anchor]} ({together.orders[anchor]} orders)"
        for anchor in anchors
        if together.orders[anchor] and together.offsets[anchor] == together.offsets[anchor + 1]
    ]
    notes = [f"in no order: {', '.join(never)}"] if never else []
    return notes + ([f"bought with nothing more often than by chance: {', '.join(alone)}"] if alone else [])


def _allowed(asked: RelatedRequest, anchors: list[int], found: _Found, bundle: Bundle, notes: list[str]) -> _Found:
    """Without anchors, what is excluded or not available, and for complements substitutes; ``notes`` says how many."""
    shown = bundle.available.copy()
    hidden = bundle.items.encode(asked.exclude)
    shown[hidden[hidden != UNKNOWN]] = False
    among = found.where(~np.isin(found.pairs.items, anchors))
    kept = among.where(shown[among.pairs.items])
    _tell(notes, among, kept, "not available or excluded")
    if asked.kind is Kind.BOUGHT_TOGETHER:
        return kept
    codes = bundle.category_codes
    if not asked.uncategorised:
        among, kept = kept, kept.where((codes[kept.pairs.items] >= 0) & (codes[kept.anchors] >= 0))
        _tell(notes, among, kept, "without a category, or bought with an item without one")
    own = codes[anchors]
    among, kept = kept, kept.where(~np.isin(codes[kept.pairs.items], own[own >= 0]))
    _tell(notes, among, kept, "of an anchor's own category")
    return kept


def _tell(notes: list[str], before: _Found, after: _Found, why: str) -> None:
    if n_left_out := before.n_items - after.n_items:
        notes.append(f"left out {n_left_out} {why}")


def _ranked(found: _Found, k: int, bundle: Bundle) -> list[RelatedItem]:
    items, of_item = np.unique(found.pairs.items, return_inverse=True)
    scores = -np.expm1(np.bincount(of_item, weights=np.log1p(-found.pairs.strength), minlength=len(items)))
    best = np.lexsort((items, -scores))[:k]
    return [
        _item(found.where(of_item == place), rank, float(scores[place]), bundle)
        for rank, place in enumerate(best.tolist(), start=1)
    ]


def _item(found: _Found, rank: int, score: float, bundle: Bundle) -> RelatedItem:
    """One item from its pairs, of which there is at least one."""
    item, pairs = int(found.pairs.items[0]), found.pairs
    order = np.lexsort((found.anchors, -pairs.strength))
    evidence = [
        Evidence(
            anchor=str(bundle.items.ids[found.anchors[place]]),
            support=int(pairs.support[place]),
            confidence=float(pairs.confidence[place]),
            lift=float(pairs.lift[place]),
            lift_low=float(pairs.lift_low[place]),
        )
        for place in order.tolist()
    ]
    detail = f"{evidence[0].support} orders, {evidence[0].lift:.1f} times as often as by chance"
    return RelatedItem(
        item_id=str(bundle.items.ids[item]),
        rank=rank,
        score=score,
        level=Level.BEHAVIOUR.label,
        category=bundle.categories[item],
        reason=words(Reason("bought_with", detail, int(found.anchors[order[0]])), bundle),
        evidence=evidence,
    )


__all__ = ["impressions", "related"]
