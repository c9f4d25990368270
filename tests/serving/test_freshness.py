"""Ages of one question: each limit to the millisecond, and every place that knowledge comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from features.schema import INTERACTIONS, MISSING, EventType
from features.sequences import LIVE_FRESH_S, Histories
from serving.freshness import Age, Ages, AttributeAge, Freshness, Source, ages

AS_OF_MS = 1_700_000_000_000
NEVER = Age(freshness=Freshness.MISSING, age_ms=None)


def fresh(age_ms: int) -> Age:
    return Age(freshness=Freshness.FRESH, age_ms=age_ms)


def stale(age_ms: int) -> Age:
    return Age(freshness=Freshness.STALE, age_ms=age_ms)


def of(
    now_ms: int,
    events: Sequence[tuple[EventType, int]] = (),
    attributes: Mapping[str, str] | None = None,
    told: Mapping[str, str] | None = None,
    snapshot_fresh_s: int = 100,
) -> Ages:
    question = Histories(
        user_ids=np.array(["ann"], dtype=object),
        as_of_ms=np.array([now_ms]),
        snapshot_ms=np.array([AS_OF_MS]),
        offsets=np.array([0, len(events)]),
        items=np.zeros(len(events), np.int32),
        event_types=np.array([kind.code for kind, _ in events], np.int8),
        ts=np.array([ts for _, ts in events], np.int64),
        attributes={name: np.array([value], dtype=object) for name, value in (attributes or {}).items()},
    )
    return ages(question, told or {}, snapshot_fresh_s)


def test_a_snapshot_is_fresh_up_to_its_limit() -> None:
    assert of(AS_OF_MS + 100_000).snapshot == fresh(100_000)
    assert of(AS_OF_MS + 100_001).snapshot == stale(100_001)
    assert of(AS_OF_MS - 5).snapshot == fresh(0)


@pytest.mark.parametrize("kind", list(EventType))
def test_live_is_what_l4_could_read(kind: EventType) -> None:
    limit_ms = 1_000 * LIVE_FRESH_S
    now_ms = AS_OF_MS + 2 * limit_ms
    known = kind in INTERACTIONS
    assert of(now_ms, [(kind, now_ms - limit_ms)]).live == (fresh(limit_ms) if known else NEVER)
    assert of(now_ms, [(kind, now_ms - limit_ms - 1)]).live == (stale(limit_ms + 1) if known else NEVER)
    assert of(now_ms, [(EventType.VIEW, now_ms - 7), (kind, now_ms - 1)]).live == fresh(1 if known else 7)


def test_what_the_snapshot_knew_is_history_and_not_live() -> None:
    assert of(AS_OF_MS + 9, [(EventType.VIEW, AS_OF_MS - 1)]).model_dump(exclude={"attributes"}) == {
        "snapshot": fresh(9).model_dump(),
        "history": fresh(9).model_dump(),
        "live": NEVER.model_dump(),
    }
    since = of(AS_OF_MS + 9, [(EventType.VIEW, AS_OF_MS)])
    assert (since.history, since.live) == (NEVER, fresh(9))


def test_an_attribute_is_told_now_or_as_old_as_the_snapshot_or_missing() -> None:
    known = {"country": "FR", "gender": "f", "age_band": MISSING}
    found = of(AS_OF_MS + 200_000, attributes=known, told={"country": "FR", "gender": "", "shoe_size": "42"}).attributes
    assert found == {
        "country": AttributeAge(freshness=Freshness.FRESH, age_ms=0, source=Source.TOLD),
        "gender": AttributeAge(freshness=Freshness.STALE, age_ms=200_000, source=Source.SNAPSHOT),
        "age_band": AttributeAge(freshness=Freshness.MISSING, age_ms=None, source=None),
    }
