"""Recommendations for all users at once, by the very policy that answers over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import ConfigError
from features.schema import Columns
from serving.policy import Request, SlateItem, decide
from training.bundle import Bundle

_SCHEMA = pa.schema(
    [
        (Columns.USER_ID, pa.string()),
        (Columns.ITEM_ID, pa.string()),
        (Columns.RANK, pa.int32()),
        (Columns.SCORE, pa.float64()),
        (Columns.LEVEL, pa.string()),
        ("reason", pa.string()),
    ]
)
_USERS_PER_GROUP = 1_000


def recommend_all(
    bundle: Bundle, k: int, out: Path, progress: Callable[[int, int], None] = lambda done, of: None
) -> int:
    """Write ``user_id, item_id, rank, score, level, reason`` of every known user as of the bundle's snapshot.

    Streamed: one row group per thousand users is in memory, and the file appears under its name when it is complete.

    Args:
        out: A Parquet file; what a link names is written, not the link.

    Returns:
        The number of rows.

    Raises:
        ConfigError: ``out`` is no file, or cannot be written to its end; then it is what it was before.
    """
    out = out.resolve()
    if out.suffix != ".parquet" or (out.exists() and not out.is_file()):
        raise ConfigError("--out", "must be a Parquet file", str(out), "name a file that ends in .parquet")
    out.parent.mkdir(parents=True, exist_ok=True)
    part, n_rows = out.with_name(out.name + ".part"), 0
    users = bundle.users.ids
    try:
        with pq.ParquetWriter(part, _SCHEMA, compression="zstd") as writer:
            for start in range(0, len(users), _USERS_PER_GROUP):
                some = [str(user_id) for user_id in users[start : start + _USERS_PER_GROUP]]
                rows = list(_rows(bundle, some, k))
                writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
                n_rows += len(rows)
                progress(start + len(some), len(users))
        os.replace(part, out)
    except OSError as error:
        rule, mend = f"must be a file that can be written: {error}", "make room, or name a file in another folder"
        raise ConfigError("--out", rule, str(out), mend) from error
    finally:
        part.unlink(missing_ok=True)  # there still if the writing was cut short
    return n_rows


def _rows(bundle: Bundle, user_ids: list[str], k: int) -> Iterator[dict[str, object]]:
    for user_id in user_ids:
        slate = decide(Request(user_id, k, now_ms=bundle.as_of_ms), (), bundle)
        for item in slate.items:
            yield _row(user_id, item)


def _row(user_id: str, item: SlateItem) -> dict[str, object]:
    return {
        Columns.USER_ID: user_id,
        Columns.ITEM_ID: item.item_id,
        Columns.RANK: item.rank,
        Columns.SCORE: item.score,
        Columns.LEVEL: item.level,
        "reason": item.reason,
    }


__all__ = ["recommend_all"]
