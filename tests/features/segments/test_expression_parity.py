"""Random expressions over random rows: the engine, the function of one row and a plain interpreter say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.engine import Engine
from features.errors import InputError
from features.segments.check import MAX_DIVISORS
from features.segments.columns import Type
from features.segments.expression import Expression, parse
from features.segments.parser import MAX_DEPTH
from features.segments.source import ExpressionError

SCHEMA = {
    "n": Type.NUMBER,
    "whole": Type.NUMBER,
    "x": Type.NUMBER,
    "float32": Type.NUMBER,
    "t": Type.TEXT,
    "odd name: \"$'": Type.TEXT,
    "f": Type.FLAG,
}
ARROW = pa.schema(
    {
        "n": pa.int32(),
        "whole": pa.int64(),
        "x": pa.float64(),
        "float32": pa.float32(),
        "t": pa.string(),
        "odd name: \"$'": pa.string(),
        "f": pa.bool_(),
    }
)
NAMES = {of: [name for name, other in SCHEMA.items() if other is of] for of in Type}

TEXTS = [
    "",
    "DE",
    "it's",
    'say "hi"',
    "\\",
    "\\'",
    "\\n",
    "${x}",
    "$${",
    "%",
    "é",
    "e\u0301",
    "😀",
    "a\tb",
    "a ",
    "NULL",
]
TREES = tuple[Any, ...]

texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4)
floats = st.sampled_from([0.0, -0.0, 0.1, 1e308, 5e-324, math.nan, math.inf]) | st.floats()
rows = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-3, 3),
        "whole": st.none() | st.integers(-(2**53), 2**53) | st.integers(-(2**63), 2**63 - 1),
        "x": st.none() | floats,
        "float32": st.none() | st.floats(width=32),
        "t": st.none() | st.just("missing") | texts,
        "odd name: \"$'": st.none() | texts,
        "f": st.none() | st.booleans(),
    }
)
written_numbers = st.sampled_from([0.0, 1.0, 2.0, 3.0, 0.1, 2.0**53, 1e308, 5e-324]) | st.floats(
    0, allow_infinity=False
)
literals = {
    Type.NUMBER: written_numbers.map(lambda value: ("literal", abs(value))),
    Type.TEXT: texts.filter(lambda text: text != "missing").map(lambda text: ("literal", text)),
    Type.FLAG: st.booleans().map(lambda value: ("literal", value)),
}
leaves = {of: st.sampled_from(NAMES[of]).map(lambda name: ("column", name)) | literals[of] for of in Type}
numbers = st.recursive(
    leaves[Type.NUMBER],
    lambda inner: st.tuples(st.just("-"), inner) | st.tuples(st.sampled_from("+-*/"), inner, inner),
    max_leaves=5,
)


def _comparisons() -> st.SearchStrategy[TREES]:
    orders = st.tuples(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), numbers, numbers)
    same_text = st.tuples(st.sampled_from(["=", "!="]), leaves[Type.TEXT], leaves[Type.TEXT])
    number_lists = st.tuples(st.just("in"), numbers, st.lists(literals[Type.NUMBER], min_size=1, max_size=12))
    text_lists = st.tuples(st.just("in"), leaves[Type.TEXT], st.lists(literals[Type.TEXT], min_size=1, max_size=12))
    missing = st.tuples(st.just("missing"), numbers | leaves[Type.TEXT])
    return orders | same_text | number_lists | text_lists | missing


conditions = st.recursive(
    leaves[Type.FLAG] | _comparisons(),
    lambda inner: (
        st.tuples(st.just("not"), inner)
        | st.tuples(st.just("missing"), inner)
        | st.tuples(st.sampled_from(["=", "!="]), inner, inner)
        | st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=4))
    ),
    max_leaves=6,
)
trees = numbers | conditions | leaves[Type.TEXT]


def write(tree: TREES) -> str:
    """The tree with every parenthesis that there can be."""
    match tree:
        case "column", name:
            return f"`{name}`"
        case "literal", bool() as value:
            return str(value).lower()
        case "literal", str() as value:
            return '"' + value.replace('"', '""') + '"'
        case "literal", value:
            return repr(value)
        case "in", operand, choices:
            return f"({write(operand)} in ({', '.join(write(choice) for choice in choices)}))"
        case "missing", operand:
            return f"({write(operand)} is missing)"
        case "and" | "or" as operator, operands:
            return "(" + f" {operator} ".join(write(operand) for operand in operands) + ")"
        case operator, operand:
            return f"({operator} {write(operand)})"
        case operator, left, right:
            return f"({write(left)} {operator} {write(right)})"
    raise AssertionError(tree)


def interpret(tree: TREES, row: Mapping[str, Any]) -> Any:
    """What README says that the tree means, as plainly as can be; None is missing."""
    match tree:
        case "column", name:
            value = row[name]
            if value is None or value == "missing" or isinstance(value, bool | str):
                return None if value == "missing" else value
            return None if math.isnan(value) or math.isinf(value) else float(value)
        case "literal", value:
            return value
        case "missing", operand:
            return interpret(operand, row) is None
        case "and" | "or" as operator, operands:
            values = [interpret(operand, row) for operand in operands]
            decisive = operator == "or"
            if decisive in values:
                return decisive
            return None if None in values else not decisive
        case "in", operand, choices:
            value = interpret(operand, row)
            return None if value is None else any(value == choice for _, choice in choices)
        case operator, operand:
            value = interpret(operand, row)
            return None if value is None else not value if operator == "not" else -value
        case operator, left, right:
            one, other = interpret(left, row), interpret(right, row)
            if one is None or other is None or (operator == "/" and other == 0):
                return None
            symbol = {"=": "=="}.get(operator, operator)
            value = eval(f"one {symbol} other", {}, {"one": one, "other": other})  # noqa: S307
            return None if isinstance(value, float) and not math.isfinite(value) else value
    raise AssertionError(tree)


def of_all(engine: Engine, expressions: list[Expression], samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The engine's value of each expression for each row."""
    position = pa.array(range(len(samples)))
    table = engine.memtable(pa.Table.from_pylist(samples, schema=ARROW).append_column("position", position))
    columns = {f"e{at}": expression.ibis(table) for at, expression in enumerate(expressions)}
    found = engine.to_arrow(table.select("position", **columns).order_by("position"))
    return found.drop_columns("position").to_pylist()


