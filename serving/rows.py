"""Rows that the service takes in and writes, in the contract's columns."""

from __future__ import annotations

from typing import NamedTuple

from features.schema import EventType, Level


class LiveEvent(NamedTuple):
    """One row of ``events`` in the contract's columns; ``properties`` is JSON text.

    ``ts`` equal to ``received_ts`` means that the client left the time to the server.
    """

    event_id: str
    user_id: str
    event_type: EventType
    ts: int
    received_ts: int
    item_id: str | None = None
    anonymous_id: str | None = None
    order_id: str | None = None
    session_id: str | None = None
    quantity: int | None = None
    unit_price_cents: int | None = None
    query: str | None = None
    properties: str | None = None

    def repeats(self, earlier: LiveEvent) -> bool:
        """Whether this is the earlier event again; a time that the server gave differs from request to request."""
        dated_by_server = self.ts == self.received_ts
        ts = earlier.ts if dated_by_server else self.ts
        return self._replace(ts=ts, received_ts=earlier.received_ts) == earlier


class Impression(NamedTuple):
    """One row of ``impressions``: an item displayed at a one-based rank, by which level and with which propensity."""

    request_id: str
    user_id: str
    surface: str
    item_id: str
    rank: int
    score: float
    level: Level
    propensity: float
    arm: str
    bundle_digest: str
    ts: int


class Recent(NamedTuple):
    """What one person did lately.

    Attributes:
        user_id: Who the id that was asked for turned out to be; that id itself unless it is an identified visitor's.
        visitors: The other ids of the same person, sorted.
        events: Of all these ids, oldest first.
    """

    user_id: str
    visitors: tuple[str, ...]
    events: list[LiveEvent]


class Seen(NamedTuple):
    """What one person did and was shown.

    Attributes:
        recent: Who it is, and the last events.
        shown: The last impressions, newest first.
        shown_by_day: (day, number) of all impressions in the window.
    """

    recent: Recent
    shown: list[Impression]
    shown_by_day: list[tuple[int, int]]


__all__ = ["Impression", "LiveEvent", "Recent", "Seen"]
