"""Instants as people write them: a date, a date with time, or a share of the events."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.schema import DAY_MS, Columns

#: Label window where none is asked for.
HORIZON_DAYS = 30.0


def iso(instant_ms: int) -> str:
    """UTC, to the second; a midnight is written as its date.

    >>> iso(1320796800000)
    '2011-11-09'
    """
    text = datetime.fromtimestamp(instant_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return text.removesuffix("T00:00:00Z")


def parse_instant(text: str, dataset: Dataset, engine: Engine, *, field: str = "as_of") -> int:
    """Epoch milliseconds of ``2011-11-09``, ``2011-11-09T12:00`` or ``80%`` of the events, in UTC unless it says so.

    The instant of a share is the time of the first event after it, so that at most this share is strictly before.

    Raises:
        ConfigError: None of these, or outside the data.
    """
    mend = "write a date like 2011-11-09, or a share of the events like 80%"
    if text.endswith("%"):
        try:
            share = Decimal(text[:-1]) / 100  # a float would cut 29% of 100 events after the 28th
            inside = 0 < share < 1
        except InvalidOperation:
            raise ConfigError(field, "must be an instant", text, mend) from None
        if not inside:
            raise ConfigError(field, "must be between 0% and 100%", text, mend)
        events = dataset.events(engine)
        n = int(engine.value(events.count()))
        row = engine.to_pandas(events.order_by(Columns.TS)[[Columns.TS]].limit(1, offset=int(n * share)))
        return int(row[Columns.TS].iloc[0])
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(field, "must be an instant", text, mend) from None
    instant_ms = round(instant.replace(tzinfo=instant.tzinfo or UTC).timestamp() * 1000)
    if not dataset.first_ms < instant_ms <= dataset.last_ms + 1:
        span = f"use one after {iso(dataset.first_ms)} and at most {iso(dataset.last_ms)}"
        raise ConfigError(field, "must be inside the data", text, span)
    return instant_ms


def default_as_of(dataset: Dataset, horizon_days: float) -> int:
    """The last midnight that leaves a whole label window before the end of the data."""
    return dataset.last_ms // DAY_MS * DAY_MS - round(horizon_days * DAY_MS)


__all__ = ["HORIZON_DAYS", "default_as_of", "iso", "parse_instant"]