def check_equal(engine: Engine, written: list[TREES], samples: list[dict[str, Any]]) -> None:
    expressions = [parse(write(tree), SCHEMA) for tree in written]
    functions = [expression.python() for expression in expressions]
    for row, batch in zip(samples, of_all(engine, expressions, samples), strict=True):
        for at, tree in enumerate(written):
            online, expected = functions[at](row), interpret(tree, row)
            assert online == expected and type(online) is type(expected), (write(tree), row)
            assert batch[f"e{at}"] == expected and type(batch[f"e{at}"]) is type(expected), (write(tree), row)


@settings(max_examples=40, deadline=None)
@given(written=st.lists(trees, min_size=1, max_size=8), samples=st.lists(rows, min_size=1, max_size=12))
def test_batch_online_and_interpreter_agree(
    engine: Engine, written: list[TREES], samples: list[dict[str, Any]]
) -> None:
    check_equal(engine, written, samples)


POWERS = {"or": 1, "and": 2, "not": 3, "missing": 4, "in": 4, "+": 5, "*": 6, "neg": 7}


def write_bare(tree: TREES, floor: int = 0) -> str:
    """The tree with no parenthesis but those that its meaning needs."""
    match tree:
        case "column" | "literal", _:
            return write(tree)
        case "and" | "or" as operator, operands:
            power = POWERS[operator]
            bare = f" {operator} ".join(write_bare(operand, power) for operand in operands)
        case "missing", operand:
            power, bare = 4, f"{write_bare(operand, 4)} is missing"
        case "in", operand, choices:
            power, bare = 4, f"{write_bare(operand, 4)} in ({', '.join(write(choice) for choice in choices)})"
        case "not", operand:
            power, bare = 3, f"not {write_bare(operand, 2)}"
        case "-", operand:
            power, bare = 7, f"-{write_bare(operand, 6)}"
        case "+" | "-" | "*" | "/" as operator, left, right:
            power = 5 if operator in "+-" else 6
            bare = f"{write_bare(left, power - 1)} {operator} {write_bare(right, power)}"
        case operator, left, right:
            power, bare = 4, f"{write_bare(left, 4)} {operator} {write_bare(right, 4)}"
        case _:
            raise AssertionError(tree)
    return bare if power > floor else f"({bare})"


