"""Ways in which the future could reach a snapshot, each planted and without effect, or refused.

Planted beside a log, one at a time; users, items, sequences and what rows are compared with stay the same to the bit:

 1. *future events*: every type of event, a moment and a month after the instant
 2. *an event at the instant*: a purchase at ``as_of`` itself
 3. *an order that goes on*: a line after the instant of an order from before it
 4. *a visit that goes on*: events at the instant, minutes after a user's last
 5. *a later price*
 6. *a later category, brand, title and availability*
 7. *an item that is listed later*
 8. *a later row of an item or a user that only events had named*
 9. *a consent granted later*
10. *a consent revoked later*
11. *an attribute told later*, and a user first told of later
12. *a later merge* of a visitor and a user
13. *a merge taken back later*
14. *impressions of the future*
15. *somebody shown something before who is heard of later*
16. *statistics over the whole period*: later prices, titles, categories, brands, channels, buyers beyond all there were
17. *ids that sort before all others*, of later users, items and labels

Late deliveries: 18. *all of that in an append*, read with and without the sums of an earlier snapshot.
By construction: 19. *numbers of ids carry no time*: renamed ids change nothing but names.
Refused: 20. *the target among the features*: attributes under the name of any feature.
Split: 21. *labels inside the lookback*: the label window begins where the lookback ends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.append import append
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.schema import DAY_MS, EventType
from features.snapshot import Snapshot, build_snapshot
from features.split import ask
from tests.features.by_hand import Rows, Tables, write
from tests.features.oracle import assert_same

MakeDataset = Callable[[Tables], Dataset]

AS_OF = 20_000 * DAY_MS + 49_031_123
LATER = AS_OF + 40 * DAY_MS

SHOWN = {"surface": "home", "rank": 1, "score": 0.5, "level": 1, "propensity": 1.0, "arm": "a", "bundle_digest": "d"}
KINDS = [kind.value for kind in EventType if kind not in (EventType.IDENTIFY, EventType.UNIDENTIFY)]


def event(name: str, **values: Any) -> dict[str, Any]:
    return {"event_id": name, "user_id": "u1", "item_id": "i01", "event_type": "purchase", "ts": AS_OF} | values


def item(name: str, **values: Any) -> dict[str, Any]:
    row = {"item_id": name, "valid_from": AS_OF, "category": "c1/x", "brand": "b1", "title": "red mug"}
    return {**row, "price_cents": 500, "available": True} | values


def user(name: str, **values: Any) -> dict[str, Any]:
    return {"user_id": name, "valid_from": AS_OF, "consents": None, "country": "fr"} | values


def shown(name: str, **values: Any) -> dict[str, Any]:
    return {"request_id": name, "user_id": "u1", "item_id": "i01", "ts": AS_OF, **SHOWN} | values


def base() -> Tables:
    """Sixty days of everybody and everything that later rows will be about."""
    rng = np.random.default_rng(5)
    words = ["red", "blue", "small", "mug", "lamp", "chair", "garden", "wool"]
    events = [
        event(
            f"e{number:03}",
            user_id=str(rng.choice(["u1", "u2", "u3", "u4", "refuser", "v1", "v2", "quiet"])),
            item_id=f"i{rng.integers(60):02}",
            event_type=str(rng.choice(KINDS)),
            ts=AS_OF - 1 - int(rng.integers(60 * DAY_MS)),
            order_id=f"o{number % 5}" if number % 2 else None,
            quantity=1 + number % 3,
            unit_price_cents=int(rng.integers(100, 900)),
            properties=json.dumps({"channel": ["web", "app"][number % 2]}),
        )
        for number in range(300)
    ]
    events += [
        event("last", event_type="view", ts=AS_OF - 60_000),
        event("ordered", order_id="goes on", ts=AS_OF - 2 * DAY_MS, unit_price_cents=100),
        event("alone", item_id="only in events", event_type="view", ts=AS_OF - DAY_MS),
        event("searched", user_id="only searched", item_id=None, event_type="search", ts=AS_OF - DAY_MS),
        event("known", event_type="identify", anonymous_id="v2", user_id="u2", item_id=None, ts=AS_OF - DAY_MS),
    ]
    titles = [" ".join(rng.choice(words, 3)) + f" {number}" for number in range(60)]
    items = [
        item(f"i{number:02}", valid_from=AS_OF - 90 * DAY_MS, category=f"c{number % 4}/x", brand=f"b{number % 3}")
        | {"title": title, "price_cents": 100 + 10 * number}
        for number, title in enumerate(titles)
    ]
    users = [user(f"u{number}", valid_from=AS_OF - 90 * DAY_MS) for number in range(1, 5)]
    users += [user("refuser", valid_from=AS_OF - 90 * DAY_MS, consents="none")]
    impressions = [shown("r1", ts=AS_OF - 5), shown("r2", user_id="only shown", ts=AS_OF - 5)]
    return {"events": events, "items": items, "users": users, "impressions": impressions}


def future_events() -> Rows:
    return [event(f"f{kind}{after}", event_type=kind, ts=AS_OF + after) for kind in KINDS for after in (1, 30 * DAY_MS)]


def extremes() -> Tables:
    items = [
        item(f"x{number}", category=f"aaa{number}/x", brand=f"aaa{number}", price_cents=10**9, title=f"aaa{number} zzz")
        for number in range(60)
    ]
    events = [
        event(f"x{number}", user_id=f"x{number}", item_id=f"x{number % 60}", quantity=99, unit_price_cents=10**8)
        | {"ts": AS_OF + number, "properties": '{"channel": "aaa"}'}
        for number in range(120)
    ]
    return {"items": items, "events": events}


PLANTED: dict[str, Tables] = {
    "future events": {"events": future_events()},
    "an event at the instant": {"events": [event("at")]},
    "an order that goes on": {"events": [event("line", order_id="goes on", ts=AS_OF + 7)]},
    "a visit that goes on": {"events": [event(f"go{n}", event_type="view", ts=AS_OF + n * 60_000) for n in range(3)]},
    "a later price": {"items": [item("i01", price_cents=1)]},
    "a later category, brand, title and availability": {
        "items": [item("i02", category="later/x", brand="later", title="later words", available=False)]
    },
    "an item that is listed later": {"items": [item("new")], "events": [event("new", item_id="new", ts=AS_OF + 1)]},
    "a later row of an item or a user that only events had named": {
        "items": [item("only in events")],
        "users": [user("only searched"), user("quiet")],
    },
    "a consent granted later": {"users": [user("refuser", consents="personalisation,search_history,location")]},
    "a consent revoked later": {"users": [user("u3", consents="none")]},
    "an attribute told later": {"users": [user("u4", country="later"), user("told later")]},
    "a later merge": {"events": [event("is", event_type="identify", anonymous_id="v1", item_id=None)]},
    "a merge taken back later": {
        "events": [event("no", event_type="unidentify", anonymous_id="v2", user_id="u2", item_id=None)]
    },
    "impressions of the future": {"impressions": [shown("f1"), shown("f2", user_id="u2", ts=AS_OF + 1)]},
    "somebody shown something before who is heard of later": {"events": [event("hello", user_id="only shown")]},
    "statistics over the whole period": extremes(),
    "ids that sort before all others": {
        "events": [event("!", user_id="!", item_id="!", order_id="!", properties='{"channel": "!"}')],
        "items": [item("!", category="!", brand="!", title="!")],
        "users": [user("!", country="!")],
        "impressions": [shown("!", user_id="!", item_id="!")],
    },
}

#: What a snapshot after all of it says: the planted rows are not mute.
SEEN_LATER: dict[str, Callable[[Snapshot], Any]] = {
    "future events": lambda then: then.user_matrix.at["u1", "redemptions_30d"],
    "an event at the instant": lambda then: AS_OF in then.sequences.ts,
    "an order that goes on": lambda then: AS_OF + 7 in then.sequences.ts,
    "a visit that goes on": lambda then: AS_OF + 60_000 in then.sequences.ts,
    "a later price": lambda then: then.item_matrix.at["i01", "price_cents"] == 1,
    "a later category, brand, title and availability": lambda then: then.item_matrix.at["i02", "brand"] == "later",
    "an item that is listed later": lambda then: "new" in then.items,
    "a later row of an item or a user that only events had named": lambda then: (
        then.item_matrix.at["only in events", "category"] == "c1/x"
    ),
    "a consent granted later": lambda then: "refuser" in then.users,
    "a consent revoked later": lambda then: "u3" not in then.users,
    "an attribute told later": lambda then: then.user_matrix.at["u4", "country"] == "later",
    "a later merge": lambda then: "v1" not in then.users,
    "a merge taken back later": lambda then: "v2" in then.users,
    "impressions of the future": lambda then: then.user_matrix.at["u2", "impressions_90d"] == 1,
    "somebody shown something before who is heard of later": lambda then: "only shown" in then.users,
    "statistics over the whole period": lambda then: "aaa1/x" in then.population.prices,
    "ids that sort before all others": lambda then: then.items.code("!") == then.users.code("!") == 0,
}


def with_all(tables: Tables, *planted: Tables) -> Tables:
    return {name: [*rows, *(row for one in planted for row in one.get(name, []))] for name, rows in tables.items()}


@pytest.fixture(scope="module")
def plain(make_dataset: MakeDataset) -> Dataset:
    return make_dataset(base())


@pytest.fixture(scope="module")
def before(engine: Engine, plain: Dataset) -> Snapshot:
    return build_snapshot(engine, plain, AS_OF)


@pytest.mark.parametrize("name", PLANTED)
def test_what_comes_later_leaves_no_trace(engine: Engine, before: Snapshot, tmp_path: Path, name: str) -> None:
    data = write(tmp_path / "data", [base(), PLANTED[name]], ["country"])
    assert_same(build_snapshot(engine, data, AS_OF), before)


def test_all_at_once_in_an_append(engine: Engine, plain: Dataset, before: Snapshot, tmp_path: Path) -> None:
    for name, rows in with_all({name: [] for name in base()}, *PLANTED.values()).items():
        pd.DataFrame(rows).convert_dtypes().to_parquet(tmp_path / f"{name}.parquet")
    append(plain.folder, tmp_path, out=tmp_path / "out")
    both = Dataset.open(tmp_path / "out")
    assert both.digest != plain.digest
    assert_same(build_snapshot(engine, both, AS_OF), before)
    assert_same(build_snapshot(engine, both, AS_OF, since=before.basis), before)
    then = build_snapshot(engine, both, LATER)
    mute = [name for name, is_seen in SEEN_LATER.items() if not is_seen(then)]
    assert mute == []


def test_numbers_of_ids_carry_no_time(engine: Engine, before: Snapshot, tmp_path: Path) -> None:
    """Everybody and everything gets a new name, so that their order turns round."""
    tables = base()

    def turned(name: str) -> str:
        return "".join(chr(0x17F - ord(letter)) for letter in name)

    for rows in tables.values():
        for row in rows:
            row |= {key: turned(row[key]) for key in ("user_id", "item_id", "anonymous_id") if row.get(key)}
    after = build_snapshot(engine, write(tmp_path / "data", [tables], ["country"]), AS_OF)
    for mine, other in ((after.user_matrix, before.user_matrix), (after.item_matrix, before.item_matrix)):
        assert list(mine.index) == sorted(map(turned, other.index))
        renamed = other.rename(index=turned).loc[mine.index]
        pd.testing.assert_frame_equal(mine, renamed, rtol=1e-12)
    for row, name in enumerate(before.users.ids):
        there = after.users.code(turned(name))
        mine, other = (one.sequences.take(np.array([at])) for one, at in ((before, row), (after, there)))
        assert mine.ts.tolist() == other.ts.tolist()
        assert [turned(one) for one in before.items.decode(mine.items)] == list(after.items.decode(other.items))


def test_the_target_is_no_feature(engine: Engine, plain: Dataset, before: Snapshot, tmp_path: Path) -> None:
    """No attribute takes the place of a feature, or hides behind its name."""
    users = [name for name in before.user_matrix if name not in before.attributes]
    items = before.item_matrix.columns.difference(plain.items(engine).columns)
    assert len(users) > 80 and len(items) > 50
    for table, names in (("users", users), ("items", items)):
        for name in names:
            folder = tmp_path / f"{table} {len(list(tmp_path.iterdir()))}"
            shutil.copytree(plain.folder, folder)
            rows = pq.read_table(folder / f"{table}.parquet")
            pq.write_table(rows.append_column(name, pa.array(["1"] * len(rows))), folder / f"{table}.parquet")
            with pytest.raises(InputError, match="must not have the name of a feature"):
                build_snapshot(engine, Dataset.open(folder), AS_OF)


def test_labels_begin_where_the_lookback_ends(engine: Engine, tmp_path: Path) -> None:
    times = {"i01": AS_OF - 1, "i02": AS_OF, "i03": LATER - 1, "i04": LATER}
    tables = base()
    tables["events"] = [event(name, user_id="buyer", item_id=name, ts=ts) for name, ts in times.items()]
    data = write(tmp_path / "data", [tables])
    snapshot = build_snapshot(engine, data, AS_OF)
    asked = ask(engine, data, snapshot, LATER)
    assert asked.histories.user_ids.tolist() == ["buyer"]
    assert asked.vocabulary.decode(asked.labels.values).tolist() == ["i02", "i03"]
    assert snapshot.items.decode(asked.histories.items).tolist() == ["i01"]
    assert snapshot.user_matrix.at["buyer", "purchases_90d"] == 1
