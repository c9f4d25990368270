"""A snapshot that continues from an earlier one is the one that is built from everything, whatever came between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from features.append import append
from features.basis import Basis
from features.contracts import CONTRACTS, Kind
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError, NotFoundError
from features.ingest import ingest
from features.schema import DAY_MS, EventType
from features.snapshot import Snapshot, build_snapshot
from tests.features.by_hand import Rows, Tables, write
from tests.features.oracle import assert_same

MIDNIGHT = 20_000 * DAY_MS
AFTERNOON = MIDNIGHT + 49_031_123
HOUR_MS, GAP_MS = 3_600_000, 1_800_000

USERS, VISITORS = [f"u{number}" for number in range(20)], [f"v{number}" for number in range(4)]
KNOWN = [*USERS, *VISITORS]

#: Whose past changes, so that there are others whose past does not; and who is on a visit when sums end.
LATE, VISITING = KNOWN[16:], USERS[:8]
ORDERS = [f"o{number}" for number in range(40)]

GIVEN = [f"i{number}" for number in range(5)]
ITEMS = [*GIVEN, "only in events"]
KINDS = [kind.value for kind in EventType if kind not in (EventType.IDENTIFY, EventType.UNIDENTIFY)]
CONSENTS = ["none", "personalisation", "personalisation,search_history", "personalisation,offline,location", None]
SHOWN = {"surface": "home", "rank": 1, "score": 0.5, "level": 1, "propensity": 1.0, "arm": "a", "bundle_digest": "d"}


class Shop:
    """Makes up rows, each with a name of its own."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._names = 0

    def name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def one_of(self, values: list[Any]) -> Any:
        return values[self._rng.integers(len(values))]

    def instant(self, first_ms: int, until_ms: int) -> int:
        return int(self._rng.integers(first_ms, until_ms))

    def event(self, ts: int, users: list[str] = KNOWN, items: list[str] = ITEMS, **values: Any) -> dict[str, Any]:
        event = {
            "event_id": self.name("e"),
            "user_id": self.one_of(users),
            "item_id": self.one_of(items),
            "event_type": self.one_of(KINDS),
            "ts": ts,
            "order_id": self.one_of([*ORDERS, *[None] * len(ORDERS)]),
            "quantity": self.one_of([1, 2, None]),
            "unit_price_cents": self.one_of([50, 100, 500, None]),
            "properties": self.one_of(['{"channel": "web"}', '{"channel": "store"}', None]),
        }
        return event | values

    def word(self, ts: int) -> dict[str, Any]:
        """Who a visitor is, or is not."""
        visitor, user = self.one_of(VISITORS), self.one_of([*USERS, *VISITORS[:1], "someone new"])
        kind = self.one_of(["identify", "identify", "unidentify"])
        return {"event_id": self.name("w"), "user_id": user, "anonymous_id": visitor, "event_type": kind, "ts": ts}

    def line(self, ts: int, number: int) -> dict[str, Any]:
        """Of an order of which there may be other lines."""
        return self.event(ts, [LATE[number]], event_type="purchase", order_id=ORDERS[number])

    def visits(self, border_ms: int, minutes: int) -> Rows:
        """One view of each: of the first at a border, of the next so many minutes from it, and so on."""
        pauses = [(user, number * minutes * 60_000) for number, user in enumerate(VISITING)]
        return [self.event(border_ms + pause, [user], event_type="view", properties=None) for user, pause in pauses]

    def item(self, name: str, valid_from: int, **values: Any) -> dict[str, Any]:
        row = {
            "item_id": name,
            "valid_from": valid_from,
            "category": self.one_of(["a/x", "a/y", "b"]),
            "brand": self.one_of(["m", "n", None]),
            "price_cents": self.one_of([80, 100, 300, None]),
            "available": True,
            "title": self.one_of(["red mug", "blue lamp", "wool", None]),
        }
        return row | values

    def user(self, name: str, valid_from: int) -> dict[str, Any]:
        row = {"user_id": name, "valid_from": valid_from, "consents": self.one_of(CONSENTS)}
        return row | {"country": self.one_of(["fr", "it", None])}

    def impression(self, ts: int, users: list[str] = KNOWN, items: list[str] = ITEMS) -> dict[str, Any]:
        shown = {"request_id": self.name("r"), "user_id": self.one_of(users), "item_id": self.one_of(items), "ts": ts}
        return shown | SHOWN

    def beginning(self, then: int) -> Tables:
        """Seventy days before an instant, and already an hour after it."""
        events = [self.event(self.instant(then - 70 * DAY_MS, then + HOUR_MS)) for _ in range(300)]
        events += self.visits(then - 1, -4)
        events += [self.line(then - DAY_MS, number) for number in range(len(LATE))]
        events += [self.event(then - 80 * DAY_MS, items=ITEMS[-1:], event_type="view")]
        events += [self.word(self.instant(then - 9 * DAY_MS, then)) for _ in range(3)]
        return {
            "events": events,
            "items": [
                self.item(name, then - days * DAY_MS - number) for number, name in enumerate(GIVEN) for days in (80, 20)
            ],
            "users": [self.user(name, then - days * DAY_MS) for name in [*KNOWN[::3], "idle"] for days in (80, 3)],
            "impressions": [
                self.impression(self.instant(then - 9 * DAY_MS, then + HOUR_MS), [*KNOWN, "shown"], [*ITEMS, "seen"])
                for _ in range(40)
            ],
        }

    def between(self, names: list[str], then: int, now: int) -> Tables:
        """A delivery with some of ``CHANGES``."""
        tables: Tables = {"events": [self.event(now)]}
        for name in names:
            for table, rows in CHANGES[name](self, then, max(now, then + 1)).items():
                tables.setdefault(table, []).extend(rows)
        return tables


