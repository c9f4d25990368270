"""The state database: what is acknowledged is on disk, once, and every process sees it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pyarrow
import pytest
import sqlalchemy as sa

from features.check import check
from features.contracts import EVENTS, IMPRESSIONS
from features.errors import ConfigError, ConflictError
from features.schema import EventType, Level
from serving.state import Impression, LiveEvent, State, StateError

ROOT = Path(__file__).resolve().parents[2]
NOW_MS = 1_700_000_000_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'folder' / 'state.db'}"


def viewed(event_id: str, ts: int = NOW_MS, user_id: str = "ann", item_id: str = "lamp") -> LiveEvent:
    return LiveEvent(event_id, user_id, EventType.VIEW, ts, NOW_MS + 5, item_id=item_id)


def shown(rank: int, request_id: str = "r1") -> Impression:
    return Impression(request_id, "ann", "home", f"i{rank}", rank, 1 / rank, Level.LIVE, 0.25, "champion", "d", NOW_MS)


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    code = """
import os, signal, sys
from features.schema import EventType
from serving.state import LiveEvent, State
state = State.open(sys.argv[1])
events = [LiveEvent(f"e{n}", "ann", EventType.VIEW, 1_700_000_000_000 + n, 1_700_000_000_009) for n in range(50)]
state.append_events(events)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = run_python(code, url)
    assert process.wait(30) == -signal.SIGKILL
    state = State.open(url)
    assert [event.event_id for event in state.recent("ann", 0, 2 * NOW_MS).events] == [f"e{n}" for n in range(50)]
    state.close()


def test_a_repeated_event_is_a_duplicate_and_an_id_used_twice_a_conflict(url: str) -> None:
    state = State.open(url)
    assert state.append_events([viewed("e1"), viewed("e2")]) == (2, 0)
    repeated = viewed("e1")._replace(received_ts=NOW_MS + 900)
    assert state.append_events([repeated, viewed("e3"), viewed("e3")]) == (1, 2)
    with pytest.raises(ConflictError, match=r"event_id .*'e2'"):
        state.append_events([viewed("e4"), viewed("e2", item_id="vase")])
    with pytest.raises(ConflictError, match=r"event_id .*'e5'"):
        state.append_events([viewed("e5"), viewed("e5", ts=NOW_MS + 1)])
    # A refused request leaves nothing behind.
    assert list(state.events_frame()["event_id"]) == ["e1", "e2", "e3"]
    state.close()


def test_a_time_given_by_the_server_does_not_turn_a_repetition_into_a_conflict(url: str) -> None:
    state = State.open(url)
    first, second = (viewed("e1", ts=at)._replace(received_ts=at) for at in (NOW_MS, NOW_MS + 700))
    assert state.append_events([first]) == (1, 0)
    assert state.append_events([second]) == (0, 1)
    assert list(state.events_frame()["ts"]) == [NOW_MS]
    state.close()


def test_recent_events_are_the_last_of_one_user_in_a_half_open_window_oldest_first(url: str) -> None:
    state = State.open(url)
    times = {"a": 10, "c": 30, "b": 20, "d2": 40, "d1": 40, "e": 50}
    state.append_events([viewed(event_id, ts) for event_id, ts in times.items()])
    state.append_events([viewed("other", 30, user_id="bob")])

    def ids(since_ms: int, before_ms: int, limit: int = 10) -> list[str]:
        return [event.event_id for event in state.recent("ann", since_ms, before_ms, limit).events]

    assert ids(20, 50) == ["b", "c", "d1", "d2"]
    assert ids(0, 100, limit=2) == ["d2", "e"]
    assert ids(51, 100) == []
    assert state.recent("ann", 10, 11).events[0].event_type is EventType.VIEW
    state.close()


def test_recent_events_return_every_column_as_it_was_posted(url: str) -> None:
    state = State.open(url)
    whole = LiveEvent("e", "ü 用户", EventType.PURCHASE, 1, 2, "i", "an", "o", "s", 3, 4, "red lamp", '{"a":1}')
    state.append_events([whole])
    assert state.recent("ü 用户", 0, 2) == ("ü 用户", (), [whole])
    state.close()


def said(event_id: str, visitor: str, user_id: str, ts: int, kind: EventType = EventType.IDENTIFY) -> LiveEvent:
    return LiveEvent(event_id, user_id, kind, ts, NOW_MS, anonymous_id=visitor)


