"""The data contract: what a row of each table must be, stated once as data and checked with pandera.

A field is declared with its kind and bounds; from the declaration come the rules (what a reject says, and what the
service answers for a single posted event), the Arrow types and the pandera schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow

from features.schema import IDENTITY, NEEDS_ITEM, NO_CONSENT, Columns, EventType, Level, Purpose

#: A test of a column's values at an instant: (values, now_ms) to one flag per value.
Test = Callable[[pd.Series, int], Any]


class Kind(StrEnum):
    """What a value is; the text is the rule that a value of another kind breaks."""

    TEXT = "must be text"
    INTEGER = "must be an integer"
    NUMBER = "must be a number"
    FLAG = "must be true or false"


ARROW_TYPES = {
    Kind.TEXT: pyarrow.string(),
    Kind.INTEGER: pyarrow.int64(),
    Kind.NUMBER: pyarrow.float64(),
    Kind.FLAG: pyarrow.bool_(),
}
PANDAS_TYPES = {Kind.TEXT: "str", Kind.INTEGER: "Int64", Kind.NUMBER: "float64", Kind.FLAG: "boolean"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must hold of a row: the field it is about, the rule as a phrase, and what to do about a breach."""

    field: str
    text: str
    mend: str

    @property
    def reason(self) -> str:
        """What a rejected row says: ``quantity must be at least 1``."""
        return f"{self.field} {self.text}"


@dataclass(frozen=True, slots=True)
class Field:
    """One column of the contract; bounds are inclusive but ``above``."""

    name: str
    kind: Kind = Kind.TEXT
    required: bool = False
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    past: bool = False
    json_object: bool = False
    purposes: bool = False

    def tests(self) -> list[tuple[Rule, Test]]:
        """The rules about a parsed value, in the order in which they are checked, each with its test."""
        tests: list[tuple[Rule, Test]] = []
        if self.required:
            tests.append((self.rule(NOT_EMPTY), lambda values, _: values.notna()))
        if self.minimum is not None:
            tests.append((self.rule(f"must be at least {self.minimum}"), lambda values, _: values >= self.minimum))
        if self.above is not None:
            tests.append((self.rule(f"must be above {self.above}"), lambda values, _: values > self.above))
        if self.maximum is not None:
            tests.append((self.rule(f"must be at most {self.maximum}"), lambda values, _: values <= self.maximum))
        if self.choices:
            text = f"must be one of {', '.join(self.choices)}"
            tests.append((self.rule(text), lambda values, _: values.isin(self.choices)))
        if self.past:
            mend = "give UTC epoch milliseconds, and check the clock that wrote them"
            tests.append((self.rule("must not be in the future", mend), lambda values, now_ms: values <= now_ms))
        if self.json_object:
            tests.append((self.rule("must be a JSON object"), lambda values, _: values.map(_is_json_object)))
        if self.purposes:
            text = f"must be {NO_CONSENT}, or some of {', '.join(Purpose)} with commas between them"
            tests.append((self.rule(text), lambda values, _: values.str.fullmatch(_CONSENTS)))
        return tests

    @property
    def of_kind(self) -> Rule:
        """What a value breaks that cannot be parsed."""
        return self.rule(self.kind.value)

    def rule(self, text: str, mend: str = "") -> Rule:
        """A rule about this field."""
        return Rule(self.name, text, mend or _MENDS.get(self.name, "correct the value in the source"))


_MENDS = {
    Columns.TS: "give UTC epoch milliseconds",
    Columns.VALID_FROM: "give UTC epoch milliseconds",
    Columns.UNIT_PRICE_CENTS: "give whole cents; a free item costs 0",
    Columns.PRICE_CENTS: "give whole cents; a free item costs 0",
    Columns.CONSENTS: f"name what the user agreed to, {NO_CONSENT} for nothing; leave it empty if never asked",
    Columns.QUANTITY: "give a count of at least 1; goods that come back are events of type refund",
}

NOT_EMPTY = "must not be empty"

_PURPOSE = f"(?:{'|'.join(Purpose)})"

#: Spaces around the words are allowed; words may repeat.
_CONSENTS = f" *(?:{NO_CONSENT}|{_PURPOSE}(?: *, *{_PURPOSE})*) *"


@dataclass(frozen=True, slots=True)
class Needed:
    """A field that some event types mean nothing without."""

    field: str
    event_types: tuple[EventType, ...]
    mend: str

    @property
    def rule(self) -> Rule:
        """What an event of these types without the field breaks."""
        return Rule(self.field, f"must be given for {', '.join(self.event_types)}", self.mend)

    def holds(self, events: pd.DataFrame, _: int) -> pd.Series:
        """One flag per event."""
        return events[self.field].notna() | ~events[Columns.EVENT_TYPE].isin(self.event_types)


NEEDED = (
    Needed(Columns.ITEM_ID, NEEDS_ITEM, "name the item that the event is about"),
    Needed(Columns.ANONYMOUS_ID, IDENTITY, "name the anonymous visitor who is, or is not, the user"),
)


