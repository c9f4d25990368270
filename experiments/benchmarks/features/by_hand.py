"""The query by hand, run as it is."""

from __future__ import annotations

from pathlib import Path

import duckdb


def users_by_hand(dataset: Path, as_of_ms: int) -> int:
    """Run ``by_hand.sql`` on the events of a data set; returns the number of rows of its result."""
    query = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    files = [str(path) for path in sorted((dataset / "events").glob("*.parquet"))]
    with duckdb.connect() as connection:
        return connection.sql(query, params={"events": files, "as_of": as_of_ms}).to_arrow_table().num_rows


__all__ = ["users_by_hand"]