#: What may come between two snapshots: (shop, the earlier instant, the later one) to the rows of a delivery.
CHANGES: dict[str, Callable[[Shop, int, int], Tables]] = {
    "new events": lambda shop, then, now: {
        "events": [shop.event(shop.instant(then, now + HOUR_MS)) for _ in range(30)] + shop.visits(now - 1, -4),
    },
    "late events": lambda shop, then, _: {
        "events": [shop.event(shop.instant(then - 70 * DAY_MS, then), LATE) for _ in range(3)],
    },
    "events on the border": lambda shop, then, _: {
        "events": [shop.event(then + shift) for shift in (0, 1, GAP_MS - 1, GAP_MS, GAP_MS + 1)],
    },
    "late on the border": lambda shop, then, _: {
        "events": [shop.event(then - shift, LATE) for shift in (1, GAP_MS - 1, GAP_MS, GAP_MS + 1)],
    },
    "visits that go on": lambda shop, then, _: {
        "events": shop.visits(then, 4),
    },
    "orders that go on": lambda shop, then, now: {
        "events": [shop.line(shop.instant(then, now), number) for number in range(0, len(LATE), 2)],
    },
    "lines without an order": lambda shop, then, _: {
        "events": [shop.event(then + 5, USERS[:1], event_type="purchase", order_id=None) for _ in range(2)],
    },
    "words of who is who": lambda shop, then, now: {
        "events": [shop.word(shop.instant(then, now + HOUR_MS)) for _ in range(2)],
    },
    "late words of who is who": lambda shop, then, _: {
        "events": [shop.word(shop.instant(then - 9 * DAY_MS, then)) for _ in range(2)],
    },
    "consents": lambda shop, then, now: {
        "users": [shop.user(shop.one_of(LATE), shop.instant(then - DAY_MS, now + HOUR_MS)) for _ in range(3)],
    },
    "new people": lambda shop, then, now: {
        "users": [shop.user(name, shop.instant(then - 9 * DAY_MS, now)) for name in ("!first", "zlast")],
        "events": [shop.event(shop.instant(then - DAY_MS, now), ["!first", "u10", "zlast"]) for _ in range(5)],
    },
    "new items": lambda shop, then, now: {
        "items": [shop.item(name, shop.instant(then, now + HOUR_MS)) for name in ("!first", "zlast")],
        "events": [shop.event(shop.instant(then, now), items=["!first", "i10", "zlast"]) for _ in range(5)],
    },
    "new brands and categories": lambda shop, then, now: {
        "items": [shop.item("i0", then, brand="!", category="!/a"), shop.item("i1", now - 1, brand="z", category="z")],
        "events": [shop.event(shop.instant(then, now), items=["i0", "i1"], event_type="view") for _ in range(5)],
    },
    "new channels": lambda shop, then, now: {
        "events": [
            shop.event(shop.instant(then, now), event_type="view", properties=json.dumps({"channel": channel}))
            for channel in ("!", "app", "zoo")
        ],
    },
    "impressions": lambda shop, then, now: {
        "impressions": [shop.impression(shop.instant(then - 9 * DAY_MS, now + HOUR_MS)) for _ in range(9)],
    },
    "somebody and something shown before": lambda shop, then, now: {
        "events": [shop.event(shop.instant(then, now), ["shown"])],
        "items": [shop.item("seen", shop.instant(then, now))],
    },
}


