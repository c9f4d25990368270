"""C52: every feature says whether the user told it or it was seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from features.contracts import ITEMS
from features.dataset import Dataset
from features.declarations import Affinity, Origin
from features.definitions import ITEM_FEATURES, TITLE_PREFIX, USER_FEATURES
from features.engine import Engine
from features.ingest import ingest
from features.schema import DAY_MS
from features.snapshot import Snapshot, build_snapshot
from stellar import app

NOW = 20_000 * DAY_MS


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `stellar features list` writes."""
    file: Path = tmp_path_factory.mktemp("list") / "features.json"
    result = CliRunner().invoke(app, ["features", "list", "--json", str(file)])
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return told


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder: Path = tmp_path_factory.mktemp("shop")
    tables = {
        "events": [{"event_id": "e", "user_id": "u", "item_id": "i", "event_type": "purchase", "ts": NOW - 1}],
        "items": [{"item_id": "i", "valid_from": 1, "category": "mugs/tea", "available": True, "title": "Tea mug"}],
        "users": [{"user_id": "u", "valid_from": 1, "country": "CH", "gender": "f"}],
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet", index=False)
    ingest(folder, "tables", folder / "out")
    with Engine.duckdb(threads=1) as engine:
        return build_snapshot(engine, Dataset.open(folder / "out"), NOW)


def test_every_declared_feature_is_listed_with_its_origin(listed: dict[str, Any]) -> None:
    origins = {(entry["entity"], entry["name"]): entry["origin"] for entry in listed["features"]}
    declared = {
        (entity, one.name): one.origin
        for entity, features in (("user", USER_FEATURES), ("item", ITEM_FEATURES))
        for one in features
    }
    assert origins == declared
    assert len(origins) == len(listed["features"])
    assert {type(origin) for origin in declared.values()} == {Origin}


def test_every_column_of_a_matrix_has_an_origin(listed: dict[str, Any], snapshot: Snapshot) -> None:
    """Whoever adds a column without a declaration fails here."""
    entries = listed["features"]
    seen = {
        entity: {entry["name"] for entry in entries if entry["entity"] == entity and entry["origin"] == Origin.IMPLICIT}
        for entity in ("user", "item")
    }
    for affinity in (one for one in USER_FEATURES if isinstance(one, Affinity)):
        assert affinity.name in seen["user"]
        seen["user"] |= {f"top_{affinity.name}", f"top_{affinity.name}_share"}
    user_columns = [name for name in snapshot.user_matrix if not name.startswith("affinity:")]
    assert set(user_columns) - seen["user"] == set(snapshot.attributes) == {"country", "gender"}
    assert f"columns of users, {Origin.EXPLICIT}" in listed["attributes"]
    of_catalogue = {*ITEMS.columns}
    item_columns = {name for name in snapshot.item_matrix if not name.removeprefix(TITLE_PREFIX).isdigit()}
    assert item_columns - of_catalogue <= seen["item"]


def test_people_read_it_too() -> None:
    shown = CliRunner().invoke(app, ["features", "list"], env={"COLUMNS": "400"}).output
    assert "origin" in shown and shown.count(Origin.IMPLICIT.value) >= len(USER_FEATURES) + len(ITEM_FEATURES)
