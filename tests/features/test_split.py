"""Questions and labels against a plain loop over random logs, for both moments."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.schema import DAY_MS, INTERACTIONS, MISSING, EventType
from features.sequences import Histories
from features.snapshot import Snapshot, build_snapshot
from features.split import Labelled, Moment, ask

AS_OF = 20_000 * DAY_MS
UNTIL = AS_OF + 3 * DAY_MS
Rows = list[dict[str, Any]]
Tables = dict[str, Rows]
MakeDataset = Callable[[Tables], Dataset]
KINDS = [kind.value for kind in EventType if kind.code <= EventType.EXIT_INTENT.code]
ITEMS: Rows = [{"item_id": f"i{item}", "valid_from": 0, "category": "c", "available": True} for item in (3, 0, 2, 1)]


def random_tables(seed: int) -> Tables:
    """Minutes on a coarse grid: ties, session gaps of exactly half an hour and both borders all occur."""
    rng = np.random.default_rng(seed)
    events = []
    for number in range(500):
        kind = str(rng.choice(KINDS, p=[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]))
        user = int(rng.integers(20))
        ts = AS_OF + int(rng.integers(-8 if user % 3 else 0, 30)) * 3 * 3_600_000 // 2
        ts += int(rng.integers(0, 4)) * int(rng.choice([60_000, 600_000, 1_800_000]))
        item = None if kind in ("search", "exit_intent") else f"i{rng.integers(6 if ts >= AS_OF else 4)}"
        events.append({"event_id": f"e{number}", "user_id": f"u{user}", "item_id": item, "event_type": kind, "ts": ts})
    users = [{"user_id": f"u{user}", "valid_from": AS_OF - 9, "country": f"x{user}"} for user in range(0, 20, 2)]
    return {"events": events, "items": ITEMS, "users": users}


def in_order(event: dict[str, Any]) -> tuple[int, int, str]:
    return event["ts"], EventType(event["event_type"]).code, event["item_id"] or ""


def instant_of(mine: Rows, moment: Moment) -> int | None:
    """When a user is asked about, given all events of the user with an item since the snapshot, in order."""
    if moment is Moment.AS_OF:
        return AS_OF
    sessions: list[list[int]] = []
    last = None
    for ts in [event["ts"] for event in mine if event["event_type"] in INTERACTIONS]:
        if last is None or ts - last >= 1_800_000:
            sessions.append([])
        if ts not in sessions[-1]:
            sessions[-1].append(ts)
        last = ts
    return next((session[len(session) // 2] for session in sessions if len(session) >= 2), None)


def events_of(histories: Histories, row: int) -> list[tuple[int, int, int]]:
    span = slice(int(histories.offsets[row]), int(histories.offsets[row + 1]))
    parts = (histories.items[span], histories.event_types[span], histories.ts[span])
    return [(int(item), int(kind), int(ts)) for item, kind, ts in zip(*parts, strict=True)]


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("seed", [0, 1])
def test_questions_and_labels_against_a_loop(
    engine: Engine, make_dataset: MakeDataset, seed: int, moment: Moment
) -> None:
    tables = random_tables(seed)
    data = make_dataset(tables)
    snapshot = build_snapshot(engine, data, AS_OF)
    asked = ask(engine, data, snapshot, UNTIL, moment)

    of_user: defaultdict[str, Rows] = defaultdict(list)
    for event in sorted(tables["events"], key=in_order):
        if event["item_id"] is not None and event["ts"] < UNTIL:
            of_user[event["user_id"]].append(event)
    names = asked.vocabulary.ids.tolist()
    assert names[:4] == ["i0", "i1", "i2", "i3"] == snapshot.items.ids.tolist()
    expected = {}
    for user, mine in of_user.items():
        instant = instant_of([event for event in mine if event["ts"] >= AS_OF], moment)
        late = [event for event in mine if instant is not None and event["ts"] >= instant]
        bought = {event["item_id"] for event in late if event["event_type"] == "purchase"}
        if bought:
            before = [event for event in mine if event["ts"] < instant]
            expected[user] = (instant, bought, before)
    assert asked.histories.user_ids.tolist() == sorted(expected)
    assert asked.vocabulary.ids[4:].tolist() == sorted(
        {item for _, bought, _ in expected.values() for item in bought} - set(names[:4])
    )

    for row, (user, (instant, bought, before)) in enumerate(sorted(expected.items())):
        labels = asked.labels.values[asked.labels.offsets[row] : asked.labels.offsets[row + 1]]
        assert [names[label] for label in labels] == sorted(bought, key=names.index)
        assert asked.histories.as_of_ms[row] == instant and asked.histories.snapshot_ms[row] == AS_OF
        numbers = {name: number for number, name in enumerate(names[:4])}
        assert events_of(asked.histories, row) == [
            (numbers.get(event["item_id"], -1), EventType(event["event_type"]).code, event["ts"]) for event in before
        ]
        told = f"x{user[1:]}" if int(user[1:]) % 2 == 0 else MISSING
        assert asked.histories.attributes["country"][row] == told
        past = [event for event in tables["events"] if event["user_id"] == user and event["ts"] < AS_OF]
        if any(event["event_type"] in INTERACTIONS for event in past):
            assert asked.groups[row] == "hot"
        else:
            assert asked.groups[row] == ("warm" if told != MISSING or past else "cold")
        if moment is Moment.LIVE:
            assert any(AS_OF <= ts < instant for _, _, ts in events_of(asked.histories, row))
    assert set(asked.groups) == {"hot", "warm", "cold"} and len(asked) == len(expected)
    assert len(asked.vocabulary) == 6, "the log holds purchases of items that the snapshot does not know"


def one_shop(make_dataset: MakeDataset, engine: Engine, later: Rows) -> tuple[Dataset, Snapshot]:
    base = {"user_id": "u", "item_id": "i1", "event_type": "view"}
    events = [{**base, "event_id": "before", "ts": AS_OF - 1}]
    events += [{**base, "event_id": f"e{number}", **event} for number, event in enumerate(later)]
    data = make_dataset({"events": events, "items": ITEMS})
    return data, build_snapshot(engine, data, AS_OF)


def test_the_label_window_is_half_open(engine: Engine, make_dataset: MakeDataset) -> None:
    times = {"i0": AS_OF, "i1": UNTIL - 1, "i2": UNTIL, "i3": AS_OF - 1}
    bought: Rows = [{"event_type": "purchase", "item_id": item, "ts": ts} for item, ts in times.items()]
    data, snapshot = one_shop(make_dataset, engine, bought)
    asked = ask(engine, data, snapshot, UNTIL)
    assert asked.labels.values.tolist() == [0, 1]
    assert asked.histories.ts.tolist() == [AS_OF - 1, AS_OF - 1]


def test_simultaneous_events_are_no_live_moment(engine: Engine, make_dataset: MakeDataset) -> None:
    basket: Rows = [{"event_type": "purchase", "item_id": item, "ts": AS_OF + 9} for item in ("i0", "i1", "i2")]
    data, snapshot = one_shop(make_dataset, engine, basket)
    with pytest.raises(InputError, match="must hold purchases in the label window"):
        ask(engine, data, snapshot, UNTIL, Moment.LIVE)
    assert ask(engine, data, snapshot, UNTIL).labels.values.tolist() == [0, 1, 2]


def test_a_refund_alone_makes_nobody_hot(engine: Engine, make_dataset: MakeDataset) -> None:
    rows: Rows = [
        {"user_id": "v", "event_type": "refund", "ts": AS_OF - 9},
        {"user_id": "v", "event_type": "purchase", "ts": AS_OF},
    ]
    data, snapshot = one_shop(make_dataset, engine, rows)
    assert ask(engine, data, snapshot, UNTIL).groups.tolist() == ["warm"]


def test_take(engine: Engine, make_dataset: MakeDataset) -> None:
    data = make_dataset(random_tables(0))
    asked = ask(engine, data, build_snapshot(engine, data, AS_OF), UNTIL)
    rows = np.array([3, 0])
    taken: Labelled = asked.take(rows)
    assert taken.histories.user_ids.tolist() == asked.histories.user_ids[rows].tolist()
    for place, row in enumerate(rows):
        mine = taken.labels.values[taken.labels.offsets[place] : taken.labels.offsets[place + 1]]
        assert mine.tolist() == asked.labels.values[asked.labels.offsets[row] : asked.labels.offsets[row + 1]].tolist()
        assert events_of(taken.histories, place) == events_of(asked.histories, int(row))
    assert taken.groups.tolist() == asked.groups[rows].tolist() and taken.vocabulary is asked.vocabulary


def test_errors(engine: Engine, make_dataset: MakeDataset) -> None:
    data, snapshot = one_shop(make_dataset, engine, [{"ts": AS_OF + 5}])
    for until in (AS_OF, AS_OF - DAY_MS):
        with pytest.raises(ConfigError, match="horizon_days must be above 0"):
            ask(engine, data, snapshot, until)
    with pytest.raises(InputError, match="must hold purchases in the label window"):
        ask(engine, data, snapshot, UNTIL)
    unordered = replace(data, info=json.loads(json.dumps(dict(data.info))) | {"order_within_session": False})
    with pytest.raises(ConfigError, match="does not carry"):
        ask(engine, unordered, snapshot, UNTIL, Moment.LIVE)
