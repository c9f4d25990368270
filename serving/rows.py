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


__all__ = ["Impression", "LiveEvent"]
