"""C55: personal data are refused or hashed at ingest, and no file that follows holds any of them."""

from __future__ import annotations

import gzip
import json
import logging
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from experiments.compare import compare
from experiments.experiment import make_experiment
from experiments.promote import promote
from experiments.tracked import track
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.ingest import ingest
from features.personal_policy import PersonalDataPolicy, Treatment
from features.shop import Shop, ShopConfig
from features.snapshot import build_snapshot
from serving.batch import recommend_all
from serving.state import State
from tests.leak_scan import leaks
from training.bundle import Bundle
from training.registry import champion_folder

KEY = "a key that nobody may ever see"
N = 60

MAILS = [f"shopper{n}@mail{n % 5}.example.org" for n in range(N)]
PHONES = [f"+44 7700 900{n:03d}" for n in range(N)]
NAMES = [f"{first} Plantedson{n}" for n, first in enumerate(["Anna", "John", "Maria"] * (N // 3))]
STREETS = [f"{n + 1} Planted Lane" for n in range(N)]
BIRTHDAYS = [f"19{n % 80 + 10}-06-{n % 28 + 1:02d}" for n in range(N)]
CARD = "4111 1111 1111 1111"

PLANTED = [*MAILS, *PHONES, *NAMES, *STREETS, *BIRTHDAYS, CARD, KEY]


def write_shop(folder: Path, ids: list[str]) -> None:
    """A shop whose people are everywhere: in ids, texts, properties, attributes, and in rows that will be rejected."""
    folder.mkdir()
    people = np.arange(N * 5) % N
    events = pd.DataFrame(
        {
            "event_id": [f"e{n}" for n in range(len(people))],
            "user_id": [ids[n] for n in people],
            "item_id": [f"i{n % 7}" for n in people],
            "event_type": np.where(people % 2, "view", "purchase"),
            "ts": [str(1_600_000_000_000 + 1_000 * n) for n in range(len(people))],
            "query": [[None, f"where is {MAILS[n]}", f"call {PHONES[n]}"][n % 3] for n in people],
            "properties": [
                json.dumps(
                    [{"channel": "web"}, {"firstName": NAMES[n]}, {"pay": CARD, "to": {"e-mail": MAILS[n]}}][n % 3]
                )
                for n in people
            ],
        }
    )
    events.loc[7, "quantity"] = "0"
    events.loc[8, "item_id"] = None
    repeated = events.iloc[[1, 2, 3]].assign(query=MAILS[5])
    pd.concat([events, repeated]).to_csv(folder / "events.csv", index=False)
    pd.DataFrame(
        {
            "user_id": ids,
            "valid_from": [1] * (N - 1) + [-1],
            "country": ["de", "fr", "gb"] * (N // 3),
            "full_name": NAMES,
            "contact": NAMES[::-1],
            "homeAddress": STREETS,
            "phone_1": PHONES,
            "birth_date": BIRTHDAYS,
        }
    ).to_parquet(folder / "users.parquet", index=False)
    titles = ["Lewis", f"ask {MAILS[0]}", *(f"Mug {n}" for n in range(5))]
    items = {"item_id": [f"i{n}" for n in range(7)], "category": "mugs", "valid_from": 1, "available": True}
    pd.DataFrame({**items, "title": titles}).to_parquet(folder / "items.parquet", index=False)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Everything that is logged meanwhile, down to the smallest notice, goes to a file."""
    handler, root = logging.FileHandler(path), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@pytest.mark.parametrize("treatment", [Treatment.HASH, Treatment.DROP])
def test_no_planted_value_is_in_any_file(
    tmp_path: Path, treatment: Treatment, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STELLAR_PII_KEY", KEY)
    hashing = treatment is Treatment.HASH
    write_shop(tmp_path / "shop", MAILS if hashing else [f"u{n}" for n in range(N)])
    home = tmp_path / "home"
    home.mkdir()
    policy = PersonalDataPolicy.of(treatment.value)
    with logged(home / "run.log"):
        report = ingest(tmp_path / "shop", "tables", home / "data", max_reject_share=0.5, personal_data=policy)
        dataset = Dataset.open(home / "data")
        with Engine.duckdb(threads=1) as engine:
            snapshot = build_snapshot(engine, dataset, dataset.last_ms + 1)
            snapshot.save(home / "snapshot")
    (home / "printed.txt").write_text("".join(capfd.readouterr()) + repr(policy) + json.dumps(report.to_json()))
    assert len(leaks(tmp_path / "shop", PLANTED)) > N, "the scan must be able to see"
    assert leaks(home, PLANTED) == []
    assert report.tables["events"].rejected == 5
    assert report.tables["users"].rejected == 1
    assert pq.read_table(report.rejects).num_rows == 6
    assert len(snapshot.users) == N
    kept = pd.read_parquet(home / "data" / "users.parquet")
    assert set(kept["country"].dropna()) == {"de", "fr", "gb"}
    assert ("full_name" in kept.columns) == hashing
    assert set(snapshot.item_matrix["title"]) >= {"Lewis", "Mug 1"}


def test_by_default_they_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", MAILS)
    with pytest.raises(InputError, match="must hold no personal data") as raised:
        ingest(tmp_path / "shop", "tables", tmp_path / "home" / "data")
    (tmp_path / "home" / "message.txt").write_text(str(raised.value))
    assert leaks(tmp_path / "home", PLANTED) == []
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["message.txt"]


def test_too_many_rejects_leave_an_account_without_them(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop", MAILS)
    policy = PersonalDataPolicy(Treatment.HASH, key=KEY.encode())
    with pytest.raises(InputError, match="break the contract") as raised:
        ingest(tmp_path / "shop", "tables", tmp_path / "home" / "data", max_reject_share=0, personal_data=policy)
    (tmp_path / "home" / "message.txt").write_text(str(raised.value))
    assert (tmp_path / "home" / "data.rejected" / "rejects.parquet").is_file()
    assert leaks(tmp_path / "home", PLANTED) == []


def test_the_scan_sees_through_every_format(tmp_path: Path) -> None:
    needle = "jo.doe@example.org"
    pd.DataFrame({"a": ["x", f"by {needle}"] * 500}).to_parquet(tmp_path / "cells.parquet")
    np.savez_compressed(tmp_path / "arrays.npz", texts=np.array([needle] * 50))
    (tmp_path / "escaped.json").write_text(json.dumps({"a": [needle]}).replace("@", "\\u0040"))
    (tmp_path / "lines.jsonl").write_text('{"a": 1}\n' + json.dumps({needle: 1}).replace("o", "\\u006f") + "\n")
    (tmp_path / "plain.log").write_text(f"INFO for {needle.upper()}\n")
    (tmp_path / "log.gz").write_bytes(gzip.compress(needle.encode()))
    (tmp_path / f"{needle}.txt").write_text("")
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0" + f'{{"__metadata__": "{needle}"}}'.encode())
    with zipfile.ZipFile(tmp_path / "nested.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.gz", gzip.compress(needle.encode() * 50))
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (a TEXT)")
        database.execute("INSERT INTO t VALUES (?)", (needle,))
        database.commit()
        found = leaks(tmp_path, [needle, "nobody@example.org"])
    named = {line.partition(":")[0] for line in found}
    wanted = {path.name for path in tmp_path.iterdir()}
    assert wanted - named <= {"state.db-shm", "state.db-wal", "state.db"}
    assert {"state.db", "state.db-wal"} & named
    assert not any("nobody" in line for line in found)


def test_no_planted_value_is_in_anything_that_the_demo_writes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From files to the registry, the served lists and the state: runs, bundles, plots, exports and logs."""
    home, folder = tmp_path / "home", tmp_path / "shop"
    monkeypatch.setenv("STELLAR_HOME", str(home))
    home.mkdir()
    mails = _people_move_into_a_simulated_shop(folder)
    with logged(home / "run.log"):
        policy = PersonalDataPolicy(Treatment.HASH, key=KEY.encode())
        ingest(folder, "tables", home / "data", personal_data=policy)
        dataset = Dataset.open(home / "data")
        arms = {
            "popular": {"model": "bestsellers", "by": []},
            "history": {"model": "history"},
            "linear": {"model": "linear"},
            "blend": {"model": "blend", "parts": ["popular", "history", "linear"]},
        }
        experiment = make_experiment(name="x", data=dataset.folder, horizon_days=14, control="popular", arms=arms)
        with Engine.duckdb(threads=1) as engine:
            comparison = compare(engine, dataset, experiment)
        recorded = track(comparison, dataset, experiment)
        comparison.export(home / "lists")
        promote(recorded["versions"]["blend"], force=True)
        recommend_all(Bundle.load(champion_folder()), 5, home / "batch.parquet")
        with closing(State.open(f"sqlite:///{home / 'state.db'}")) as state:
            assert state is not None
    (home / "printed.txt").write_text("".join(capfd.readouterr()) + json.dumps(comparison.report))
    written = {path.suffix for path in home.rglob("*") if path.is_file()}
    assert {".parquet", ".json", ".db", ".npz", ".log"} <= written
    assert len(leaks(folder, mails)) > 50, "the scan must be able to see"
    assert leaks(home, [*mails, KEY]) == []


def _people_move_into_a_simulated_shop(folder: Path) -> list[str]:
    """Every user's id is an e-mail address, which searches and attributes hold too; what was planted."""
    Shop(ShopConfig.of(seed=3, events=6_000)).write(folder)
    events, users = (pd.read_parquet(folder / f"{name}.parquet") for name in ("events", "users"))
    mail = {user: f"Shopper.{n}@planted.example.org" for n, user in enumerate(sorted(users["user_id"].unique()))}
    for table in (events, users):
        table["user_id"] = table["user_id"].map(mail)
    users["e_mail"] = users["user_id"]
    if "query" in events:
        events["query"] = events["query"].where(events["query"].isna(), "write to " + events["user_id"])
    events.to_parquet(folder / "events.parquet", index=False)
    users.to_parquet(folder / "users.parquet", index=False)
    return list(mail.values())[:60]
