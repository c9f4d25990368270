"""What a snapshot was computed from, and the next one starts with: everything added up so far, in numbers."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from features.affinities import POINTS
from features.aggregates import Aggregates
from features.audience import Audience
from features.catalogue import Catalogue
from features.cells import Cells
from features.consent import READING
from features.dataset import LOGS, Dataset
from features.definitions import ITEM_COUNTERS, USER_COUNTERS, counters_of
from features.digest import Digest
from features.errors import InputError, NotFoundError
from features.ids import Vocabulary
from features.schema import INTERACTIONS, Columns
from features.timeline import Timeline
from features.titles import TitleSpace

#: Changed whenever counters or files change, so that sums of another meaning are never continued.
VERSION = 1

_FILE = "basis.json"


@dataclass(frozen=True)
class Basis:
    """Sums of all readable events before ``as_of_ms``, in the numbers of an audience and a catalogue.

    Attributes:
        parts: Log to the parts that were read, name to digest.
        catalogue_digest: Of the rows of items before the instant.
        items: All item ids of the data set, sorted.
        interactions: (ids of the audience, items) int32: how often each user viewed, carted or bought each item.
    """

    as_of_ms: int
    parts: Mapping[str, Mapping[str, str]]
    catalogue_digest: str
    audience: Audience
    items: Vocabulary
    aggregates: Aggregates
    interactions: sparse.csr_array
    titles: TitleSpace

    def save(self, folder: Path) -> None:
        """Write arrays and JSON into a new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).unlink(missing_ok=True)
        arrays = _arrays(self)
        with ThreadPoolExecutor() as pool:  # checksums let other threads run
            checksums = dict(zip(arrays, pool.map(_checksum, arrays.values()), strict=True))
        about = {
            "version": VERSION,
            "as_of_ms": self.as_of_ms,
            "checksums": checksums,
            "parts": self.parts,
            "catalogue_digest": self.catalogue_digest,
            "items": self.items.ids.tolist(),
            "users": self.audience.users.ids.tolist(),
            "labels": {name: labels.ids.tolist() for name, labels in self.aggregates.labels.items()},
            "titles_digest": self.titles.digest,
            "words": self.titles.words.tolist(),
            "titles": self.titles.texts.tolist(),
        }
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        # Written last: what is cut short is no basis.
        (folder / _FILE).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Basis:
        """Read what ``save`` wrote.

        Raises:
            NotFoundError: There is none.
            InputError: It is damaged, or was written by another version.
        """
        mend = "build the snapshot without --since"
        if not (folder / _FILE).is_file():
            raise NotFoundError(str(folder), "must hold the sums of an earlier snapshot", mend=mend)
        try:
            about = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            if about.get("version") != VERSION:
                raise InputError(str(folder), f"must be of version {VERSION}", about.get("version"), mend)
            return _assembled(about, _Arrays(folder, about["checksums"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(str(folder), "must be readable", str(error), mend) from None


class _Arrays:
    """The arrays of a folder, mapped into memory; each must be what was written."""

    def __init__(self, folder: Path, checksums: Mapping[str, int]) -> None:
        names = list(checksums)
        with ThreadPoolExecutor() as pool:
            arrays = list(
                pool.map(lambda name: np.load(folder / f"{name}.npy", allow_pickle=False, mmap_mode="r"), names)
            )
            for name, found in zip(names, pool.map(_checksum, arrays), strict=True):
                if found != checksums[name]:
                    raise ValueError(f"{name}.npy is not what was written")
        self._arrays = dict(zip(names, arrays, strict=True))

    def __call__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def cells(self, name: str, counters: list[str]) -> Cells:
        """The cells saved under a name."""
        return Cells(
            self(f"{name}.rows"), self(f"{name}.days"), {counter: self(f"{name}.{counter}") for counter in counters}
        )


def _checksum(values: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data, len(values))


def _arrays(basis: Basis) -> dict[str, NDArray[Any]]:
    aggregates, timeline, audience = basis.aggregates, basis.aggregates.timeline, basis.audience
    arrays: dict[str, NDArray[Any]] = {
        "numbers": audience.numbers,
        **{f"granted.{purpose}": flags for purpose, flags in audience.granted.items()},
        "timeline.offsets": timeline.offsets,
        "timeline.items": timeline.items,
        "timeline.event_types": timeline.event_types,
        "timeline.ts": timeline.ts,
        "interactions.indptr": basis.interactions.indptr,
        "interactions.indices": basis.interactions.indices,
        "interactions.data": basis.interactions.data,
        "titles.weights": basis.titles.weights,
        "titles.idf": basis.titles.idf,
        "titles.vectors": basis.titles.vectors,
    }
    for name, cells in _cells(aggregates).items():
        arrays |= {f"{name}.rows": cells.rows, f"{name}.days": cells.days}
        arrays |= {f"{name}.{counter}": values for counter, values in cells.counters.items()}
    return arrays


def _cells(aggregates: Aggregates) -> dict[str, Cells]:
    return {
        **{f"users.{stream}": cells for stream, cells in aggregates.users.items()},
        **{f"items.{stream}": cells for stream, cells in aggregates.items.items()},
        **{f"affinities.{name}": cells for name, cells in aggregates.affinities.items()},
        "bought": aggregates.bought,
    }


def _assembled(about: Mapping[str, Any], arrays: _Arrays) -> Basis:
    users, items = Vocabulary(about["users"]), Vocabulary(about["items"])
    labels = {name: Vocabulary(ids) for name, ids in about["labels"].items()}
    timeline = Timeline(
        *(arrays(f"timeline.{name}") for name in ("offsets", "items", "event_types", "ts")),
    )
    user_streams, item_streams = counters_of(USER_COUNTERS), counters_of(ITEM_COUNTERS)
    aggregates = Aggregates(
        {stream: arrays.cells(f"users.{stream}", names) for stream, names in user_streams.items()},
        {stream: arrays.cells(f"items.{stream}", names) for stream, names in item_streams.items()},
        labels,
        {name: arrays.cells(f"affinities.{name}", [POINTS]) for name in labels},
        arrays.cells("bought", [POINTS]),
        timeline,
    )
    parts = (arrays(f"interactions.{name}") for name in ("data", "indices", "indptr"))
    return Basis(
        about["as_of_ms"],
        about["parts"],
        about["catalogue_digest"],
        Audience(users, arrays("numbers"), {purpose: arrays(f"granted.{purpose}") for purpose in READING}),
        items,
        aggregates,
        sparse.csr_array(tuple(parts), shape=(len(users), len(items))),
        TitleSpace(
            about["titles_digest"],
            np.array(about["words"], dtype=object),
            arrays("titles.weights"),
            arrays("titles.idf"),
            pd.Index(about["titles"], dtype=object),
            arrays("titles.vectors"),
        ),
    )


def count_interactions(timeline: Timeline, n_items: int) -> sparse.csr_array:
    """(users, items) int32: how often each user viewed, carted or bought each item."""
    keep = np.isin(timeline.event_types, [kind.code for kind in INTERACTIONS])
    kept = timeline if keep.all() else timeline.where(keep)
    shape = (len(timeline.offsets) - 1, n_items)
    # Copied: adding up duplicates sorts the arrays in place.
    counts = sparse.csr_array((np.ones(len(kept), np.int32), kept.items, kept.offsets), shape=shape, copy=True)
    counts.sum_duplicates()
    return counts


def digest_catalogue(catalogue: Catalogue, until_ms: int) -> str:
    """Of the rows of items that held before an instant."""
    rows = catalogue.rows[catalogue.rows[Columns.VALID_FROM] < until_ms]
    return Digest().add("items", rows.set_index(Columns.ITEM_ID)).hexdigest()


def parts_of(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Log to its parts, name to digest."""
    return {log: {part.name: part.digest for part in dataset.parts(log)} for log in LOGS}


__all__ = ["VERSION", "Basis", "count_interactions", "digest_catalogue", "parts_of"]
