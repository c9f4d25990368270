"""Ranked items in a Parquet file: how recommendations made elsewhere come in, and how ours go out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError, NotFoundError
from features.ids import UNKNOWN, Vocabulary
from features.schema import Columns
from training.recommender import Ids

COLUMNS = (Columns.USER_ID, Columns.ITEM_ID, Columns.RANK)


def read_recommendations(path: Path, users: Vocabulary, items: Vocabulary, k: int) -> tuple[Ids, int]:
    """The first ``k`` ranked items of each of ``users``.

    Items outside the vocabulary keep their rank and count as misses. A user without rows gets an empty list, which
    counts as nothing caught.

    Returns:
        (n users, k) int32 items, -1 where there is none, and the number of users without rows.

    Raises:
        NotFoundError: There is no such file.
        InputError: It is not Parquet, lacks a column, or a list holds a rank or an item twice.
    """
    if not path.is_file():
        raise NotFoundError(str(path), "must be a file", mend="give a Parquet file with user_id, item_id and rank")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(str(path), "must be Parquet", str(error).splitlines()[0], "write it again") from None
    for column in COLUMNS:
        if column not in table.column_names:
            raise InputError(f"{path}: column {column!r}", "is missing", ", ".join(table.column_names), "add it")
    frame = table.select(list(COLUMNS)).to_pandas()
    if frame.empty:
        raise InputError(str(path), "must have rows", "none")
    ranks = pd.to_numeric(frame[Columns.RANK], errors="coerce")
    bad = ranks.isna() | (ranks < 1) | (ranks % 1 != 0)
    if bad.any():
        received = frame[Columns.RANK][bad].iloc[0]
        raise InputError(f"{path}: rank", "must be a whole number from 1", received, f"row {int(bad.argmax()) + 1}")
    frame = frame.assign(rank=ranks.astype(np.int64))
    for column in (Columns.USER_ID, Columns.ITEM_ID):
        frame[column] = frame[column].astype(str)
    for column in (Columns.RANK, Columns.ITEM_ID):
        twice = frame.duplicated([Columns.USER_ID, column])
        if twice.any():
            row = frame[twice].iloc[0]
            where = f"{row[column]} for user {row[Columns.USER_ID]}"
            raise InputError(f"{path}: {column}", "must be distinct in each user's list", where, "keep one")
    rows = users.encode(frame[Columns.USER_ID])
    wanted = (rows != UNKNOWN) & (frame[Columns.RANK] <= k).to_numpy()
    ids = np.full((len(users), k), UNKNOWN, dtype=np.int32)
    ids[rows[wanted], frame[Columns.RANK].to_numpy()[wanted] - 1] = items.encode(frame[Columns.ITEM_ID][wanted])
    return ids, len(users) - len(np.unique(rows[rows != UNKNOWN]))


def write_recommendations(path: Path, user_ids: Sequence[str], ids: Ids, items: Vocabulary) -> None:
    """Write (n, k) ranked items, -1 for none, as rows ``user_id, item_id, rank``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, places = np.nonzero(ids != UNKNOWN)
    columns = {
        Columns.USER_ID: np.asarray(user_ids, dtype=object)[rows],
        Columns.ITEM_ID: items.decode(ids[rows, places]),
        Columns.RANK: (places + 1).astype(np.int32),
    }
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path, compression="zstd")


__all__ = ["read_recommendations", "write_recommendations"]
