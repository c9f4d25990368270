"""Who did something in a label window: what intent is learned from."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from features.catalogue import top_category
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import iso
from features.schema import DAY_MS, Columns, EventType
from features.window import readable_window

#: So many of the largest categories are named where another was asked for.
_SUGGESTED = 5


def who_did(
    engine: Engine,
    dataset: Dataset,
    kinds: Collection[EventType],
    start_ms: int,
    until_ms: int,
    category: str | None = None,
) -> frozenset[str]:
    """Ids of the users with at least one event of ``kinds`` in ``[start_ms, until_ms)``.

    Identities and consents are those of the window's beginning, as in ``readable_window``.

    Args:
        category: Only events with items of this category path, or below it, when the window ends.

    Raises:
        ConfigError: The window is empty or reaches beyond the data: what has not happened yet did not fail to happen.
            Or no item is in the category.
    """
    if until_ms <= start_ms:
        raise ConfigError("horizon_days", "must be above 0", (until_ms - start_ms) / DAY_MS)
    if until_ms > dataset.last_ms + DAY_MS:
        raise ConfigError("horizon", f"must end with the data, on {iso(dataset.last_ms)}, at the latest", iso(until_ms))
    window = readable_window(engine, dataset, start_ms, until_ms)
    acted = window.filter(window[Columns.EVENT_TYPE].isin([kind.value for kind in kinds]))
    if category is not None:
        within = engine.memtable(pd.DataFrame({"within_id": items_within(engine, dataset, category, until_ms)}))
        acted = acted.semi_join(within, acted[Columns.ITEM_ID] == within["within_id"])
    return frozenset(engine.to_arrow(acted.select(Columns.USER_ID).distinct())[Columns.USER_ID].to_pylist())


def items_within(engine: Engine, dataset: Dataset, category: str, as_of_ms: int) -> list[str]:
    """Sorted ids of the items whose category path was ``category``, or began with it, just before an instant.

    Raises:
        ConfigError: There is none.
    """
    items = dataset.items(engine)
    rows = items.filter(items[Columns.VALID_FROM] < as_of_ms)
    rows = rows.select(Columns.ITEM_ID, Columns.VALID_FROM, Columns.CATEGORY)
    latest = engine.to_arrow(rows).to_pandas().sort_values([Columns.ITEM_ID, Columns.VALID_FROM], kind="stable")
    paths = latest.drop_duplicates(Columns.ITEM_ID, keep="last").set_index(Columns.ITEM_ID)[Columns.CATEGORY]
    found = [str(item) for item in paths.index[(paths == category) | paths.str.startswith(f"{category}/")]]
    if not found:
        known = top_category(paths).value_counts().index[:_SUGGESTED].tolist()
        raise ConfigError("category", "must be of some item", category, f"choose for example from {', '.join(known)}")
    return found


__all__ = ["items_within", "who_did"]
