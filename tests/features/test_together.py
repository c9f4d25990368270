"""What was bought together: every number by plain loops over orders, and what orders are at all."""

from __future__ import annotations

from itertools import pairwise
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import together
from features.engine import Engine
from features.errors import InputError
from features.remember import Served, remember
from features.schema import DAY_MS
from features.sequences import Ragged
from features.snapshot import build_snapshot
from features.together import MINIMUM_SUPPORT, SHRINKAGE, Together, baskets
from tests.features.by_hand import Rows, Tables, write

NOW = 20_000 * DAY_MS


def ragged(orders: list[list[int]]) -> Ragged:
    offsets = np.cumsum([0, *(len(order) for order in orders)]).astype(np.int64)
    return Ragged(offsets, np.array([item for order in orders for item in order], dtype=np.int32))


def some_orders(n: int, n_items: int, seed: int) -> list[list[int]]:
    """Items of one row of five often come together."""
    rng = np.random.default_rng(seed)
    orders = []
    for _ in range(n):
        drawn = {int(item) for item in rng.integers(0, n_items, rng.integers(1, 5))}
        drawn |= {item - item % 5 + int(rng.integers(5)) for item in drawn if rng.random() < 0.8}
        orders.append(sorted(drawn))
    return orders


def by_loops(orders: list[list[int]], anchor: int, n_items: int) -> dict[int, tuple[float, ...]]:
    """Partner to (support, confidence, lift, its lower end, strength), of those that chance does not explain."""
    n, a = len(orders), sum(anchor in order for order in orders)
    found: dict[int, tuple[float, ...]] = {}
    for item in range(n_items):
        k = sum(anchor in order and item in order for order in orders)
        b = sum(item in order for order in orders)
        if item == anchor or k < MINIMUM_SUPPORT:
            continue
        lift = n * k / (a * b)
        low = lift * exp(-1.959964 * sqrt(max(1 / k - 1 / a - 1 / b + 2 * k / (a * b) - 1 / n, 0)))
        if low > 1:
            found[item] = (k, k / a, lift, low, (k - a * b / n) / (a + SHRINKAGE))
    return found


def table(counted: Together, anchor: int) -> dict[int, tuple[float, ...]]:
    pairs = counted.partners_of(anchor)
    return {int(item): tuple(float(value) for value in row) for item, *row in zip(*pairs, strict=True)}


