"""JSON lines: everything becomes text as CSV would, each line is a row, and what is not JSON lines says where."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.dataset import Dataset
from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.errors import InputError
from features.ingest import ingest
from features.json_lines import is_json_lines, json_lines_to_parquet


def _rows(folder: Path, content: bytes, name: str = "t.jsonl") -> list[dict[str, Any]]:
    (folder / name).write_bytes(content)
    json_lines_to_parquet(folder / name, folder / "t.parquet")
    rows: list[dict[str, Any]] = pq.read_table(folder / "t.parquet").to_pylist()
    return rows


def test_values_become_text_and_what_is_not_there_is_missing(tmp_path: Path) -> None:
    lines = (
        '\ufeff{"a": "x\\u2028é", "n": 9007199254740993, "f": 1.50, "yes": true, "no": null, "empty": ""}\r\n'
        '{"late": {"b": [1, {"c": "ü"}], "d": null}, "f": 12, "a": "\u2028"}\n'
        "\n \n"
    )
    rows = _rows(tmp_path, lines.encode())
    missing = dict.fromkeys(("a", "n", "f", "yes", "no", "empty", "late"))
    assert rows == [
        {**missing, "a": "x\u2028é", "n": "9007199254740993", "f": "1.5", "yes": "true"},
        {**missing, "a": "\u2028", "f": "12", "late": '{"b":[1,{"c":"ü"}],"d":null}'},
    ]


_TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=5,
)


@given(
    st.lists(st.fixed_dictionaries({"key": _TEXT}, optional={"value": _JSON}), min_size=1, max_size=5), st.booleans()
)
def test_what_was_written_can_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]], ascii_only: bool
) -> None:
    content = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in objects).encode()
    rows = _rows(tmp_path_factory.mktemp("rows"), content)
    assert [row["key"] for row in rows] == [row["key"] for row in objects]
    for row, original in zip(rows, objects, strict=True):
        value = original.get("value")
        text = row.get("value")
        assert text == value if isinstance(value, str) or text is None else json.loads(text) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a":1}\n{"a":\n', "t.jsonl line 2 must be a JSON object, received '{\"a\":'"),
        (b'{"a":1}{"a":2}\n', 'line 1 must be a JSON object, received \'{"a":1}{"a":2}\''),
        (b"[1]\n", "line 1 must be a JSON object with a key, received '[1]'"),
        (b'{"a":1}\n{}\n', "line 2 must be a JSON object with a key, received '{}'"),
        (b'{"a":1}\n\n \n{"a":2}\n', "line 2 must be a JSON object, received 'a blank line'"),
        (b'{"a":1}\n{"a":1,"b":2,"a":3}\n', "line 2 must name each key once, received \"'a' twice\""),
        (b'{"p":{"x":1,"x":2}}\n', "line 1 must name each key once, received \"'x' twice\""),
        (b'{"a":1}\n{"a":NaN}\n', "line 2 must hold finite numbers, received 'NaN'"),
        (b'{"a":-1e999}\n', "line 1 must hold finite numbers, received '-1e999'"),
        (b'{"a":1}\n{"a":"\xe9"}\n', "line 2 must be UTF-8 text, received 'byte E9'"),
        ('{"a":1}\n'.encode("utf-16"), "line 1 must be UTF-8 text"),
        (b'{"a":"\\ud83d"}\n', "line 1 must be Unicode text, received 'half a character, U+D83D'"),
        (b"[" * 100_000, "line 1 must be a JSON object, received '[[["),
        (b'{"a":1}\n{"A":1}\n', "t.jsonl must not have keys that differ only in case, received \"'a' and 'A'\""),
        (b"\n\n", "t.jsonl must hold a JSON object, received 'blank lines'"),
        (b"event_id,ts\ne1,1\n", "line 1 must be a JSON object, received 'event_id,ts'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InputError) as raised:
        _rows(tmp_path, content)
    assert words in str(raised.value)


@pytest.mark.parametrize("damage", ["cut", "no gzip", "flipped"])
def test_a_damaged_gzip_file_is_named(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(b'{"a":1}\n' * 1000)
    content = {"cut": whole[:-9], "no gzip": b'{"a":1}\n', "flipped": whole[:20] + b"\xff\xff" + whole[22:]}[damage]
    with pytest.raises(InputError, match=r"t\.jsonl\.gz must be a whole gzip file, received .*; copy it again"):
        _rows(tmp_path, content, "t.jsonl.gz")


def test_many_rows_and_late_keys_keep_their_order(tmp_path: Path) -> None:
    lines = [json.dumps({"i": i} if i < 60_000 else {"i": i, "late": i}) for i in range(60_001)]
    rows = _rows(tmp_path, gzip.compress("\n".join(lines).encode(), 1), "t.NDJSON.gz")
    assert [row["i"] for row in rows] == [str(i) for i in range(60_001)]
    assert [row["late"] for row in rows[-2:]] == [None, "60000"]


def test_names_tell_json_lines() -> None:
    names = ("events.jsonl", "EVENTS.NDJSON", "a.b.jsonl.gz", "events.json", "events.csv", "jsonl", "events.gz")
    assert [is_json_lines(Path(name)) for name in names] == [True, True, True, False, False, False, False]


def test_an_engine_numbers_the_rows_by_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"v":"a"}\n{"v":"b"}')
    with Engine.duckdb(threads=1) as engine:
        rows = engine.to_arrow(engine.read_source(tmp_path, "t.jsonl", ["v"]).order_by(SOURCE_ROW)).to_pylist()
        with pytest.raises(InputError, match=r"t\.jsonl: column 'w' is missing"):
            engine.read_source(tmp_path, "t.jsonl", ["w"])
    assert rows == [
        {"v": "a", SOURCE_FILE: "t.jsonl", SOURCE_ROW: 1},
        {"v": "b", SOURCE_FILE: "t.jsonl", SOURCE_ROW: 2},
    ]


def test_a_file_that_was_refused_is_refused_again(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"v":1}\n{"v"')
    with Engine.duckdb(threads=1) as engine:
        for _ in range(2):
            with pytest.raises(InputError, match="line 2 must be a JSON object"):
                engine.read(tmp_path / "t.jsonl")


_EVENT = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "purchase", "ts": 1_600_000_000_000}


def test_tables_as_json_lines_give_the_same_data_set_as_parquet(tmp_path: Path) -> None:
    rows = [
        {**_EVENT, "quantity": 2, "unit_price_cents": 250, "properties": {"a": [1, None], "b": 0.5}},
        {**_EVENT, "event_id": "e2", "event_type": "view"},
    ]
    users = [{"user_id": "u1", "valid_from": 0, "member": True, "city": ""}]
    items = [{"item_id": "i1", "valid_from": 0, "category": "a/b", "available": False, "price_cents": 12}]
    digests = []
    for form in ("ndjson.gz", "parquet"):
        folder = tmp_path / form
        folder.mkdir()
        for table, content in (("events", rows), ("users", users), ("items", items)):
            _write(folder / f"{table}.{form}", content)
        report = ingest(folder, "tables", tmp_path / f"{form}-out")
        digests.append(Dataset.open(report.out).digest)
    assert digests[0] == digests[1]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".parquet":
        # As text, nested content as JSON: what the lines say.
        lines = path.with_suffix(".jsonl")
        _write(lines, rows)
        json_lines_to_parquet(lines, path)
        lines.unlink()
        return
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def test_rejects_of_json_lines_hold_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [{**_EVENT, "event_id": f"e{i}"} for i in range(200)]
    rows[7] |= {"ts": "yesterday"}
    _write(folder / "events.jsonl", rows)
    report = ingest(folder, "tables", tmp_path / "out")
    [reject] = pq.read_table(report.rejects).to_pylist()
    assert (reject["source_file"], reject["source_row"]) == ("events.jsonl", 8)
    assert reject["reason"] == "ts must be an integer"
    assert json.loads(reject["row"])["ts"] == "yesterday"
