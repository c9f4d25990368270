"""A shop's files as they are delivered, and one run that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from features.ingest import IngestReport, ingest

NOW = 1_000_000

GOOD: dict[str, dict[str, Any]] = {
    "events": {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "1000"},
    "items": {"item_id": "i1", "valid_from": "0", "category": "mugs", "available": "true"},
    "users": {"user_id": "u1", "valid_from": "0", "country": "Eire"},
    "impressions": {
        "request_id": "r1",
        "user_id": "u1",
        "surface": "home",
        "item_id": "i1",
        "rank": "1",
        "score": "0.5",
        "level": "3",
        "propensity": "1",
        "arm": "champion",
        "bundle_digest": "ab",
        "ts": "1000",
    },
}


def write(
    folder: Path, table: str, rows: list[dict[str, Any]], form: str = "csv", columns: list[str] | None = None
) -> None:
    """A table as a CSV file, a Parquet file of text, or a folder of two Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows, columns=columns or list(rows[0]), dtype="str")
    if form == "csv":
        frame.to_csv(folder / f"{table}.csv", index=False)
    elif form == "parquet":
        frame.to_parquet(folder / f"{table}.parquet")
    else:
        (folder / table).mkdir()
        half = len(frame) // 2
        frame[:half].to_parquet(folder / table / "1.parquet")
        frame[half:].to_parquet(folder / table / "2.parquet")


def run(tmp_path: Path, name: str = "shop", **options: Any) -> IngestReport:
    return ingest(tmp_path / name, "tables", tmp_path / f"{name}-out", now_ms=NOW, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