class Deliveries:
    """Data sets of the rows delivered so far: by appends, and by one ingest of them all."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._rng = folder, np.random.default_rng(0)
        self._all: list[Tables] = []

    def deliver(self, tables: Tables) -> Dataset:
        """In any order, and some rows of before given again."""
        again = {name: [row for before in self._all for row in before.get(name, [])[::9]] for name in CONTRACTS}
        files, out = self._folder / f"files{len(self._all)}", self._folder / "appended"
        self._write(files, {name: [*tables.get(name, []), *again[name]] for name in CONTRACTS})
        if self._all:
            append(out, files)
        else:
            ingest(files, "tables", out)
        self._all.append(tables)
        return Dataset.open(out)

    def at_once(self) -> Dataset:
        files = self._folder / "whole"
        self._write(files, {name: [row for one in self._all for row in one.get(name, [])] for name in CONTRACTS})
        ingest(files, "tables", files / "out")
        return Dataset.open(files / "out")

    def _write(self, files: Path, tables: Tables) -> None:
        files.mkdir()
        for name, rows in tables.items():
            whole = [field.name for field in CONTRACTS[name].fields if field.kind is Kind.INTEGER]
            frame = pd.DataFrame([rows[at] for at in self._rng.permutation(len(rows))])
            frame = frame.astype({column: "Int64" for column in whole if column in frame})
            frame.to_parquet(files / f"{name}.parquet", index=False)


def saved(snapshot: Snapshot, folder: Path) -> Basis:
    assert snapshot.basis is not None
    snapshot.basis.save(folder)
    return Basis.load(folder)


# An example takes seconds: one that fails is told as it is, not made smaller.
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    seed=st.integers(0, 10_000),
    then=st.sampled_from([MIDNIGHT, AFTERNOON]),
    days=st.tuples(st.integers(1, 9), st.integers(0, 2)),
    changes=st.tuples(*[st.sets(st.sampled_from(sorted(CHANGES)), min_size=3, max_size=8)] * 2),
)
def test_a_continued_snapshot_is_the_full_one(
    engine: Engine, seed: int, then: int, days: tuple[int, int], changes: tuple[set[str], set[str]]
) -> None:
    """Twice over, from sums that were saved and loaded."""
    shop, told = Shop(seed), list[str]()
    came = [shop.beginning(then)]
    with TemporaryDirectory() as folder:
        snapshot = build_snapshot(engine, write(Path(folder) / "beginning", came, ["country"]), then)
        for days_since, names in zip(days, changes, strict=True):
            now = then + days_since * DAY_MS
            came.append(shop.between(sorted(names), then, now))
            data = write(Path(folder) / shop.name("data"), came, ["country"])
            basis = saved(snapshot, Path(folder) / shop.name("basis"))
            snapshot, then = build_snapshot(engine, data, now, since=basis, notify=told.append), now
        assert_same(snapshot, build_snapshot(engine, data, then))
    assert told.count("what is new") == 2


def test_delivered_in_parts_or_at_once(engine: Engine, tmp_path: Path) -> None:
    """All changes, by appends in an order of their own that give some rows again, and by one ingest."""
    shop, deliveries, told = Shop(1), Deliveries(tmp_path), list[str]()
    kinds, now = sorted(CHANGES), MIDNIGHT + 2 * DAY_MS
    earlier = build_snapshot(engine, deliveries.deliver(shop.beginning(MIDNIGHT)), MIDNIGHT)
    for names in (kinds[::2], kinds[1::2]):
        data = deliveries.deliver(shop.between(names, MIDNIGHT, now))
    whole = deliveries.at_once()
    assert data.digest == whole.digest
    assert_same(build_snapshot(engine, data, now, earlier.basis, told.append), build_snapshot(engine, whole, now))
    assert "what is new" in told


BEGINNING = Shop(1).beginning(MIDNIGHT)


@pytest.fixture(scope="module")
def earlier(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return build_snapshot(engine, write(tmp_path_factory.mktemp("earlier") / "data", [BEGINNING]), MIDNIGHT)


@pytest.mark.parametrize(
    ("now", "deliveries", "reason"),
    [
        (MIDNIGHT - DAY_MS, [BEGINNING], "the earlier snapshot is later"),
        (MIDNIGHT + DAY_MS + 1, [BEGINNING], "the earlier snapshot ends its days at another time"),
        (
            MIDNIGHT + DAY_MS,
            [{**BEGINNING, "events": BEGINNING["events"][1:]}],
            "parts of the events have changed",
        ),
        (
            MIDNIGHT + DAY_MS,
            [{**BEGINNING, "users": [row for row in BEGINNING["users"] if row["user_id"] != "idle"]}],
            "users or items have vanished",
        ),
        (
            MIDNIGHT + DAY_MS,
            [BEGINNING, {"items": [Shop(2).item("i2", MIDNIGHT - 79 * DAY_MS, category="other")]}],
            "what items were before the earlier snapshot has changed",
        ),
    ],
    ids=["later", "time of day", "parts", "vanished", "past of items"],
)
def test_sums_that_do_not_fit_are_left_alone(
    engine: Engine, earlier: Snapshot, tmp_path: Path, now: int, deliveries: list[Tables], reason: str
) -> None:
    data, told = write(tmp_path / "data", deliveries), list[str]()
    assert_same(build_snapshot(engine, data, now, earlier.basis, told.append), build_snapshot(engine, data, now))
    assert f"all events: {reason}" in told


def cut(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


@pytest.mark.parametrize(
    "damage",
    [
        cut("basis.json"),
        cut("timeline.ts.npy"),
        lambda folder: (folder / "basis.json").write_text("[]"),
        lambda folder: (folder / "basis.json").write_text('{"version": 0}'),
        lambda folder: (folder / "timeline.ts.npy").write_bytes(b""),
        lambda folder: (folder / "timeline.ts.npy").unlink(),
        lambda folder: np.save(folder / "timeline.ts.npy", np.load(folder / "timeline.ts.npy") + 1),
        lambda folder: np.save(folder / "numbers.npy", np.load(folder / "numbers.npy")[:-1]),
    ],
    ids=["cut json", "cut array", "no object", "version", "empty", "gone", "other content", "other length"],
)
def test_damaged_sums_are_refused(earlier: Snapshot, tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    saved(earlier, tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match="build the snapshot without --since"):
        Basis.load(tmp_path)


def test_no_sums(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="build the snapshot without --since"):
        Basis.load(tmp_path)
