"""The segment language by hand-solved examples: what it means, what it refuses and where it says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from features.errors import ConfigError, InputError
from features.segments.check import MAX_DIVISORS
from features.segments.columns import Type, schema_of
from features.segments.expression import parse
from features.segments.parser import MAX_DEPTH, MAX_LENGTH
from features.segments.source import ExpressionError

SCHEMA = {
    "recency_days": Type.NUMBER,
    "purchase_recency_days": Type.NUMBER,
    "monetary_cents": Type.NUMBER,
    "frequency": Type.NUMBER,
    "country": Type.TEXT,
    "member": Type.FLAG,
    "affinity:home & garden": Type.NUMBER,
}
ROW = {
    "recency_days": 3,
    "purchase_recency_days": None,
    "monetary_cents": 12_000,
    "frequency": 4,
    "country": "DE",
    "member": True,
    "affinity:home & garden": 0.5,
}
#: Nothing is known about this one.
NOBODY: dict[str, Any] = {}


def value(text: str, row: Mapping[str, Any] = ROW) -> Any:
    return parse(text, SCHEMA).python()(row)


def refused(text: str, schema: Mapping[str, Type] = SCHEMA) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse(text, schema, field="where")
    assert str(caught.value).startswith(f"where at line {caught.value.line}, column {caught.value.column} must")
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("10 - 4 - 3", 3.0),
        ("24 / 4 / 3", 2.0),
        ("-2 * -3", 6.0),
        ("2 - -2", 4.0),
        ("7 / 2", 3.5),
        ("monetary_cents / frequency", 3000.0),
        ("1.5e3 + 0.25", 1500.25),
        ("9007199254740992 + 1", 9007199254740992.0),
    ],
)
def test_arithmetic(text: str, expected: float) -> None:
    found = value(text)
    assert type(found) is float
    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recency_days >= 3 and monetary_cents > 10000", True),
        ("recency_days < 3 or monetary_cents = 12000", True),
        ('country in ("FR", "DE") and not (frequency = 0)', True),
        ('country not in ("FR", "GB")', True),
        ("country != 'DE'", False),
        ("frequency in (1, -4, 4.0)", True),
        ("member", True),
        ("member = false", False),
        ("not member or true", True),
        ("not member = false", True),  # not binds weaker than a comparison
        ("true or false and false", True),  # and binds stronger than or
        ("(true or false) and false", False),
        ("not false and false", False),
        ("(recency_days > 1) = (frequency > 1)", True),
        ("recency_days + 1 > frequency - 1", True),
        ("`affinity:home & garden` > 0.4", True),
        ("recency_days\n  is not missing", True),
        ("NOT member IS MISSING", True),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    assert value(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"it""s"', 'it"s'),
        ("'it''s'", "it's"),
        ('"it\'s"', "it's"),
        (r'"\n"', r"\n"),
        ('"Straße 😀"', "Straße 😀"),
        ("country", "DE"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recency_days", None),
        ("recency_days + 1", None),
        ("-recency_days", None),
        ("recency_days * 0", None),
        ("recency_days > 1", None),
        ("not recency_days > 1", None),
        ("recency_days != 1", None),
        ("recency_days = recency_days", None),
        ("recency_days in (1, 2)", None),
        ('country not in ("DE")', None),
        ("member", None),
        ("recency_days > 1 or recency_days <= 1", None),
        ("recency_days > 1 and false", False),
        ("recency_days > 1 or true", True),
        ("false and member and true", False),
        ("recency_days is missing", True),
        ("recency_days is not missing", False),
        ("(recency_days > 1) is missing", True),
        ("(recency_days > 1 or true) is missing", False),
        ("country is missing and member is missing", True),
        ("1 / 0", None),
        ("0 / 0", None),
        ("1 / (0 * -1)", None),
        ("1 / 0 is missing", True),
        ("1e308 * 10", None),
        ("1 / (1e308 * 10)", None),
        ("1e308 * 10 - 1e308 * 10", None),
        ("1e308 * 10 > 1", None),
    ],
)
def test_what_is_missing(text: str, expected: bool | None) -> None:
    assert value(text, NOBODY) is expected


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA, pd.NaT], ids=str)
def test_every_form_of_nothing_is_missing(nothing: object) -> None:
    for column in ("recency_days", "country", "member"):
        assert value(f"{column} is missing", {column: nothing}) is True
        assert value(f"{column} is missing", {}) is True


def test_numbers_that_are_none_are_missing() -> None:
    for number in (float("inf"), -float("inf"), 10**400):
        assert value("recency_days is missing", {"recency_days": number}) is True


def test_the_word_of_the_matrices_for_a_missing_text_is_missing() -> None:
    assert value("country is missing", {"country": "missing"}) is True
    assert value('country != "DE"', {"country": "missing"}) is None
    assert "write is missing" in str(refused('country = "missing"'))
    assert "write is missing" in str(refused("country = missing"))
    assert "write is missing" in str(refused("country = NULL"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"recency_days": "3"}, "recency_days must be a number, received '3'"),
        ({"recency_days": True}, "recency_days must be a number, received True"),
        ({"country": 3}, "country must be text, received 3"),
        ({"member": 1}, "member must be true or false, received 1"),
    ],
)
def test_a_row_with_a_value_of_another_type(row: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        value(f"{next(iter(row))} is missing", row)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("purchase_recency >= 90", (1, 1), "a known name, received 'purchase_recency'; did you mean purchase_recency_"),
        ("member and\n  Frequency > 1", (2, 3), "did you mean frequency?"),
        ("country = DE", (1, 11), 'A text stands in quotes: "DE"'),
        ("", (1, 1), "a value, received 'the end'"),
        ("(member", (1, 8), "must be ), received 'the end'; close the parenthesis of line 1, column 1"),
        ("member)", (1, 7), "an operator or the end, received ')'"),
        ("member frequency", (1, 8), "an operator or the end"),
        ("1 < frequency < 3", (1, 15), "comparisons do not chain: join two of them with and"),
        ("member = not member", (1, 10), "put parentheses around not"),
        ('country > "A"', (1, 1), "a number for >, received column country, a text; texts have no order"),
        ("country = 3", (1, 11), "a text for =, received 3.0, a number; put the text in quotes"),
        ('frequency = "3"', (1, 13), "a number for =, received '3', a text; write numbers without quotes"),
        ("not frequency", (1, 5), "a condition or a flag for not, received column frequency, a number; compare it"),
        ("member and frequency + 1", (1, 12), "a condition or a flag for and, received a number"),
        ("member + 1", (1, 1), "a number for +"),
        ('frequency in (1, "2")', (1, 18), "a number for in"),
        ("frequency in ()", (1, 15), "a choice"),
        ("frequency in (1 2)", (1, 17), "separate the choices by commas"),
        ("frequency in 1", (1, 14), 'write in ("one", "another")'),
        ("frequency not 1", (1, 15), "write not in (...)"),
        ("frequency is 1", (1, 14), "write is missing"),
        ("frequency == 1", (1, 11), "received '=='; write ="),
        ("member && member", (1, 8), "received '&&'; write and"),
        ("!member", (1, 1), "received '!'; write not"),
        ("frequency > 90d", (1, 13), "a number, received '90d'"),
        ("frequency > 1e999", (1, 13), "at most 1.797e308"),
        ('country = "DE', (1, 11), "must end on its line"),
        ('country = "D\nE"', (1, 11), "must end on its line"),
        ("`affinity:home", (1, 1), "a name between two backquotes"),
        ("frequency > 1; drop", (1, 14), "a character of this language, received ';'"),
        ('country = "\ud800"', (1, 11), "Unicode text without NUL"),
        ('country = "\0"', (1, 11), "Unicode text without NUL"),
        ("__import__('os')", (1, 1), "a known name"),
    ],
)
def test_what_is_refused_and_where(text: str, place: tuple[int, int], said: str) -> None:
    error = refused(text)
    assert (error.line, error.column) == place
    assert said in str(error)
    assert isinstance(error, ConfigError)


def test_without_any_known_name() -> None:
    assert str(refused("frequency > 1", {})).endswith("must be a known name, received 'frequency'")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "(" * 4_000 + "member" + ")" * 4_000,
        "not " * 2_400 + "member",
        "-" * 9_000 + "1",
        "1" + " + 1" * 2_400,
        "1" + " / frequency" * 800,
        '"a" = ' + "(member = " * 900 + "member" + ")" * 900,
        "frequency in (" + "(" * 5_000,
        "9" * 9_999,
        "x" * 9_999,
        '"' * 9_999,
        "`" * 9_999,
        "((frequency)" * 900,
    ],
    ids=lambda text: f"{text[:6].strip()}...",
)
def test_hostile_texts_are_refused(text: str) -> None:
    assert len(str(refused(text))) < 700


def test_the_limits_are_what_they_say() -> None:
    deep = "(" * (MAX_DEPTH - 1) + "member" + ")" * (MAX_DEPTH - 1)
    assert value(deep) is True
    assert f"at most {MAX_DEPTH} parts deep" in str(refused(f"({deep})"))
    long = "member".ljust(MAX_LENGTH)
    assert value(long) is True
    assert f"at most {MAX_LENGTH} characters long" in str(refused(long + " "))
    divisors = "1" + " / (1 + 1" * MAX_DIVISORS + ")" * MAX_DIVISORS
    assert value(divisors) == pytest.approx(3 / 5)
    assert "divisors inside divisors" in str(refused(f"1 / (1 + {divisors})"))
    assert value(" or ".join(["frequency = 1"] * 500)) is False


def test_what_an_expression_says_about_itself() -> None:
    found = parse("monetary_cents / frequency > 3 * monetary_cents and member", SCHEMA)
    assert found.type is Type.FLAG
    assert found.columns == ("frequency", "member", "monetary_cents")
    assert found == parse("( monetary_cents/frequency>(3*monetary_cents) ) AND\nmember", SCHEMA)
    assert found != parse("monetary_cents / frequency > 3 * monetary_cents or member", SCHEMA)
    assert parse("frequency", SCHEMA).type is Type.NUMBER


def test_a_type_that_is_wanted() -> None:
    assert parse("frequency > 1", SCHEMA, want=Type.FLAG).type is Type.FLAG
    with pytest.raises(ExpressionError, match="must be a condition or a flag, received column frequency, a number"):
        parse("frequency", SCHEMA, want=Type.FLAG)
    with pytest.raises(ExpressionError, match="must be a number, received column country, a text"):
        parse("country", SCHEMA, want=Type.NUMBER)


def test_the_schema_of_a_frame() -> None:
    frame = pd.DataFrame(
        {
            "int": [1, 2],
            "float": [1.0, None],
            "Int64": pd.array([1, None], "Int64"),
            "bool": [True, False],
            "boolean": pd.array([True, None], "boolean"),
            "str": ["a", None],
            "object": pd.Series(["a", None], dtype=object),
            "nothing": pd.Series([None, None], dtype=object),
            "flags": pd.Series([True, None], dtype=object),
            "mixed": pd.Series(["a", 1], dtype=object),
            "lists": [[1], [2]],
            "dates": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "category": pd.Categorical(["a", "b"]),
        }
    )
    number, text, flag = Type.NUMBER, Type.TEXT, Type.FLAG
    assert schema_of(frame) == {
        "int": number,
        "float": number,
        "Int64": number,
        "bool": flag,
        "boolean": flag,
        "str": text,
        "object": text,
        "nothing": text,
        "flags": flag,
    }