@settings(max_examples=150, deadline=None)
@given(trees)
def test_parentheses_that_the_binding_powers_imply_change_nothing(tree: TREES) -> None:
    assert parse(write_bare(tree), SCHEMA) == parse(write(tree), SCHEMA)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text(" ()nxtf\"'`=<>!+-*/,1.e andorisinmissing", max_size=60))
def test_any_text_is_read_or_refused_in_our_own_words(text: str) -> None:
    columns: tuple[str, ...] = ()
    with suppress(ExpressionError):
        columns = parse(text, SCHEMA).columns
    assert set(columns) <= set(SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_DEPTH - 2) + "x" + ") + 1" * (MAX_DEPTH - 2) + " > 0",
        "1" + " + x" * (MAX_DEPTH - 2) + " > 1" + " / whole" * (MAX_DEPTH - 2),
        "not " * (MAX_DEPTH - 2) + "f",
        "-" * (MAX_DEPTH - 2) + "x > 0",
        "(f and (f or " * 12 + "f" + "))" * 12,
        "f = (" * 24 + "f" + ")" * 24,
        " or ".join(f"x = {at}" for at in range(200)),
        "x in (" + ", ".join(str(at) for at in range(1_000)) + ")",
        "1 / (1 + " * MAX_DIVISORS + "x" + ")" * MAX_DIVISORS + " > 0.5",
        "1 / (x + " * MAX_DIVISORS + "whole" + " + x" * 30 + ")" * MAX_DIVISORS + " > 0.5",
    ],
    ids=lambda text: f"{text[:12].strip()}...",
)
def test_the_largest_expressions_run_on_the_engine(engine: Engine, text: str) -> None:
    expression = parse(text, SCHEMA)
    function = expression.python()
    samples = [
        {**dict.fromkeys(SCHEMA), "x": x, "whole": 2, "f": f} for x in (0.0, 1.0, 7.5, None) for f in (True, None)
    ]
    for row, batch in zip(samples, of_all(engine, [expression], samples), strict=True):
        assert batch["e0"] == function(row)


def test_a_table_that_does_not_fit(engine: Engine) -> None:
    expression = parse("x > 1 and f", SCHEMA)
    with pytest.raises(InputError, match="column 'f' is missing from the table"):
        expression.ibis(engine.memtable(pa.table({"x": [1.0]})))
    with pytest.raises(InputError, match="column 'x' must be a number, received string"):
        expression.ibis(engine.memtable(pa.table({"x": ["1"], "f": [True]})))


def test_a_column_of_nothing_is_missing_whatever_its_type(engine: Engine) -> None:
    table = engine.memtable(pa.table({"x": pa.nulls(1), "t": pa.nulls(1), "f": pa.nulls(1)}))
    asked = {"a": "x is missing", "b": "t is missing", "c": "f is missing", "d": "x > 1 and t = 'a' and f"}
    found = engine.to_arrow(table.select(**{name: parse(text, SCHEMA).ibis(table) for name, text in asked.items()}))
    assert found.to_pylist() == [{"a": True, "b": True, "c": True, "d": None}]


def test_a_condition_filters_a_table(engine: Engine) -> None:
    table = engine.memtable(pa.table({"x": [1.0, 2.0, None], "n": [0, 2, 3]}))
    kept = table.filter(parse("x / n >= 1", SCHEMA).ibis(table))
    assert isinstance(kept, ibis.Table)
    assert engine.to_arrow(kept)["x"].to_pylist() == [2.0]
