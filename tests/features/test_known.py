"""What is kept of a snapshot for a service: who is who, who said what, and numbers that are as narrow as can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.engine import Engine
from features.errors import ConfigError, InputError
from features.ids import UNKNOWN
from features.known import Known, Order
from features.remember import remember
from features.schema import DAY_MS, Purpose
from features.snapshot import build_snapshot
from tests.features.by_hand import Rows, write

NOW = 20_000 * DAY_MS


def bought(number: int, user: str, before_ms: int, order: str | None, cents: int | None = 100) -> dict[str, object]:
    row = {"event_id": f"e{number}", "event_type": "purchase", "user_id": user, "item_id": "i", "ts": NOW - before_ms}
    return {**row, "order_id": order, "unit_price_cents": cents, "quantity": 2}


EVENTS: Rows = [
    bought(0, "ann", 3 * DAY_MS, "a"),
    bought(1, "ann", 2 * DAY_MS, "a", None),
    bought(2, "ann", 2 * DAY_MS, None),
    bought(3, "ann", 2 * DAY_MS, None),
    bought(4, "tab", 5 * DAY_MS, "\N{SNOWMAN}"),
    bought(5, "pat", 60_000, "p"),
    bought(6, "later", 0, "l"),
    {"event_id": "m", "event_type": "identify", "user_id": "ann", "anonymous_id": "tab", "ts": NOW - 1},
    {"event_id": "n", "event_type": "identify", "user_id": "pat", "anonymous_id": "pad", "ts": NOW - 1},
    {"event_id": "v", "event_type": "exit_intent", "user_id": "bob", "ts": NOW - 60_000},
]
USERS: Rows = [
    {"user_id": "ann", "valid_from": 1, "consents": "personalisation,email"},
    {"user_id": "ann", "valid_from": 2, "consents": None},
    {"user_id": "ann", "valid_from": NOW, "consents": "none"},
    {"user_id": "tab", "valid_from": 1, "consents": "personalisation,location"},
    {"user_id": "pat", "valid_from": 1, "consents": "none"},
]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("known")
    item = {"item_id": "i", "valid_from": 1, "category": "c", "available": True}
    data = write(folder / "data", [{"events": EVENTS, "items": [item], "users": USERS}])
    with Engine.duckdb(threads=1) as engine:
        found = remember(engine, data, build_snapshot(engine, data, NOW)).known
    assert found is not None
    found.save(folder / "known")
    return Known.load(folder / "known")


def test_everybody_of_whom_anything_was_known_before_the_instant(known: Known) -> None:
    assert known.people.index.tolist() == ["ann", "bob", "pad", "pat", "tab"]
    assert known.people["person_id"].tolist() == ["ann", "bob", "pat", "pat", "ann"]


def test_merges_are_found_from_either_end(known: Known) -> None:
    assert known.links(["tab"]) == known.links(["ann"]) == [("tab", "ann", NOW - 1)]
    assert known.links(["bob", "nobody"]) == []
    assert set(known.links(["pad", "tab"])) == {("pad", "pat", NOW - 1), ("tab", "ann", NOW - 1)}


def test_the_last_stated_word_of_each_id_and_the_strictest_of_a_person(known: Known) -> None:
    assert known.stated(["ann"]) == ["personalisation,email"]
    assert known.stated(["bob", "nobody"]) == []
    assert known.consents(["bob"]).purposes == {Purpose.PERSONALISATION}
    assert known.consents(["ann", "bob"]).purposes == {Purpose.PERSONALISATION, Purpose.EMAIL}
    assert known.read_under("ann").purposes == known.read_under("tab").purposes == {Purpose.PERSONALISATION}
    assert known.consents(["tab"]).purposes == {Purpose.PERSONALISATION, Purpose.LOCATION}
    assert known.read_under("pad").purposes == set()


def test_orders_are_those_of_the_person_in_order_of_time(known: Known) -> None:
    day = DAY_MS
    assert known.orders("ann") == [
        Order("#\N{SNOWMAN}", NOW - 5 * day, 1, 2, 200),
        Order("#a", NOW - 2 * day, 2, 4, 200),
        Order(f"@{NOW - 2 * day}", NOW - 2 * day, 2, 4, 400),
    ]
    assert known.orders("tab") == known.orders("pat") == known.orders("nobody") == []


def test_numbers_are_narrow_and_only_late_activity_has_its_instant(known: Known) -> None:
    assert known.arrays["counts.day"].dtype == np.uint16 and known.arrays["counts.what"].dtype == np.uint8
    late = {one: int(known.arrays["last_ms"][known.ids.code(one)]) for one in ("ann", "bob", "pat")}
    assert late == {"ann": -1, "bob": NOW - 60_000, "pat": -1}
    assert known.ids.code("later") == UNKNOWN


def test_a_loaded_snapshot_and_a_damaged_folder_are_refused(known: Known, tmp_path: Path) -> None:
    item = {"item_id": "i", "valid_from": 1, "category": "c", "available": True}
    data = write(tmp_path / "data", [{"events": EVENTS, "items": [item]}])
    with Engine.duckdb(threads=1) as engine:
        snapshot = replace(build_snapshot(engine, data, NOW), basis=None)
        with pytest.raises(ConfigError, match="must come with what it was computed from"):
            remember(engine, data, snapshot)
    known.save(tmp_path / "known")
    (tmp_path / "known" / "counts.day.npy").unlink()
    with pytest.raises(InputError, match="must be readable"):
        Known.load(tmp_path / "known")
