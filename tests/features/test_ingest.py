"""Data in: every row is accounted for, and the right reason is given."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import features.staging
from features.check import check
from features.contracts import EVENTS
from features.dataset import Dataset
from features.engine import Engine
from tests.features.delivered import GOOD, NOW, names, run, write


def test_tables_become_a_dataset(tmp_path: Path) -> None:
    events = [
        {"event_id": "b", "user_id": "u1", "item_id": "i1", "event_type": "purchase", "ts": 30, "quantity": 2},
        {"event_id": "a", "user_id": "u2", "item_id": "i2", "event_type": "view", "ts": 30, "quantity": None},
        {"event_id": "c", "user_id": "u1", "item_id": None, "event_type": "search", "ts": 10, "quantity": None},
    ]
    (tmp_path / "shop").mkdir()
    pq.write_table(pa.Table.from_pylist(events), tmp_path / "shop" / "events.parquet")
    write(tmp_path / "shop", "items", [{**GOOD["items"], "colour": "red", "price_cents": "250"}])
    write(tmp_path / "shop", "users", [{**GOOD["users"], "age_band": "30-39"}])
    write(tmp_path / "shop", "impressions", [GOOD["impressions"]])
    seen: list[tuple[str, int, int]] = []
    report = run(tmp_path, progress=lambda *step: seen.append(step))
    assert seen == [("events", 3, 3), ("items", 1, 1), ("users", 1, 1), ("impressions", 1, 1)]
    assert (report.first_ms, report.last_ms) == (10, 30)
    assert (report.tables["items"].added, report.tables["users"].added) == (1, 1)
    assert names(report.out) == [
        *(
            "added.parquet",
            "dataset.json",
            "events",
            "impressions",
            "items.parquet",
            "rejects.parquet",
            "users.parquet",
        ),
    ]
    dataset = Dataset.open(report.out)
    assert dataset.attributes == ("country", "age_band")
    assert (dataset.first_ms, dataset.last_ms, dataset.digest) == (10, 30, report.digest)
    assert dataset.order_within_session
    with Engine.duckdb(threads=1) as engine:
        assert engine.to_arrow(dataset.events(engine))["event_id"].to_pylist() == ["c", "a", "b"]
        items = engine.to_arrow(dataset.items(engine)).to_pylist()
        users = engine.to_arrow(dataset.users(engine)).to_pylist()
        impressions = dataset.impressions(engine)
        assert impressions is not None
        assert engine.to_arrow(impressions)["propensity"].to_pylist() == [1.0]
    known = {"brand": None, "title": None, "available": True}
    assert items == [
        {**known, "item_id": "i1", "valid_from": 0, "category": "mugs", "price_cents": 250, "colour": "red"},
        {**known, "item_id": "i2", "valid_from": 30, "category": "unknown", "price_cents": None, "colour": None},
    ]
    assert users == [
        {"user_id": "u1", "valid_from": 0, "consents": None, "country": "Eire", "age_band": "30-39"},
        {"user_id": "u2", "valid_from": 30, "consents": None, "country": None, "age_band": None},
    ]


def test_without_items_and_users_both_follow_from_the_events(tmp_path: Path) -> None:
    write(tmp_path / "shop", "events", [GOOD["events"], {**GOOD["events"], "event_id": "e2", "ts": "900"}])
    dataset = Dataset.open(run(tmp_path).out)
    assert dataset.attributes == ()
    with Engine.duckdb(threads=1) as engine:
        assert dataset.impressions(engine) is None
        assert engine.to_arrow(dataset.items(engine)).select(["item_id", "valid_from", "category"]).to_pylist() == [
            {"item_id": "i1", "valid_from": 900, "category": "unknown"}
        ]
        assert engine.to_arrow(dataset.users(engine))["user_id"].to_pylist() == ["u1"]


_TYPES = (
    "view, search, add_to_cart, remove_from_cart, purchase, refund, exit_intent, "
    "visit, message, redemption, identify, unidentify"
)
_ABOUT_ITEMS = ("view", "add_to_cart", "purchase", "remove_from_cart", "refund")


def _is_integer(text: str) -> bool:
    try:
        return int(text) == float(text)
    except ValueError:
        return False


def first_reason(row: dict[str, str]) -> str | None:
    """The rules once more, in plain Python and one row at a time; the first one in the contract's order counts."""
    checks: list[tuple[bool, str]] = [
        (not row["event_id"], "event_id must not be empty"),
        (not row["user_id"], "user_id must not be empty"),
        (not row["event_type"], "event_type must not be empty"),
        (row["event_type"] not in _TYPES.split(", "), f"event_type must be one of {_TYPES}"),
        (bool(row["ts"]) and not _is_integer(row["ts"]), "ts must be an integer"),
        (not row["ts"], "ts must not be empty"),
        (_is_integer(row["ts"]) and int(row["ts"]) < 1, "ts must be at least 1"),
        (_is_integer(row["ts"]) and int(row["ts"]) > NOW, "ts must not be in the future"),
        (bool(row["quantity"]) and not _is_integer(row["quantity"]), "quantity must be an integer"),
        (_is_integer(row["quantity"]) and int(row["quantity"]) < 1, "quantity must be at least 1"),
        (
            not row["item_id"] and row["event_type"] in _ABOUT_ITEMS,
            f"item_id must be given for {', '.join(_ABOUT_ITEMS)}",
        ),
        (row["event_type"] in ("identify", "unidentify"), "anonymous_id must be given for identify, unidentify"),
    ]
    return next((reason for broken, reason in checks if broken), None)


