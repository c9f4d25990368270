"""Everything known about users and items as of one instant: what models learn from and what the service starts from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from scipy import sparse

from features.contracts import IMPRESSIONS
from features.dataset import Dataset
from features.definitions import ITEM_FEATURES, ITEM_RATES, USER_FEATURES
from features.digest import Digest
from features.engine import Engine
from features.errors import InputError, NotFoundError
from features.ids import Vocabulary
from features.matrices import item_matrix, user_matrix
from features.schema import INTERACTIONS, Columns, EventType
from features.sequences import Histories


@dataclass(frozen=True)
class Snapshot:
    """The four products of the feature pipeline, as of ``as_of_ms``.

    Attributes:
        as_of_ms: Only events strictly before this instant were read.
        source_digest: Of the data set that it was computed from.
        attributes: Names of the demographic attributes, most informative parent first: ``country`` before ``gender``.
        user_matrix: Index ``user_id``, sorted; columns as declared in ``features.definitions``.
        item_matrix: Index ``item_id``, sorted.
        sequences: One row per user of ``user_matrix``, in its order.
    """

    as_of_ms: int
    source_digest: str
    attributes: tuple[str, ...]
    user_matrix: pd.DataFrame
    item_matrix: pd.DataFrame
    sequences: Histories

    @cached_property
    def items(self) -> Vocabulary:
        """Dense item ids: the position in ``item_matrix``."""
        return Vocabulary(self.item_matrix.index)

    @cached_property
    def users(self) -> Vocabulary:
        """Dense user ids: the position in ``user_matrix``."""
        return Vocabulary(self.user_matrix.index)

    @cached_property
    def interactions(self) -> sparse.csr_array:
        """(users, items) int32: how often each user viewed, carted or bought each item of ``item_matrix``."""
        codes = [event_type.code for event_type in INTERACTIONS]
        keep = np.isin(self.sequences.event_types, codes) & (self.sequences.items >= 0)
        cells = (np.ones(keep.sum(), np.int32), (self.sequences.rows[keep], self.sequences.items[keep]))
        return sparse.csr_array(cells, shape=(len(self.users), len(self.items)), dtype=np.int32)

    @cached_property
    def digest(self) -> str:
        """sha256 over the canonical content."""
        sequences = self.sequences
        digest = Digest().add("as_of_ms", self.as_of_ms).add("attributes", list(self.attributes))
        digest.add("user_matrix", self.user_matrix).add("item_matrix", self.item_matrix)
        for name in ("offsets", "items", "event_types", "ts"):
            digest.add(name, getattr(sequences, name))
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write Parquet, npz and JSON below ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.user_matrix.to_parquet(folder / "user_matrix.parquet")
        self.item_matrix.to_parquet(folder / "item_matrix.parquet")
        sequences = self.sequences
        np.savez_compressed(
            folder / "sequences.npz",
            offsets=sequences.offsets,
            items=sequences.items,
            event_types=sequences.event_types,
            ts=sequences.ts,
        )
        sparse.save_npz(folder / "interactions.npz", sparse.csr_matrix(self.interactions))
        about = {
            "as_of_ms": self.as_of_ms,
            "source_digest": self.source_digest,
            "attributes": list(self.attributes),
            "digest": self.digest,
        }
        (folder / "snapshot.json").write_text(json.dumps(about, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read what ``save`` wrote.

        Raises:
            NotFoundError: There is no snapshot.
            InputError: It is damaged, or its content does not match its digest.
        """
        path = folder / "snapshot.json"
        if not path.is_file():
            raise NotFoundError(str(folder), "must be a snapshot", mend="write one with `stellar features build`")
        try:
            snapshot, digest = _read(folder, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(str(folder), "must be readable", str(error), "build the snapshot again") from None
        if snapshot.digest != digest:
            raise InputError(str(folder), "must match its digest", snapshot.digest, "build the snapshot again")
        return snapshot


def _read(folder: Path, about: dict[str, Any]) -> tuple[Snapshot, str]:
    """The snapshot in ``folder`` and the digest that it should have."""
    as_of_ms, attributes = about["as_of_ms"], tuple(about["attributes"])
    user_rows, item_rows = (pd.read_parquet(folder / f"{name}_matrix.parquet") for name in ("user", "item"))
    with np.load(folder / "sequences.npz", allow_pickle=False) as arrays:
        sequences = _histories(user_rows, attributes, as_of_ms, **arrays)
    snapshot = Snapshot(as_of_ms, about["source_digest"], attributes, user_rows, item_rows, sequences)
    return snapshot, about["digest"]


def build_snapshot(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """Compute all products of ``dataset`` as of an instant.

    Raises:
        InputError: No event happened before ``as_of_ms``.
    """
    everything = dataset.events(engine)
    events = everything.filter(everything[Columns.TS] < as_of_ms)
    shown = dataset.impressions(engine)
    if shown is None:
        shown = engine.memtable(IMPRESSIONS.arrow_schema().empty_table())
    impressions = shown.filter(shown[Columns.TS] < as_of_ms)
    users, items = dataset.users(engine), dataset.items(engine)
    _refuse_names_of_features(items.columns, users.columns)
    user_rows = user_matrix(engine, events, impressions, users, items, dataset.attributes, as_of_ms)
    item_rows = item_matrix(engine, events, impressions, items, as_of_ms)
    with_item = events.filter(events[Columns.ITEM_ID].notnull())
    if not len(item_rows):
        mend = "let items hold from before their first event, or use a later as_of"
        raise InputError("items: valid_from", "must be before as_of for some item", mend=mend)
    if not engine.to_pandas(with_item.limit(1)[[Columns.EVENT_ID]]).size:
        raise InputError("as_of", "must be after the first event", as_of_ms, f"events begin at {dataset.first_ms}")
    ordered = engine.to_pandas(
        with_item.order_by([Columns.USER_ID, Columns.TS, Columns.EVENT_ID])[
            [Columns.USER_ID, Columns.ITEM_ID, Columns.EVENT_TYPE, Columns.TS]
        ]
    )
    # An item that the catalogue lists only later is not known yet, whatever was done with it.
    known = ordered[ordered[Columns.ITEM_ID].isin(item_rows.index)]
    arrays = dense_events(known, Vocabulary(user_rows.index), Vocabulary(item_rows.index))
    sequences = _histories(user_rows, dataset.attributes, as_of_ms, **arrays)
    return Snapshot(as_of_ms, dataset.digest, dataset.attributes, user_rows, item_rows, sequences)


def _refuse_names_of_features(item_columns: Sequence[str], user_columns: Sequence[str]) -> None:
    declared: dict[str, tuple[Sequence[str], set[str]]] = {
        "items": (
            item_columns,
            {"age_days", "listed", *(f.name for f in ITEM_FEATURES), *(r.name for r in ITEM_RATES)},
        ),
        "users": (user_columns, {feature.name for feature in USER_FEATURES}),
    }
    for table, (columns, features) in declared.items():
        for taken in sorted(features.intersection(columns)):
            raise InputError(f"{table}: column {taken!r}", "must not have the name of a feature", mend="rename it")


def dense_events(ordered: pd.DataFrame, users: Vocabulary, items: Vocabulary) -> dict[str, np.ndarray]:
    """Arrays of a ``Histories`` from events sorted by user and time; the users' order is the vocabulary's."""
    rows = users.encode(ordered[Columns.USER_ID])
    order = np.argsort(rows, kind="stable")
    codes = ordered[Columns.EVENT_TYPE].map({event_type.value: event_type.code for event_type in EventType})
    return {
        "offsets": np.searchsorted(rows[order], np.arange(len(users) + 1)).astype(np.int64),
        "items": items.encode(ordered[Columns.ITEM_ID])[order],
        "event_types": codes.to_numpy(np.int8)[order],
        "ts": ordered[Columns.TS].to_numpy(np.int64)[order],
    }


def _histories(user_rows: pd.DataFrame, attributes: tuple[str, ...], as_of_ms: int, **arrays: np.ndarray) -> Histories:
    n = len(user_rows)
    return Histories(
        user_ids=user_rows.index.to_numpy(dtype=object),
        as_of_ms=np.full(n, as_of_ms, np.int64),
        snapshot_ms=np.full(n, as_of_ms, np.int64),
        attributes={name: user_rows[name].to_numpy(dtype=object) for name in attributes},
        offsets=arrays["offsets"],
        items=arrays["items"],
        event_types=arrays["event_types"],
        ts=arrays["ts"],
    )


__all__ = ["Snapshot", "build_snapshot", "dense_events"]
