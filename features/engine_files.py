"""The files that a table is made of, as Parquet, whatever they were written as; broken ones are told apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.csv_files import csv_to_parquet
from features.errors import InputError, NotFoundError
from features.json_lines import is_json_lines, json_lines_to_parquet


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a table: as the caller knows it, and as Parquet."""

    path: Path
    parquet: Path
    rows: int
    columns: list[str] = field(default_factory=list)


class TableFiles:
    """Finds the files of tables; what is not Parquet is converted once, into ``scratch``."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._converted: dict[Path, Path] = {}

    def parts(self, path: Path) -> list[Part]:
        """The files of a table, in the order of their names.

        Raises:
            NotFoundError: Nothing is there.
            InputError: A file is empty, truncated, not Parquet, or not UTF-8 CSV.
        """
        if not path.exists():
            raise NotFoundError(str(path), "must exist", "nothing there", "check the spelling of the path")
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files:
            raise NotFoundError(str(path), "must hold *.parquet files", "none of them")
        return [self._part(file) for file in files]

    def _part(self, path: Path) -> Part:
        try:
            if path.stat().st_size == 0:
                raise InputError(str(path), "must not be empty", "0 bytes", "export the table again")
            if path.suffix.lower() != ".csv" and not is_json_lines(path):
                return _parquet_part(path, path)
            if path not in self._converted:
                converted = self._scratch / f"text-{len(self._converted)}.parquet"
                (json_lines_to_parquet if is_json_lines(path) else csv_to_parquet)(path, converted)
                self._converted[path] = converted
            return _parquet_part(path, self._converted[path])
        except OSError as error:
            raise InputError(str(path), "must be readable", error.strerror or str(error)) from None


def _parquet_part(path: Path, parquet: Path) -> Part:
    try:
        metadata = pq.read_metadata(parquet)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            str(path), "must be a whole Parquet file", str(error), "it is truncated or something else; copy it again"
        ) from None
    return Part(path, parquet, metadata.num_rows, metadata.schema.to_arrow_schema().names)


__all__ = ["Part", "TableFiles"]
