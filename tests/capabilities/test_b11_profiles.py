"""B11, the features: a visitor's profile becomes part of the user's; taken back, both are as they were before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.append import append
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.schema import DAY_MS, EventType
from features.snapshot import Snapshot, build_snapshot

NOW = 20_000 * DAY_MS
ANN, VISITOR, OTHER = "ann", "tablet", "bob"

Rows = list[dict[str, Any]]
Said = Callable[..., Snapshot]


def said(kind: str, visitor: str, user: str, before_ms: int) -> dict[str, Any]:
    return {
        "event_id": f"{kind} {visitor} {user}",
        "event_type": kind,
        "user_id": user,
        "anonymous_id": visitor,
        "ts": NOW - before_ms,
    }


MERGE, UNDO = said("identify", VISITOR, ANN, 5_000), said("unidentify", VISITOR, ANN, 1_000)


def shop() -> dict[str, Rows]:
    """Three people; ann and the visitor share a session, an order and items."""
    rng = np.random.default_rng(2)
    kinds = ["view", "view", "add_to_cart", "purchase"]
    events = [
        {
            "event_id": f"e{number}",
            "event_type": str(rng.choice(kinds)),
            "user_id": [ANN, VISITOR, OTHER][number % 3],
            "anonymous_id": None,
            "item_id": f"i{rng.integers(5)}",
            "ts": NOW - int(rng.integers(20)) * DAY_MS - int(rng.integers(1, 4)) * 1_200_000,
            "order_id": f"o{number // 6}",
            "unit_price_cents": 100,
        }
        for number in range(60)
    ]
    items = [{"item_id": f"i{n}", "valid_from": 1, "category": f"c{n % 2}", "available": True} for n in range(5)]
    return {"events": events, "items": items, "users": [{"user_id": ANN, "valid_from": 1, "country": "CH"}]}


def written(folder: Path, tables: dict[str, Rows]) -> Path:
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.duckdb(threads=1) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    ingest(written(tmp_path / "shop", shop()), "tables", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def appended(engine: Engine, data: Path, tmp_path: Path) -> Said:
    """The snapshot once a delivery of events has been appended; of an earlier one, only what is new is read."""

    def after(*rows: dict[str, Any], since: Snapshot | None = None) -> Snapshot:
        if rows:
            append(data, written(tmp_path / rows[0]["event_id"], {"events": list(rows)}))
        return build_snapshot(engine, Dataset.open(data), NOW, None if since is None else since.basis)

    return after


def timeline(snapshot: Snapshot, *users: str) -> Rows:
    """What the users did, by instant."""
    found = []
    for user in users:
        one = snapshot.sequences.take(np.array([snapshot.users.code(user)]))
        columns = (one.ts.tolist(), one.event_types.tolist(), one.items.tolist())
        found += [dict(zip(("ts", "kind", "item"), row, strict=True)) for row in zip(*columns, strict=True)]
    return sorted(found, key=lambda row: tuple(row.values()))


def assert_same_profile(mine: Snapshot, other: Snapshot, user: str) -> None:
    """The row of the matrix, the events and the interactions of a user are equal to the bit."""
    pd.testing.assert_frame_equal(mine.user_matrix.loc[[user]], other.user_matrix.loc[[user]], check_exact=True)
    assert timeline(mine, user) == timeline(other, user)
    rows = [snapshot.interactions[[snapshot.users.code(user)]].toarray() for snapshot in (mine, other)]
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("continued", [False, True], ids=["all events", "only what is new"])
def test_merge_then_undo_gives_both_their_profiles_back(appended: Said, continued: bool) -> None:
    before = appended()
    merged = appended(MERGE, since=before if continued else None)
    assert VISITOR not in merged.users and ANN in merged.users
    assert timeline(merged, ANN) == timeline(before, ANN, VISITOR)
    row, ann, visitor = merged.user_matrix.loc[ANN], before.user_matrix.loc[ANN], before.user_matrix.loc[VISITOR]
    for count in ("views_90d", "purchases_90d", "monetary_cents", "interactions"):
        assert row[count] == ann[count] + visitor[count] > ann[count]
    # What both did in one order, in one visit or to one item is one.
    for count in ("frequency", "sessions_90d", "distinct_items"):
        assert ann[count] <= row[count] < ann[count] + visitor[count]
    assert row["country"] == "CH"

    undone = appended(UNDO, since=merged if continued else None)
    for user in (ANN, VISITOR, OTHER):
        assert_same_profile(undone, before, user)
    assert undone.digest == before.digest


def test_an_undo_that_arrives_before_its_merge(appended: Said) -> None:
    before = appended()
    assert appended(UNDO).digest == before.digest
    assert appended(MERGE).digest == before.digest


def test_a_merge_with_somebody_else_leaves_the_first_as_before(appended: Said) -> None:
    before, merged = appended(), appended(MERGE)
    moved = appended(said("identify", VISITOR, OTHER, 3_000))
    # Scores compare ann with the others, who are others now.
    absolute = [name for name in before.user_matrix if not str(name).endswith("_score")]
    ann = [snapshot.user_matrix.loc[[ANN], absolute] for snapshot in (moved, before)]
    pd.testing.assert_frame_equal(*ann, check_exact=True)
    assert timeline(moved, ANN) == timeline(before, ANN)
    assert timeline(moved, OTHER) == timeline(before, OTHER, VISITOR)
    back = appended(said("unidentify", VISITOR, OTHER, 2_000))
    assert back.digest == merged.digest


def test_the_words_are_no_behaviour(appended: Said) -> None:
    kinds = {timeline_row["kind"] for timeline_row in timeline(appended(MERGE), ANN)}
    assert kinds <= {EventType.VIEW.code, EventType.ADD_TO_CART.code, EventType.PURCHASE.code}
