"""The digest of rows, against plain Python and against rows that look alike."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from features.content import Content, content_digest
from features.engine import Engine

SCHEMA = pa.schema([("b", pa.string()), ("a", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("f", pa.bool_())])
Rows = list[dict[str, Any]]


def content(engine: Engine, rows: Rows) -> Content:
    return Content.of(engine, engine.memtable(pa.Table.from_pylist(rows, schema=SCHEMA)))


def row(**values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(SCHEMA.names), **values}


def test_the_sum_is_that_of_plain_python(engine: Engine) -> None:
    rows = [
        row(a="mug", b="", n=-3, x=0.1, f=True),
        row(a="~|~", b="Tasse für 2 ☕", n=2**53 + 1, f=False),
        row(),
        row(),
    ]
    texts = ["mug~|~|true~|-3~|0.1", "~~|~~~|Tasse für 2 ☕~|false~|9007199254740993~|~0", *["~0~|~0~|~0~|~0~|~0"] * 2]
    total = sum(int(hashlib.md5(text.encode()).hexdigest(), 16) for text in texts) % 2**128
    assert content(engine, rows) == Content(4, total)
    assert content(engine, []) == Content()


values = st.sampled_from([None, "", "a", "~", "|", "~|", "~0", "~~"])
tables = st.lists(st.fixed_dictionaries({"a": values, "b": values}).map(lambda two: row(**two)), max_size=4)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(one=tables, other=tables, cut=st.integers(0, 4))
def test_equal_for_equal_rows_and_only_for_those(engine: Engine, one: Rows, other: Rows, cut: int) -> None:
    def order(rows: Rows) -> list[str]:
        return sorted(map(repr, rows))

    first, second = content(engine, one), content(engine, other)
    assert (first == second) == (order(one) == order(other))
    assert content(engine, one[cut:]) + content(engine, one[:cut]) == first == Content.parse(len(one), first.digest)


def test_the_digest_of_tables_knows_names_columns_types_and_rows() -> None:
    schema, more = pa.schema([("a", pa.string())]), pa.schema([("a", pa.int64())])
    base = content_digest({"items": (schema, Content(1, 2)), "users": (schema, Content(1, 2))})
    assert base == content_digest({"users": (schema, Content(1, 2)), "items": (schema, Content(1, 2))})
    assert base == content_digest({
        "users": (schema, Content(1, 2)),
        "items": (schema, Content(1, 2)),
        "impressions": (more, Content()),
    })  # fmt: skip
    others = [
        {"items": (schema, Content(1, 2)), "impressions": (schema, Content(1, 2))},
        {"items": (more, Content(1, 2)), "users": (schema, Content(1, 2))},
        {"items": (schema, Content(2, 2)), "users": (schema, Content(1, 2))},
        {"items": (schema, Content(1, 3)), "users": (schema, Content(1, 2))},
    ]
    assert len({base, *map(content_digest, others)}) == 5
