"""What one query library does for an ``Engine``; the rest is the same whichever library runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ibis
import pyarrow as pa

#: Columns that ``read_source`` adds: the file a row came from and its 1-based number there, not counting a CSV header.
SOURCE_FILE, SOURCE_ROW = "source_file", "source_row"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a query failed, where the caller can mend it.

    Attributes:
        out_of_memory: Whether more memory would help; else a file that was read is damaged.
        reason: One line in the library's words.
    """

    out_of_memory: bool
    reason: str


class Backend(Protocol):
    """Runs Ibis expressions with one library. Errors are the library's own; ``failure`` says what they mean."""

    def scan(self, files: Sequence[Path]) -> ibis.Table:
        """The rows of Parquet files; a column that a file lacks is missing there."""

    def scan_numbered(self, origins: Mapping[Path, str]) -> ibis.Table:
        """As ``scan(list(origins))`` with ``SOURCE_FILE``, the origin of each file, and ``SOURCE_ROW``."""

    def keep(self, expr: ibis.Table) -> ibis.Table:
        """All rows, computed once."""

    def to_arrow(self, expr: ibis.Table) -> pa.Table:
        """All rows, with the Arrow types of the expression's schema."""

    def batches(self, expr: ibis.Table, size: int) -> Iterator[pa.RecordBatch]:
        """All rows in batches of at most ``size``, in order if ``expr`` sorts, without holding all in memory."""

    def write_parquet(self, expr: ibis.Table, path: Path) -> None:
        """Write all rows to one zstd-compressed file."""

    def failure(self, error: Exception) -> Failure | None:
        """What went wrong, or None if the error is a defect."""

    def close(self) -> None:
        """Let go of everything; called once."""


__all__ = ["SOURCE_FILE", "SOURCE_ROW", "Backend", "Failure"]
