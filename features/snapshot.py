"""Everything known about users and items as of one instant: what models learn from and what the service starts from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from pandas.api.types import is_string_dtype
from scipy import sparse

from features.basis import Basis, count_interactions
from features.dataset import Dataset
from features.definitions import ITEM_FEATURES, USER_FEATURES, is_column_of
from features.derived import Population
from features.digest import Digest
from features.engine import Engine
from features.errors import InputError, NotFoundError
from features.ids import Vocabulary
from features.matrices import item_matrix, user_matrix
from features.schema import Columns, EventType
from features.sequences import Histories
from features.sums import Notify, add_up
from features.timeline import Timeline

#: The file that makes a folder a snapshot, and the folder in it of what the next one may start from.
FILE, BASIS = "snapshot.json", "basis"

_POPULATION = "population.json"
_SEQUENCES = ("offsets", "items", "event_types", "ts")


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
        population: What one user or item is compared with online.
        basis: What the next snapshot may start from; None of a loaded snapshot.
        counted: The interactions, where they have been counted already.
    """

    as_of_ms: int
    source_digest: str
    attributes: tuple[str, ...]
    user_matrix: pd.DataFrame
    item_matrix: pd.DataFrame
    sequences: Histories
    population: Population = field(default_factory=Population, compare=False)
    basis: Basis | None = field(default=None, compare=False, repr=False)
    counted: sparse.csr_array | None = field(default=None, compare=False, repr=False)

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
        if self.counted is not None:
            return self.counted
        timeline = Timeline(*(getattr(self.sequences, name) for name in _SEQUENCES))
        return count_interactions(timeline.where(timeline.items >= 0), len(self.items))

    @cached_property
    def digest(self) -> str:
        """sha256 over the canonical content."""
        parts = {
            "user_matrix": self.user_matrix,
            "item_matrix": self.item_matrix,
            **{name: getattr(self.sequences, name) for name in _SEQUENCES},
        }
        whole = Digest().add("as_of_ms", self.as_of_ms).add("attributes", list(self.attributes))
        with ThreadPoolExecutor() as pool:  # hashing lets other threads run
            hashed = pool.map(lambda part: Digest().add(*part).hexdigest(), parts.items())
            return whole.add("parts", dict(zip(parts, hashed, strict=True))).hexdigest()

    def save(self, folder: Path) -> None:
        """Write Parquet, npz and JSON below ``folder``, and in its folder ``BASIS`` what the next may start from."""
        folder.mkdir(parents=True, exist_ok=True)
        sequences = {name: getattr(self.sequences, name) for name in _SEQUENCES}
        counts = sparse.csr_matrix(self.interactions)
        with ThreadPoolExecutor() as pool:  # hashing and writing let other threads run
            written: list[Future[Any]] = [
                pool.submit(lambda: self.digest),
                pool.submit(self.user_matrix.to_parquet, folder / "user_matrix.parquet"),
                pool.submit(self.item_matrix.to_parquet, folder / "item_matrix.parquet"),
                pool.submit(np.savez, folder / "sequences.npz", **sequences),
                pool.submit(sparse.save_npz, folder / "interactions.npz", counts, compressed=False),
                pool.submit(self.population.save, folder / _POPULATION),
            ]
            if self.basis is not None:
                written.append(pool.submit(self.basis.save, folder / BASIS))
            for one in written:
                one.result()
        about = {
            "as_of_ms": self.as_of_ms,
            "source_digest": self.source_digest,
            "attributes": list(self.attributes),
            "digest": self.digest,
        }
        # Written last: what is cut short is no snapshot.
        (folder / FILE).write_text(json.dumps(about, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read what ``save`` wrote.

        Raises:
            NotFoundError: There is no snapshot.
            InputError: It is damaged, or its content does not match its digest.
        """
        path = folder / FILE
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
    population = Population.load(folder / _POPULATION)
    snapshot = Snapshot(as_of_ms, about["source_digest"], attributes, user_rows, item_rows, sequences, population)
    return snapshot, about["digest"]


def build_snapshot(
    engine: Engine, dataset: Dataset, as_of_ms: int, since: Basis | None = None, notify: Notify = lambda _: None
) -> Snapshot:
    """Compute all products of ``dataset`` as of an instant.

    Args:
        since: Of an earlier snapshot: only what has come since is read, and the result is the same.
        notify: Told what is done.

    Raises:
        InputError: No event happened before ``as_of_ms``, or no item was listed.
    """
    _refuse_names_of_features(dataset.items(engine).columns, dataset.users(engine).columns)
    if as_of_ms <= dataset.first_ms:
        raise InputError("as_of", "must be after the first event", as_of_ms, f"events begin at {dataset.first_ms}")
    basis, catalogue = add_up(engine, dataset, as_of_ms, since, notify)
    if catalogue.latest.empty:
        mend = "let items hold from before their first event, or use a later as_of"
        raise InputError("items: valid_from", "must be before as_of for some item", mend=mend)
    notify("matrices")
    audience, population = basis.audience, Population()
    listed = catalogue.items.encode(catalogue.latest.index)
    interactions = basis.interactions
    if len(listed) < len(catalogue.items):
        interactions = sparse.csr_array(interactions[:, listed])
    with ThreadPoolExecutor(1) as pool:  # numpy lets other threads run
        n_ids = len(audience.users)
        of_items = pool.submit(item_matrix, basis.aggregates, catalogue, n_ids, as_of_ms, population, basis.titles)
        users = user_matrix(
            basis.aggregates,
            audience,
            _standing_rows(engine, dataset, as_of_ms),
            dataset.attributes,
            np.diff(interactions.indptr).astype(np.int64),
            as_of_ms,
            population,
        )
        items = of_items.result()
    position = np.full(len(catalogue.items), -1, dtype=np.int32)
    position[listed] = np.arange(len(listed), dtype=np.int32)
    rows = audience.users.encode(users.index).astype(np.int64)
    # An item that the catalogue lists only later is not known yet, whatever was done with it.
    timeline = basis.aggregates.timeline.take(rows).relabelled(position)
    sequences = _histories(
        users, dataset.attributes, as_of_ms, **{name: getattr(timeline, name) for name in _SEQUENCES}
    )
    counted = interactions if len(rows) == len(audience.users) else sparse.csr_array(interactions[rows])
    return Snapshot(as_of_ms, dataset.digest, dataset.attributes, users, items, sequences, population, basis, counted)


def _standing_rows(engine: Engine, dataset: Dataset, as_of_ms: int) -> pd.DataFrame:
    """Of each user the row that holds just before the instant, indexed by ``user_id``."""
    users = dataset.users(engine)
    known = engine.to_pandas(users.filter(users[Columns.VALID_FROM] < as_of_ms))
    known = known.sort_values([Columns.USER_ID, Columns.VALID_FROM], kind="stable")
    return known.drop_duplicates(Columns.USER_ID, keep="last").set_index(Columns.USER_ID)


def _refuse_names_of_features(item_columns: Sequence[str], user_columns: Sequence[str]) -> None:
    for table, columns, declared in (("items", item_columns, ITEM_FEATURES), ("users", user_columns, USER_FEATURES)):
        for name in columns:
            if is_column_of(name, declared):
                raise InputError(f"{table}: column {name!r}", "must not have the name of a feature", mend="rename it")


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
    # Text features are groups that users are in as much as what they told: a category they buy, a stage they are at.
    texts = [str(name) for name in user_rows if name not in attributes and is_string_dtype(user_rows[name])]
    return Histories(
        user_ids=user_rows.index.to_numpy(dtype=object),
        as_of_ms=np.full(n, as_of_ms, np.int64),
        snapshot_ms=np.full(n, as_of_ms, np.int64),
        attributes={name: user_rows[name].to_numpy(dtype=object) for name in (*attributes, *texts)},
        offsets=arrays["offsets"],
        items=arrays["items"],
        event_types=arrays["event_types"],
        ts=arrays["ts"],
    )


__all__ = ["BASIS", "FILE", "Snapshot", "build_snapshot", "dense_events"]