def test_recent_events_are_those_of_all_ids_of_a_person(url: str) -> None:
    state = State.open(url)
    state.append_events([viewed("a2", 20, "tab"), viewed("u1", 10, "ann"), viewed("p3", 30, "phone")])

    def recent(user_id: str, before_ms: int = 1_000) -> tuple[str, tuple[str, ...], list[str]]:
        found = state.recent(user_id, 0, before_ms)
        return found.user_id, found.visitors, [event.event_id for event in found.events]

    assert [recent(name) for name in ("ann", "tab")] == [("ann", (), ["u1"]), ("tab", (), ["a2"])]
    state.append_events([said("i1", "tab", "ann", 100), said("i2", "phone", "ann", 200)])
    whole = ("ann", ("phone", "tab"), ["u1", "a2", "p3", "i1", "i2"])
    assert recent("ann") == recent("tab") == recent("phone") == whole
    assert recent("ann", before_ms=200) == recent("tab", before_ms=200) == ("ann", ("tab",), ["u1", "a2", "i1"])
    assert [event.event_id for event in state.recent("phone", 0, 1_000, limit=2).events] == ["i1", "i2"]
    state.append_events([said("i3", "tab", "ann", 300, EventType.UNIDENTIFY)])
    assert recent("ann") == ("ann", ("phone",), ["u1", "p3", "i1", "i2", "i3"])
    assert recent("tab") == ("tab", (), ["a2"])
    state.close()


