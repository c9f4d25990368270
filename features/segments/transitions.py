"""How users moved between segments from one instant to a later one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from features.errors import InputError


def transitions(before: pd.Series, after: pd.Series, order: Sequence[str] = ()) -> pd.DataFrame:
    """Count users by their segment then and now.

    Args:
        before: The one segment of each user at the earlier instant, indexed by user; missing if it was not known.
        after: The same at the later instant.
        order: Segments to be listed first, in this order, whether or not anybody is in them; then others by name.

    Returns:
        (segments + 1, segments + 1) int64; the row is the segment before, the column the segment after, and the last
        of both is None: row None counts who entered, not known yet at the earlier instant, column None who left. Rows
        add up to the segments' sizes before, columns to those after, all cells to the users of either instant.

    Raises:
        InputError: A user stands twice in one of the two.
    """
    for name, series in (("before", before), ("after", after)):
        if not series.index.is_unique:
            twice = series.index[series.index.duplicated()][0]
            raise InputError(f"transitions: {name}", "must have one segment per user", str(twice), "choose one")
    users = before.index.union(after.index)
    known = [series.dropna().reindex(users).to_numpy(object) for series in (before, after)]
    missing = [pd.isna(segments) for segments in known]
    others = {name for segments, none in zip(known, missing, strict=True) for name in segments[~none]} - set(order)
    labels = [*dict.fromkeys(order), *sorted(others), None]
    rows, columns = (
        np.where(none, len(labels) - 1, pd.Index(labels[:-1]).get_indexer(segments))
        for segments, none in zip(known, missing, strict=True)
    )
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return pd.DataFrame(
        counts,
        index=pd.Index(labels, dtype=object, name="before"),
        columns=pd.Index(labels, dtype=object, name="after"),
    )


__all__ = ["transitions"]
