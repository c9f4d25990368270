"""Snapshots for tests of models: one of the small shop, and tiny ones that are written down event by event."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from features.dataset import Dataset
from features.engine import Engine
from features.ids import Vocabulary
from features.schema import DAY_MS, EventType
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot, build_snapshot
from features.split import Labelled, Moment, ask
from training import tracking
from training.bundle import save_bundle
from training.train import Trained, build_models, train

#: (row, item, event type, epoch milliseconds)
Event = tuple[int, int, EventType, int]
MakeHistories = Callable[..., Histories]
MakeSnapshot = Callable[..., Snapshot]
MakeLabelled = Callable[..., Labelled]

LABEL_DAYS = 20


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Sums are added in one order, and other processes keep their share of the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine.duckdb(threads=1) as engine:
        yield engine


@pytest.fixture(scope="session")
def as_of_ms(shop_data: Dataset) -> int:
    """The small shop's last label window begins here."""
    return (shop_data.last_ms // DAY_MS - LABEL_DAYS) * DAY_MS


@pytest.fixture(scope="session")
def snapshot(engine: Engine, shop_data: Dataset, as_of_ms: int) -> Snapshot:
    return build_snapshot(engine, shop_data, as_of_ms)


@pytest.fixture(scope="session")
def asked(engine: Engine, shop_data: Dataset, snapshot: Snapshot) -> Labelled:
    """What the small shop's users buy after the snapshot."""
    return ask(engine, shop_data, snapshot, shop_data.last_ms)


@pytest.fixture(scope="session")
def asked_live(engine: Engine, shop_data: Dataset, snapshot: Snapshot) -> Labelled:
    """What they buy in the rest of a session that they are in."""
    return ask(engine, shop_data, snapshot, shop_data.last_ms, Moment.LIVE)


@pytest.fixture(scope="session")
def make_histories() -> MakeHistories:
    """``(events, n, as_of_ms, snapshot_ms, attributes)`` to n questions."""

    def make(
        events: Sequence[Event],
        n: int,
        as_of_ms: int,
        snapshot_ms: int | None = None,
        attributes: Mapping[str, Sequence[str]] | None = None,
    ) -> Histories:
        in_order = sorted(events, key=lambda event: (event[0], event[3]))
        return Histories(
            user_ids=np.array([f"u{row}" for row in range(n)], dtype=object),
            as_of_ms=np.full(n, as_of_ms, np.int64),
            snapshot_ms=np.full(n, as_of_ms if snapshot_ms is None else snapshot_ms, np.int64),
            offsets=np.searchsorted([event[0] for event in in_order], np.arange(n + 1)).astype(np.int64),
            items=np.array([event[1] for event in in_order], dtype=np.int32),
            event_types=np.array([event[2].code for event in in_order], dtype=np.int8),
            ts=np.array([event[3] for event in in_order], dtype=np.int64),
            attributes={name: np.array(values, dtype=object) for name, values in (attributes or {}).items()},
        )

    return make


@pytest.fixture(scope="session")
def make_snapshot(make_histories: MakeHistories) -> MakeSnapshot:
    """``(events, n, n_items, as_of_ms, attributes)`` to the snapshot of exactly these events."""

    def make(
        events: Sequence[Event],
        n: int,
        n_items: int,
        as_of_ms: int,
        attributes: Mapping[str, Sequence[str]] | None = None,
    ) -> Snapshot:
        sequences = make_histories(events, n, as_of_ms, attributes=attributes)
        users = pd.DataFrame(dict(attributes or {}), index=pd.Index(sequences.user_ids, name="user_id"))
        popularity = np.bincount(sequences.items, minlength=n_items)
        items = pd.DataFrame(
            {"category": "all", "available": True, "popularity": popularity},
            index=pd.Index([f"i{item}" for item in range(n_items)], name="item_id"),
        )
        return Snapshot(as_of_ms, "0" * 64, tuple(attributes or {}), users, items, sequences)

    return make


@pytest.fixture(scope="session")
def make_labelled() -> MakeLabelled:
    """``(histories, items bought per row, n_items)`` to questions with answers."""

    def make(histories: Histories, bought: Sequence[Sequence[int]], n_items: int) -> Labelled:
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in bought])]).astype(np.int64)
        flat = np.array([item for row in bought for item in sorted(row)], dtype=np.int32)
        names = Vocabulary(f"i{item}" for item in range(max(n_items, int(flat.max(initial=-1)) + 1)))
        return Labelled(histories, Ragged(offsets, flat), names, np.full(len(histories), "hot", dtype=object))

    return make


@pytest.fixture(scope="session")
def fit_small(engine: Engine, as_of_ms: int) -> Callable[..., Trained]:
    """All models, tiny, and their blend, trained on a data set as of the small shop's instant."""

    def fit(dataset: Dataset, seed: int = 0, as_of_ms: int = as_of_ms) -> Trained:
        parts = ("bestsellers", "history", "cooccurrence", "transformer", "live")
        specifications: dict[str, dict[str, object]] = {name: {"model": name} for name in parts}
        specifications["transformer"] |= {"width": 16, "epochs": 2, "length": 32, "seed": seed}
        specifications["champion"] = {"model": "blend", "parts": parts, "candidates": 20}
        return train(engine, dataset, build_models(specifications), as_of_ms, LABEL_DAYS * DAY_MS)

    return fit


@pytest.fixture(scope="session")
def trained(fit_small: Callable[..., Trained], shop_data: Dataset) -> Trained:
    return fit_small(shop_data)


@pytest.fixture(scope="session")
def saved_bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the trained blend's bundle; whoever changes something copies it first."""
    folder = tmp_path_factory.mktemp("bundles") / "champion"
    save_bundle(folder, trained.models["champion"], trained.snapshot, arm="champion", policy={})  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables; making them takes seconds, copying them does not."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STELLAR_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking.client()
    return folder / "mlflow.db"


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own, empty store under an own ``STELLAR_HOME``; the working directory is an empty folder beside it."""
    folder = tmp_path / "home with space"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    monkeypatch.setenv("STELLAR_HOME", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return folder
