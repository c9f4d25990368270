"""The session that a person is in: what may still happen in it, what comes next, and which events said so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from features.ids import UNKNOWN
from features.schema import SESSION_GAP_S, EventType
from features.sequences import Histories
from serving.intent_answer import IntentReason, NextStep, PredictedTarget, SessionNow
from serving.rows import LiveEvent
from training.bundle import Bundle
from training.session.intent import SessionChances, SessionIntent
from training.session.outcomes import NEXT

#: A person's last events that are read, and how many next types and groups are told.
LAST, MOST = 500, 3
_KINDS = tuple(EventType)


def session_now(
    past: Iterable[Histories], events: Sequence[LiveEvent], targets: Sequence[str] | None, bundle: Bundle, now_ms: int
) -> SessionNow | None:
    """Chances of the session that a person is in; None between sessions, and of a bundle that has not learned them.

    Args:
        past: What the snapshot knows of each of the person's ids, and may be read.
        events: Those since then that may be read.
        targets: Names of those that are wanted; all if None.
    """
    model = bundle.session
    if model is None:
        return None
    history = _history(past, events, bundle, now_ms)
    if not len(history.items) or now_ms - int(history.ts[-1]) >= 1_000 * SESSION_GAP_S:
        return None
    chances = model.answer(history)
    places = chances.places[0][chances.places[0] >= 0]
    wanted = [target.name for target in model.targets if targets is None or target.name in targets]
    return SessionNow(
        started_ms=int(history.ts[places[0]]),
        events=len(places),
        targets=[_predicted(name, chances, history, bundle) for name in wanted],
        next_event=_likeliest(dict(zip(NEXT, chances.next_type[0], strict=True))),
        next_group=_likeliest(dict(zip(model.group_names, chances.next_group[0], strict=True))),
    )


def _history(past: Iterable[Histories], events: Sequence[LiveEvent], bundle: Bundle, now_ms: int) -> Histories:
    """One row: events about items, ordered as a snapshot orders them."""
    about_items = [event for event in events if event.item_id is not None]
    known = list(past)
    items = np.concatenate([*(one.items for one in known), np.array(_codes(about_items, bundle), dtype=np.int32)])
    kinds = np.array([event.event_type.code for event in about_items], dtype=np.int8)
    types = np.concatenate([*(one.event_types for one in known), kinds])
    ts = np.concatenate([*(one.ts for one in known), np.array([event.ts for event in about_items], dtype=np.int64)])
    order = np.lexsort((items, types, ts))[-LAST:]
    return Histories(
        user_ids=np.array(["now"], dtype=object),
        as_of_ms=np.array([now_ms], dtype=np.int64),
        snapshot_ms=np.array([bundle.as_of_ms], dtype=np.int64),
        offsets=np.array([0, len(order)], dtype=np.int64),
        items=items[order],
        event_types=types[order],
        ts=ts[order],
    )


def _codes(events: Sequence[LiveEvent], bundle: Bundle) -> list[int]:
    """Items that the bundle does not know are told apart: they too can be looked at again, and lie in a cart."""
    strange: dict[str, int] = {}
    codes = []
    for item in (event.item_id for event in events):
        code = UNKNOWN if item is None else bundle.items.code(item)
        if item is not None and code == UNKNOWN:
            code = UNKNOWN - 1 - strange.setdefault(item, len(strange))
        codes.append(code)
    return codes


def _predicted(name: str, chances: SessionChances, history: Histories, bundle: Bundle) -> PredictedTarget:
    told = chances.happens[name]
    probability = float(told.probability[0])
    added, places = chances.moved[name][0], chances.places[0]
    strongest = np.argsort(-np.abs(added), kind="stable")[:3]
    return PredictedTarget(
        name=name,
        horizon_days=None,
        probability=None if math.isnan(probability) else probability,
        rank=float(told.rank[0]),
        rank_only_because=str(told.refused[0]) or None,
        predictor=SessionIntent.name,
        reasons=[
            IntentReason(feature=_event(history, int(places[at]), bundle), value=at + 1, log_odds=float(added[at]))
            for at in strongest.tolist()
            if places[at] >= 0
        ],
    )


def _event(history: Histories, place: int, bundle: Bundle) -> str:
    code = int(history.items[place])
    item = "an unknown item" if code < 0 else str(bundle.items.ids[code])
    return f"{_KINDS[int(history.event_types[place])].value} of {item}"


def _likeliest(chances: Mapping[str, float]) -> list[NextStep]:
    best = sorted(chances, key=lambda name: -chances[name])[:MOST]
    return [NextStep(name=name, probability=float(chances[name])) for name in best]


__all__ = ["session_now"]
