"""Who did something in a label window: what intent is learned from."""

from __future__ import annotations

from collections.abc import Collection

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import iso
from features.schema import DAY_MS, Columns, EventType
from features.window import readable_window


def who_did(
    engine: Engine, dataset: Dataset, kinds: Collection[EventType], start_ms: int, until_ms: int
) -> frozenset[str]:
    """Ids of the users with at least one event of ``kinds`` in ``[start_ms, until_ms)``.

    Identities and consents are those of the window's beginning, as in ``readable_window``.

    Raises:
        ConfigError: The window is empty or reaches beyond the data: what has not happened yet did not fail to happen.
    """
    if until_ms <= start_ms:
        raise ConfigError("horizon_days", "must be above 0", (until_ms - start_ms) / DAY_MS)
    if until_ms > dataset.last_ms + DAY_MS:
        raise ConfigError("horizon", f"must end with the data, on {iso(dataset.last_ms)}, at the latest", iso(until_ms))
    window = readable_window(engine, dataset, start_ms, until_ms)
    acted = window.filter(window[Columns.EVENT_TYPE].isin([kind.value for kind in kinds]))
    return frozenset(engine.to_arrow(acted.select(Columns.USER_ID).distinct())[Columns.USER_ID].to_pylist())


__all__ = ["who_did"]
