"""Who did something in a label window: what intent is learned from."""

from __future__ import annotations

from collections.abc import Collection

from features.consent import permitted
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.identity import identities, resolved
from features.instants import iso
from features.schema import DAY_MS, Columns, EventType


def who_did(
    engine: Engine, dataset: Dataset, kinds: Collection[EventType], start_ms: int, until_ms: int
) -> frozenset[str]:
    """Ids of the users with at least one event of ``kinds`` in ``[start_ms, until_ms)``.

    Identities and consents are those of the window's beginning, as for the features that are held against them.

    Raises:
        ConfigError: The window is empty or reaches beyond the data: what has not happened yet did not fail to happen.
    """
    if until_ms <= start_ms:
        raise ConfigError("horizon_days", "must be above 0", (until_ms - start_ms) / DAY_MS)
    if until_ms > dataset.last_ms + DAY_MS:
        raise ConfigError("horizon", f"must end with the data, on {iso(dataset.last_ms)}, at the latest", iso(until_ms))
    events = dataset.events(engine)
    window = events.filter(
        events[Columns.TS] >= start_ms,
        events[Columns.TS] < until_ms,
        events[Columns.EVENT_TYPE].isin([kind.value for kind in kinds]),
    )
    merged = identities(engine, events, start_ms)
    readable = permitted(engine, resolved(engine, window, merged), dataset.users(engine), start_ms, merged)
    return frozenset(engine.to_arrow(readable.select(Columns.USER_ID).distinct())[Columns.USER_ID].to_pylist())


__all__ = ["who_did"]
