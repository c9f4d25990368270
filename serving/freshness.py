"""How old the things are that an answer was decided from, and whether each is fresh, stale or missing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from features.schema import INTERACTIONS, MISSING, EventType

if TYPE_CHECKING:
    from features.sequences import Histories

#: Two days: snapshots are made nightly, and one that comes late is no alarm.
SNAPSHOT_FRESH_S = 172_800

#: By code of the event type.
_IS_INTERACTION = np.array([event_type in INTERACTIONS for event_type in EventType])


class Freshness(StrEnum):
    """Fresh until it is older than the policy allows, then stale; missing if it was never known."""

    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"


class Source(StrEnum):
    """Who told an attribute: the caller with the question, or the snapshot."""

    TOLD = "told"
    SNAPSHOT = "snapshot"


class Age(BaseModel):
    """How old one thing is."""

    model_config = ConfigDict(frozen=True)

    freshness: Freshness
    age_ms: int | None = Field(description="Milliseconds before served_ms; null where it is missing.")


class AttributeAge(Age):
    """How old a demographic attribute is, and where it comes from."""

    source: Source | None = Field(description="What is told with the question outranks the snapshot.")


class Ages(BaseModel):
    """How old everything is that an answer was decided from."""

    model_config = ConfigDict(frozen=True)

    snapshot: Age = Field(description="What the models know; stale after the policy's snapshot_fresh_s.")
    history: Age = Field(description="The user's events in the snapshot, for L2 and L3: as old as it, or missing.")
    live: Age = Field(
        description="The user's newest view, cart or purchase since the snapshot, and now if item_id is given; "
        "stale after the policy's live_fresh_s. L4 reads nothing that is stale."
    )
    attributes: dict[str, AttributeAge] = Field(description="The attributes that L1 knows, by name.")


def ages(question: Histories, told: Mapping[str, str], snapshot_fresh_s: int) -> Ages:
    """The ages behind the answer to one question, at its instant.

    Args:
        question: One row.
        told: Attributes that came with the question.
        snapshot_fresh_s: After how many seconds the snapshot is stale.
    """
    snapshot_ms = int(question.snapshot_ms[0])
    snapshot = _age(question, snapshot_ms, snapshot_fresh_s)
    since = question.ts[(question.ts >= snapshot_ms) & _IS_INTERACTION[question.event_types]]
    return Ages(
        snapshot=snapshot,
        history=snapshot if (question.ts < snapshot_ms).any() else _missing(),
        live=_age(question, int(since.max()), question.live_fresh_s) if len(since) else _missing(),
        attributes={
            name: _attribute(value=str(values[0]), told=told.get(name), snapshot=snapshot)
            for name, values in question.attributes.items()
        },
    )


def _age(question: Histories, known_ms: int, fresh_s: int) -> Age:
    return age_of(int(question.as_of_ms[0]), known_ms, fresh_s)


def age_of(now_ms: int, known_ms: int, fresh_s: int) -> Age:
    """The age of what was known at an instant; stale after ``fresh_s`` seconds."""
    # A snapshot that is dated ahead of the server's clock is as fresh as can be.
    age_ms = max(0, now_ms - known_ms)
    return Age(freshness=Freshness.STALE if age_ms > 1_000 * fresh_s else Freshness.FRESH, age_ms=age_ms)


def _missing() -> Age:
    return Age(freshness=Freshness.MISSING, age_ms=None)


def _attribute(value: str, told: str | None, snapshot: Age) -> AttributeAge:
    if value == MISSING:
        return AttributeAge(freshness=Freshness.MISSING, age_ms=None, source=None)
    if told:
        return AttributeAge(freshness=Freshness.FRESH, age_ms=0, source=Source.TOLD)
    return AttributeAge(freshness=snapshot.freshness, age_ms=snapshot.age_ms, source=Source.SNAPSHOT)


__all__ = ["SNAPSHOT_FRESH_S", "Age", "Ages", "AttributeAge", "Freshness", "Source", "age_of", "ages"]
