"""Orders as they may be read at an instant: whose they are, what they cost, and nothing of what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from features.engine import Engine
from features.orders import read_orders
from features.remember import remember
from features.schema import DAY_MS
from features.snapshot import build_snapshot
from tests.features.by_hand import Tables, write

START = 19_000 * DAY_MS


def bought(name: str, user: str, day: float, **more: Any) -> dict[str, Any]:
    ts = START + round(day * DAY_MS)
    told: dict[str, Any] = {"event_type": "purchase", "item_id": "lamp", "unit_price_cents": 100}
    return {"event_id": name, "user_id": user, "ts": ts, **told, **more}


def tables() -> Tables:
    events = [
        bought("a1", "ann", 1, order_id="one", quantity=3),
        bought("a2", "ann", 2, order_id="one"),
        bought("a3", "ann", 5, unit_price_cents=None),
        bought("a4", "ann", 6, event_type="refund"),
        bought("a5", "ann", 9.5, order_id="late", quantity=2),
        bought("a6", "ann", 10.5, order_id="late"),
        bought("t1", "tablet", 3),
        bought("b1", "bob", 4, properties='{"channel": "store"}'),
        bought("b2", "bob", 5),
        bought("p1", "pat", 4),
        bought("c1", "cleo", 4),
        bought("m1", "ann", 8, event_type="identify", anonymous_id="tablet", item_id=None),
    ]
    users = [
        {"user_id": "pat", "valid_from": 1, "consents": "email"},
        {"user_id": "cleo", "valid_from": 1, "consents": "personalisation"},
        {"user_id": "cleo", "valid_from": START + 9 * DAY_MS, "consents": "none"},
    ]
    return {"events": events, "users": users}


def read(folder: Path, at: float, until: float | None = None) -> list[tuple[str, float, int]]:
    with Engine.duckdb(threads=1) as engine:
        data = write(folder / f"{at}-{until}", [tables()])
        instants = [None if day is None else START + round(day * DAY_MS) for day in (at, until)]
        assert instants[0] is not None
        found = read_orders(engine, data, instants[0], instants[1])
    assert found.dtypes["ts"] == found.dtypes["cents"] == "int64"
    return [(user, (ts - START) / DAY_MS, cents) for user, ts, cents in found.itertuples(index=False)]


def test_orders_are_those_of_persons_who_allow_it(tmp_path: Path) -> None:
    # An order is at its last line; the visitor is ann; what happened in a store and what pat did is not read.
    assert read(tmp_path, 10) == [
        *[("ann", 2, 400), ("ann", 3, 100), ("ann", 5, 0), ("ann", 9.5, 200)],
        ("bob", 5, 100),
    ]


def test_identities_and_consents_are_those_of_the_instant(tmp_path: Path) -> None:
    early = read(tmp_path, 7)
    assert ("tablet", 3, 100) in early and ("cleo", 4, 100) in early and len(early) == 5


def test_what_follows_changes_nothing_before(tmp_path: Path) -> None:
    known, all_told = read(tmp_path, 10), read(tmp_path, 10, 20)
    assert [order for order in all_told if order[1] < 10] == known
    assert [order for order in all_told if order[1] >= 10] == [("ann", 10.5, 100)]


def test_it_is_what_the_service_knows(tmp_path: Path) -> None:
    with Engine.duckdb(threads=1) as engine:
        data = write(tmp_path / "data", [tables()])
        at_ms = START + 11 * DAY_MS
        found = read_orders(engine, data, at_ms)
        known = remember(engine, data, build_snapshot(engine, data, at_ms)).known
    assert known is not None
    told = [(one, order.ts, order.cents) for one in known.people.index for order in known.orders(one)]
    pd.testing.assert_frame_equal(found, pd.DataFrame(told, columns=found.columns), check_dtype=False)