@dataclass(frozen=True, slots=True)
class Contract:
    """One table: its fields, the key that no two rows share, and whether other columns are kept as text attributes."""

    name: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    open: bool = False
    needed: tuple[Needed, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The contract's column names, in order."""
        return [column.name for column in self.fields]

    @property
    def required(self) -> list[str]:
        """The columns that every file must have."""
        return [column.name for column in self.fields if column.required]

    @property
    def duplicate(self) -> Rule:
        """What a second row with the same key breaks."""
        others = "".join(f" with the same {name}" for name in self.key[1:])
        return Rule(self.key[0], f"must not repeat{others}", "give each row its own key")

    def rules(self) -> list[Rule]:
        """All rules in the order that decides which one a row with several breaches is rejected for."""
        return [
            *(rule for column in self.fields for rule in (column.of_kind, *dict(column.tests()))),
            *(needed.rule for needed in self.needed),
            self.duplicate,
        ]

    def arrow_schema(self, attributes: Sequence[str] = ()) -> pyarrow.Schema:
        """The Arrow types of an accepted table: the contract's columns, then ``attributes`` as text."""
        types = [(column.name, ARROW_TYPES[column.kind]) for column in self.fields]
        return pyarrow.schema([*types, *((name, pyarrow.string()) for name in attributes)])

    def schema(self, now_ms: int) -> pa.DataFrameSchema:
        """The pandera schema of parsed rows; each check's ``error`` is the reason of its rule."""

        def check(rule: Rule, test: Callable[[Any, int], Any], judges_missing: bool) -> pa.Check:
            # One failure case is enough: which rows failed is read from the check's output, in bulk.
            return pa.Check(
                lambda rows: test(rows, now_ms), error=rule.reason, ignore_na=not judges_missing, n_failure_cases=1
            )

        columns = {
            column.name: pa.Column(
                PANDAS_TYPES[column.kind],
                [check(rule, test, judges_missing=rule.text == NOT_EMPTY) for rule, test in column.tests()],
                nullable=True,
            )
            for column in self.fields
        }
        whole = [check(needed.rule, needed.holds, judges_missing=True) for needed in self.needed]
        return pa.DataFrameSchema(columns, checks=whole)


#: Of one line: sums of the products of a whole log stay far below 2**63.
MOST_UNITS, MOST_CENTS = 10**6, 10**9

_EVENT_TYPES = tuple(event_type.value for event_type in EventType)

EVENTS = Contract(
    "events",
    (
        Field(Columns.EVENT_ID, required=True),
        Field(Columns.USER_ID, required=True),
        Field(Columns.ANONYMOUS_ID),
        Field(Columns.ITEM_ID),
        Field(Columns.EVENT_TYPE, required=True, choices=_EVENT_TYPES),
        Field(Columns.TS, Kind.INTEGER, required=True, minimum=1, past=True),
        Field(Columns.RECEIVED_TS, Kind.INTEGER, minimum=1),
        Field(Columns.ORDER_ID),
        Field(Columns.SESSION_ID),
        Field(Columns.QUANTITY, Kind.INTEGER, minimum=1, maximum=MOST_UNITS),
        Field(Columns.UNIT_PRICE_CENTS, Kind.INTEGER, minimum=0, maximum=MOST_CENTS),
        Field(Columns.QUERY),
        Field(Columns.PROPERTIES, json_object=True),
    ),
    key=(Columns.EVENT_ID,),
    needed=NEEDED,
)

ITEMS = Contract(
    "items",
    (
        Field(Columns.ITEM_ID, required=True),
        Field(Columns.VALID_FROM, Kind.INTEGER, required=True, minimum=0),
        Field(Columns.CATEGORY, required=True),
        Field(Columns.BRAND),
        Field(Columns.PRICE_CENTS, Kind.INTEGER, minimum=0, maximum=MOST_CENTS),
        Field(Columns.AVAILABLE, Kind.FLAG, required=True),
        Field(Columns.TITLE),
    ),
    key=(Columns.ITEM_ID, Columns.VALID_FROM),
    open=True,
)

USERS = Contract(
    "users",
    (
        Field(Columns.USER_ID, required=True),
        Field(Columns.VALID_FROM, Kind.INTEGER, required=True, minimum=0),
        Field(Columns.CONSENTS, purposes=True),
    ),
    key=(Columns.USER_ID, Columns.VALID_FROM),
    open=True,
)

IMPRESSIONS = Contract(
    "impressions",
    (
        Field(Columns.REQUEST_ID, required=True),
        Field(Columns.USER_ID, required=True),
        Field(Columns.SURFACE, required=True),
        Field(Columns.ITEM_ID, required=True),
        Field(Columns.RANK, Kind.INTEGER, required=True, minimum=1),
        Field(Columns.SCORE, Kind.NUMBER, required=True),
        Field(Columns.LEVEL, Kind.INTEGER, required=True, minimum=min(Level).value, maximum=max(Level).value),
        Field(Columns.PROPENSITY, Kind.NUMBER, required=True, above=0, maximum=1),
        Field(Columns.ARM, required=True),
        Field(Columns.BUNDLE_DIGEST, required=True),
        Field(Columns.TS, Kind.INTEGER, required=True, minimum=1, past=True),
    ),
    key=(Columns.REQUEST_ID, Columns.SURFACE, Columns.RANK),
)

CONTRACTS = {contract.name: contract for contract in (EVENTS, ITEMS, USERS, IMPRESSIONS)}


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


__all__ = [
    "ARROW_TYPES",
    "CONTRACTS",
    "EVENTS",
    "IMPRESSIONS",
    "ITEMS",
    "NEEDED",
    "NOT_EMPTY",
    "PANDAS_TYPES",
    "USERS",
    "Contract",
    "Field",
    "Kind",
    "Needed",
    "Rule",
]