def test_who_is_who_is_found_by_index_also_in_a_database_of_an_earlier_version(url: str, tmp_path: Path) -> None:
    State.open(url).close()
    indexes = ("identities_by_visitor", "identities_by_user")
    with closing(sqlite3.connect(tmp_path / "folder" / "state.db")) as file:
        for name in (*indexes, "impressions_by_user"):
            file.execute(f"DROP INDEX {name}")
    state = State.open(url)
    statements: list[str] = []
    sa.event.listen(state._engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
    state.seen("ann", 0, NOW_MS, 0, (9, 9))
    state.close()
    [shown_to] = [statement for statement in statements if "count(*)" in statement]
    [told] = [statement for statement in statements if "UNION ALL" in statement]
    with closing(sqlite3.connect(tmp_path / "folder" / "state.db")) as file:
        plan = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {told}", [NOW_MS] * told.count("?"))]
        asked = [0, 1, "ann", 0, NOW_MS][: shown_to.count("?")]
        counted = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {shown_to}", asked)]
    assert all(any(step.startswith(f"SEARCH events USING INDEX {name} ") for step in plan) for name in indexes)
    assert counted[0].startswith("SEARCH impressions USING") and "impressions_by_user" in counted[0]


@pytest.mark.parametrize("filled", [False, True])
def test_frames_keep_the_data_contract(url: str, filled: bool) -> None:
    state = State.open(url)
    if filled:
        state.append_events([viewed("e1")._replace(quantity=2, properties='{"a":1}'), viewed("e2")])
        state.append_impressions([shown(1), shown(2)])
    for contract, frame in ((EVENTS, state.events_frame()), (IMPRESSIONS, state.impressions_frame())):
        assert list(frame.columns) == contract.columns
        table, breaches = check(contract, pyarrow.Table.from_pandas(frame, preserve_index=False), NOW_MS + 10)
        assert (table.num_rows, breaches.num_rows) == (2 if filled else 0, 0)
        assert table.schema.types == contract.arrow_schema().types
    state.close()


def test_four_processes_write_to_a_new_database_at_once(url: str) -> None:
    code = """
import sys
from features.schema import EventType
from serving.state import LiveEvent, State
sys.stdin.read(1)
state = State.open(sys.argv[1])
for n in range(200):
    accepted, _ = state.append_events([LiveEvent(f"{sys.argv[2]}-{n}", "ann", EventType.VIEW, n, n)])
    assert accepted == 1
"""
    writers = [run_python(code, url, str(writer)) for writer in range(4)]
    for writer in writers:  # let go all at once, so that they also race to make the tables
        assert writer.stdin is not None
        writer.stdin.close()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    state = State.open(url)
    assert len(state.events_frame()) == 800
    state.close()


def test_many_threads_share_commits_and_each_learns_its_own_outcome(url: str) -> None:
    state = State.open(url)
    outcomes: list[tuple[int, int] | str] = []

    def write(number: int) -> None:
        try:
            outcomes.append(state.append_events([viewed("same", ts=NOW_MS + number % 2), viewed(f"own-{number}")]))
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whoever came first decided which of the two contents "same" has: its half agrees, the other half conflicts.
    assert sorted(map(str, outcomes)) == ["(1, 1)"] * 7 + ["(2, 0)"] + ["conflict"] * 8
    assert len(state.events_frame()) == 9
    state.close()


def test_a_full_disk_refuses_without_acknowledging_and_recovers(url: str) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from features.schema import EventType
from serving.state import LiveEvent, State, StateError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
state = State.open(sys.argv[1])
big = [LiveEvent(f"b{n}", "ann", EventType.SEARCH, 1, 1, query="x" * 1000) for n in range(1000)]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    state.append_events(big)
except StateError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(state.events_frame()), state.append_events(big))
"""
    process = run_python(code, url)
    output, _ = process.communicate(timeout=30)
    refusal, recovered = output.splitlines()
    assert refusal.startswith("state must be usable, received 'd")  # "database or disk is full", "disk I/O error"
    assert recovered == "0 (1000, 0)"


def test_a_closed_state_refuses_and_closing_commits_what_waits(url: str) -> None:
    state = State.open(url)
    waiting = [state.submit_events([viewed(f"e{n}")]) for n in range(20)]
    state.close()
    state.close()
    assert [outcome.result(0) for outcome in waiting] == [(1, 0)] * 20
    with pytest.raises(StateError, match="must be open"):
        state.append_events([viewed("late")])


@pytest.mark.parametrize("bad", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "nosuch://host/secret"])
def test_an_unusable_url_is_refused_without_repeating_its_password(bad: str) -> None:
    with pytest.raises(ConfigError) as caught:
        State.open(bad)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is not a database, but long enough to look like one" * 50)
    with pytest.raises(StateError, match="not a database"):
        State.open(f"sqlite:///{tmp_path / 'state.db'}")


def test_what_somebody_was_shown_is_newest_first_and_counted_by_day(url: str) -> None:
    state = State.open(url)
    day = 86_400_000
    times = {"r1": 9 * day, "r2": 10 * day - 1, "r3": 10 * day}
    state.append_impressions([shown(rank, name)._replace(ts=ts) for name, ts in times.items() for rank in (1, 2)])
    state.append_impressions([shown(1, "other")._replace(user_id="bob", ts=10 * day)])
    state.append_events([said("s1", "bob", "ann", 10 * day), viewed("v1", 10 * day, "bob")])

    def seen(since_ms: int, before_ms: int, shift_ms: int = 0, limit: int = 9) -> tuple[list[str], dict[int, int]]:
        found = state.seen("ann", since_ms, before_ms, shift_ms, (5, limit))
        return [row.request_id for row in found.shown], dict(found.shown_by_day)

    assert seen(0, 10 * day + 1) == (["other", "r3", "r3", "r2", "r2", "r1", "r1"], {9: 4, 10: 3})
    assert seen(9 * day + 1, 10 * day) == (["r2", "r2", "r1", "r1"], {9: 2})  # nobody was merged before
    assert seen(0, 10 * day + 1, shift_ms=1, limit=2) == (["other", "r3"], {9: 2, 10: 5})
    found = state.seen("bob", 0, 10 * day + 1, 0, (5, 9))
    assert (found.recent.user_id, found.recent.visitors) == ("ann", ("bob",))
    assert [event.event_id for event in found.recent.events] == ["s1", "v1"]
    assert found.shown[0] == shown(1, "other")._replace(user_id="bob", ts=10 * day)
    state.close()


def test_merges_that_a_snapshot_knew_hold_until_they_are_taken_back_here(url: str) -> None:
    state = State.open(url)

    def links(ids: Iterable[str]) -> list[tuple[str, str, int]]:
        return [("tab", "ann", 20)] if {"tab", "ann"} & set(ids) else []

    def ids(user_id: str) -> tuple[str, ...]:
        found = state.recent(user_id, 0, 1_000, links=links)
        return (found.user_id, *found.visitors)

    assert ids("tab") == ids("ann") == ("ann", "tab")
    state.append_events([said("u1", "tab", "ann", 10, EventType.UNIDENTIFY)])
    assert ids("tab") == ("ann", "tab")  # it was taken back before it was said
    state.append_events([said("u2", "tab", "ann", 30, EventType.UNIDENTIFY)])
    assert (ids("tab"), ids("ann")) == (("tab",), ("ann",))
    state.append_events([said("s1", "tab", "bob", 40)])
    assert (ids("tab"), ids("ann")) == (("bob", "tab"), ("ann",))
    state.close()