@pytest.mark.parametrize("cells", [1, 300, 1 << 22])
def test_pairs_are_those_of_loops_over_orders(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(together, "_CELLS", cells)
    orders, n_items = some_orders(400, 20, seed=1), 21
    counted = Together.count(ragged(orders), np.zeros(n_items, np.int32))
    assert counted.n_orders == 400
    for anchor in range(n_items):
        assert counted.orders[anchor] == sum(anchor in order for order in orders)
        expected = by_loops(orders, anchor, n_items)
        found = table(counted, anchor)
        assert list(found) == sorted(expected)
        for item, row in expected.items():
            assert found[item] == pytest.approx(row, rel=1e-12)
    assert 20 < len(counted.partners) < 380 and not len(counted.partners_of(20).items)


def test_the_interval_of_lift_covers_as_often_as_it_says() -> None:
    """Of items bought independently the lower end is above 1 in 2.5 % of the pairs."""
    rng = np.random.default_rng(0)
    taken = rng.random((4_000, 120)) < 0.15
    counts = taken.astype(int).T @ taken.astype(int)
    above = 0
    pairs = [(a, b) for a in range(120) for b in range(a)]
    alone = taken.sum(axis=0)
    for a, b in pairs:
        row = together._pairs(np.array([b], np.int32), counts[a, [b]], alone[[a]], alone[[b]], len(taken))
        above += int(row.lift_low[0] > 1)
    share = above / len(pairs)
    assert share == pytest.approx(0.025, abs=3 * sqrt(0.025 * 0.975 / len(pairs)))


def test_the_strongest_are_kept_and_as_many_of_other_categories() -> None:
    orders, n_items = some_orders(400, 20, seed=1), 20
    categories = np.array([item % 3 if item % 7 else -1 for item in range(n_items)], dtype=np.int32)
    whole = Together.count(ragged(orders), categories)
    cut = Together.count(ragged(orders), categories, most=1)
    fewer = 0
    for anchor in range(n_items):
        ranked = sorted(table(whole, anchor).items(), key=lambda pair: (-pair[1][-1], pair[0]))
        other = [
            (item, row)
            for item, row in ranked
            if categories[item] >= 0 and categories[anchor] >= 0 and categories[item] != categories[anchor]
        ]
        assert table(cut, anchor) == dict(sorted({**dict(ranked[:1]), **dict(other[:1])}.items()))
        fewer += len(ranked) > 1
    assert fewer


def test_ties_are_cut_by_the_lower_id() -> None:
    orders = [[0, 1, 2, 3]] * 3 + [[4]] * 30
    kept = Together.count(ragged(orders), np.zeros(5, np.int32), most=2)
    assert [kept.partners_of(anchor).items.tolist() for anchor in range(5)] == [[1, 2], [0, 2], [0, 1], [0, 1], []]


def test_without_orders_there_is_an_empty_table_that_can_be_kept(tmp_path: Path) -> None:
    lines = pd.DataFrame({"user": [], "order": [], "item": []})
    empty = Together.count(baskets(lines, "user", "order", "item"), np.zeros(3, np.int32))
    empty.save(tmp_path / "together")
    again = Together.load(tmp_path / "together")
    assert (again.n_orders, again.orders.tolist()) == (0, [0, 0, 0])
    assert [len(column) for column in again.partners_of(2)] == [0] * 6


def test_what_was_saved_is_loaded_and_what_is_damaged_refused(tmp_path: Path) -> None:
    counted = Together.count(ragged(some_orders(200, 15, seed=2)), np.zeros(15, np.int32))
    counted.save(tmp_path / "together")
    again = Together.load(tmp_path / "together")
    for anchor in range(15):
        assert table(again, anchor) == table(counted, anchor)
    (tmp_path / "together" / "support.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="must be readable"):
        Together.load(tmp_path / "together")


def bought(user: str, items: str, before_days: float, order: str | None, **more: str) -> Rows:
    ts = NOW - int(before_days * DAY_MS)
    return [
        {"event_type": "purchase", "user_id": user, "item_id": item, "ts": ts + n * (order is not None), **more}
        | {"order_id": order}
        for n, item in enumerate(items)
    ]


SHOP: Tables = {
    "events": [
        {"event_id": f"e{number}", **row}
        for number, row in enumerate(
            [
                *bought("ann", "ab", 9, "o1"),
                *bought("bob", "ab", 9, "o1"),  # another user's order, whatever its name
                *bought("ann", "ab", 8, None),  # one instant is one order
                *bought("ann", "c", 8, "o2"),  # another order at the same instant
                *bought("bob", "a", 7, "o1"),  # the order of two days before goes on
                *bought("cleo", "c", 7, "o3"),
                *bought("pat", "ab", 5, "o5"),  # refuses
                *bought("dan", "ab", 4, "o6", properties='{"channel": "store"}'),  # said nothing of stores
                *(row for n in range(9) for row in bought("cleo", "d", 6 + n, f"o4{n}")),
                *bought("ann", "z", 3, "o7"),  # listed only later
                *bought("ann", "ab", -1, "o8"),  # not yet
                {"event_type": "refund", "user_id": "ann", "item_id": "a", "ts": NOW - 10, "order_id": "o1"},
                {"event_type": "view", "user_id": "ann", "item_id": "d", "ts": NOW - 9},
            ]
        )
    ],
    "items": [
        {"item_id": item, "valid_from": NOW if item == "z" else 1, "category": "c", "available": True}
        for item in "abcdz"
    ],
    "users": [{"user_id": "pat", "valid_from": 1, "consents": "email"}],
}


def remembered(folder: Path, as_of_ms: int = NOW) -> Served:
    with Engine.duckdb(threads=1) as engine:
        data = write(folder, [SHOP])
        return remember(engine, data, build_snapshot(engine, data, as_of_ms))


def test_an_order_is_one_of_one_user_and_only_what_may_be_read_counts(tmp_path: Path) -> None:
    counted = remembered(tmp_path / "now").together
    assert counted is not None and counted.n_orders == 15  # z was bought before it was listed: as of its first event
    assert dict(zip("abcdz", counted.orders.tolist(), strict=True)) == {"a": 3, "b": 3, "c": 2, "d": 9, "z": 1}
    found = {anchor: counted.partners_of(anchor).items.tolist() for anchor in range(5)}
    assert found == {0: [1], 1: [0], 2: [], 3: [], 4: []}
    assert counted.partners_of(0).support.tolist() == [3]


def test_what_comes_later_changes_nothing(tmp_path: Path) -> None:
    before, after = (remembered(tmp_path / str(at), at).together for at in (NOW, NOW + 2 * DAY_MS))
    assert before is not None and after is not None
    assert (before.partners_of(0).support.tolist(), after.partners_of(0).support.tolist()) == ([3], [4])
    assert [one.n_orders for one in (before, after)] == [15, 16]


def test_orders_are_the_users_own(tmp_path: Path) -> None:
    lines = pd.DataFrame(
        {
            "user": [1, 1, 2, 2, 2, 1, 3, 3],
            "order": ["#x", "#x", "#x", "#x", "#y", "#x", None, "#z"],
            "item": pd.array([4, 2, 2, 2, 2, 4, 1, None], dtype="Int32"),
        }
    )
    found = baskets(lines, "user", "order", "item")
    rows = [found.values[start:end].tolist() for start, end in pairwise(found.offsets.tolist())]
    assert rows == [[2, 4], [2], [2]] and found.values.dtype == np.int32