dirty_rows = st.lists(
    st.fixed_dictionaries({
        "event_id": st.sampled_from(["", *(f"e{i}" for i in range(60))]),
        "user_id": st.sampled_from(["u1", "u2", "u3", "u4", ""]),
        "item_id": st.sampled_from(["i1", "i2", "i3", ""]),
        "event_type": st.sampled_from([*_TYPES.split(", "), "buy", ""]),
        "ts": st.sampled_from(["5", "17", str(NOW), "0", "-4", str(NOW + 1), "soon", "1.5", ""]),
        "quantity": st.sampled_from(["", "1", "20", "0", "two"]),
    }),
    min_size=20,
    max_size=120,
)  # fmt: skip


@settings(max_examples=15, deadline=None, derandomize=True)
@given(rows=dirty_rows)
def test_random_dirty_rows_get_the_reason_that_plain_python_gives(rows: list[dict[str, str]]) -> None:
    _, breaches = check(EVENTS, pa.Table.from_pylist(rows), NOW)
    expected = {i: reason for i, row in enumerate(rows) if (reason := first_reason(row))}
    assert dict(zip(breaches["position"].to_pylist(), breaches["reason"].to_pylist(), strict=True)) == expected


def dirty(seed: int, n: int = 400) -> list[dict[str, str]]:
    """Rows of which some are broken and some repeat an earlier event_id."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        row = {
            "event_id": f"e{rng.integers(n) if rng.random() < 0.1 else i}",
            "user_id": f"u{rng.integers(20)}",
            "item_id": f"i{rng.integers(30)}",
            "event_type": str(rng.choice(["view", "purchase", "search"])),
            "ts": str(rng.integers(1, NOW)),
            "quantity": str(rng.choice(["", "1", "3"])),
        }
        if rng.random() < 0.2:
            row[str(rng.choice(list(row)))] = str(rng.choice(["", "x", "-1"]))
        rows.append(row)
    return rows


@pytest.mark.parametrize("form", ["csv", "parquet", "folder"])
def test_every_rejected_row_is_kept_with_its_place_and_reason(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features.staging, "_BATCH_ROWS", 150)
    rows = dirty(seed=1)
    good = [row for row in rows if not first_reason(row)]
    rows[300:] = [*rows[300:360], *(dict(row) for row in good[:30]), *rows[360:370]]
    write(tmp_path / "shop", "events", rows, form)
    report = run(tmp_path, max_reject_share=1)
    expected: dict[tuple[str, int], tuple[str, dict[str, str]]] = {}
    seen: dict[str, dict[str, str]] = {}
    for i, row in enumerate(rows):
        reason = first_reason(row)
        if reason is None:
            first = seen.setdefault(row["event_id"], row)
            if first is row:
                continue
            reason = "duplicate" if first == row else "event_id must not repeat"
        place = (f"events/{1 + i // 200}.parquet", i % 200 + 1) if form == "folder" else (f"events.{form}", i + 1)
        expected[place] = (reason, row)
    rejects = pq.read_table(report.rejects).to_pylist()
    found = {(row["source_file"], row["source_row"]): (row["reason"], json.loads(row["row"])) for row in rejects}
    missing = None if form == "csv" else ""
    assert found == {
        place: (reason, {name: value or missing for name, value in row.items()})
        for place, (reason, row) in expected.items()
    }
    events = report.tables["events"]
    reasons = Counter(reason for reason, _ in expected.values())
    assert events.policy == {"duplicate": reasons.pop("duplicate")} and events.policy["duplicate"] >= 10
    assert events.contract == reasons
    assert (events.rows_in, events.accepted) == (len(rows), len(rows) - len(expected))
    assert len(pq.read_table(report.out / "events")) == events.accepted
    assert {(row["kind"] == "policy", row["table"]) for row in rejects if row["reason"] == "duplicate"} == {
        (True, "events")
    }
    assert {row["kind"] for row in rejects if row["reason"] != "duplicate"} == {"contract"}


def test_neither_file_format_nor_row_order_nor_batches_change_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in {row["event_id"]: row for row in dirty(seed=2)}.values() if not first_reason(row)]
    users = [
        {"user_id": f"u{i}", "valid_from": "0", "age": str(i), "country": "Eire" if i % 2 else ""} for i in range(20)
    ]
    digests = []
    for number, form in enumerate(["csv", "parquet", "folder", "csv"]):
        folder = tmp_path / f"shop{number}"
        order = np.random.default_rng(number).permutation(len(rows))
        write(folder, "events", [rows[i] for i in order], form)
        write(
            folder,
            "users",
            users[::-1] if number else users,
            form,
            ["age", "user_id", "valid_from", "country"][:: 1 - 2 * (number % 2)],
        )
        digests.append(run(tmp_path, folder.name).digest)
        monkeypatch.setattr(features.staging, "_BATCH_ROWS", 150)
    assert len(set(digests)) == 1
    changed = [{**rows[0], "quantity": "9"}, *rows[1:]]
    write(tmp_path / "other", "events", changed)
    write(tmp_path / "other", "users", users)
    assert run(tmp_path, "other").digest not in digests
