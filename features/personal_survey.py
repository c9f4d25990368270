"""Where a shop's tables hold personal data, told without telling any of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import ibis
import ibis.expr.types as ir

from features.contracts import CONTRACTS
from features.engine import SOURCE_FILE, SOURCE_ROW, Engine
from features.personal_kinds import EMAIL, KINDS, PERSON, SUSPICIOUS, PersonalKind, kind_by_name, shape
from features.personal_policy import PersonalDataPolicy
from features.personal_text import Find, handled
from features.schema import Columns

#: Of columns whose name or usual values are judged, this many different values are looked at, from the whole table.
SAMPLE = 10_000

#: A column is of a kind whose values prove nothing alone if this share of at least so many different values looks so,
#: and the values are as different as people are: a favourite brand may be called Tom Tailor, but for many.
USUAL_SHARE, USUAL_VALUES, USUAL_DISTINCT = 0.3, 5, 1 / 3

#: Valid finds must be this many times as many as chance would make valid.
ABOVE_CHANCE = 5

#: Ids that are often long numbers, and words of few kinds: in them only an e-mail address is no accident.
_OPAQUE = (
    *(Columns.EVENT_ID, Columns.ORDER_ID, Columns.SESSION_ID, Columns.ITEM_ID, Columns.REQUEST_ID),
    *(Columns.EVENT_TYPE, Columns.CONSENTS, Columns.SURFACE, Columns.ARM, Columns.BUNDLE_DIGEST),
)

#: What the engine and the source add.
_ADDED = (SOURCE_FILE, SOURCE_ROW, "reject")


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of personal data in one place.

    Attributes:
        table, column: Their names.
        place: The column, or ``column.member`` inside JSON content.
        kind: Of personal data.
        share: Of the column's values that look so, above 0 and at most 1.
        example: The shape of one of them.
        whole: Whether all values of the column are taken for such, not only those that look so.
    """

    table: str
    column: str
    place: str
    kind: PersonalKind
    share: float
    example: str
    whole: bool = False


@dataclass(slots=True)
class _Tally:
    """Weights of the finds of one kind in one place, and the shape of one."""

    seen: int = 0
    valid: int = 0
    example: str = ""

    def add(self, find: Find, n: int) -> None:
        self.seen += n
        if find.valid:
            self.valid += n
            self.example = min(self.example or shape(find.text), shape(find.text))


@dataclass(slots=True)
class _Survey:
    engine: Engine
    policy: PersonalDataPolicy
    tallies: dict[tuple[str, str, str, PersonalKind], _Tally] = field(default_factory=dict)
    totals: dict[tuple[str, str], int] = field(default_factory=dict)
    whole: list[Finding] = field(default_factory=list)


def survey(engine: Engine, tables: Mapping[str, ir.Table], policy: PersonalDataPolicy) -> list[Finding]:
    """What the tables hold of personal data that the policy does not allow, by table and place.

    All values are searched for what is certain; names of columns and usual values are judged by a sample.

    Args:
        tables: By name. Columns that the table's contract does not know are attributes; a table without a contract has
            only such. The rows of ``users`` and of a table without a contract are people.
    """
    work = _Survey(engine, policy)
    for name, rows in tables.items():
        _search(work, name, rows)
    together: defaultdict[tuple[str, PersonalKind], float] = defaultdict(float)
    for (_, _, place, kind), tally in work.tallies.items():
        # Ids are judged as one column over all tables, so that they are treated alike and still join.
        group = together_with(place)
        together[group, kind] += tally.valid - ABOVE_CHANCE * kind.chance * tally.seen
    certain = [
        Finding(table, column, place, kind, tally.valid / work.totals[table, column], tally.example)
        for (table, column, place, kind), tally in work.tallies.items()
        if tally.valid and together[together_with(place), kind] > 0
    ]
    return sorted([*certain, *work.whole], key=lambda found: (list(tables).index(found.table), found.place))


def together_with(place: str) -> str:
    """Under which name a place is judged and treated with others: both ids of people are one."""
    return Columns.USER_ID if place == Columns.ANONYMOUS_ID else place


def searched(table: str, rows: ir.Table) -> list[str]:
    """The columns that may hold anything: not those of the contract that hold numbers already."""
    own = CONTRACTS[table].columns if table in CONTRACTS else ()
    return [
        name
        for name, dtype in rows.schema().items()
        if name not in _ADDED and (name not in own or dtype.is_string() or dtype.is_nested())
    ]


def kinds_in(column: str) -> tuple[PersonalKind, ...]:
    """The kinds that are looked for inside the values of a column."""
    return (EMAIL,) if column in _OPAQUE else KINDS


def _suspicious(column: str) -> str:
    return "@|%40" if kinds_in(column) == (EMAIL,) else SUSPICIOUS


def as_texts(engine: Engine, rows: ir.Table, columns: Collection[str]) -> list[ir.Value]:
    """The columns as text, by their names: nested ones as JSON."""
    values = [rows[name] for name in columns]
    return [
        (engine.as_json(value) if value.type().is_nested() else value.cast("string")).name(value.get_name())
        for value in values
    ]


def _search(work: _Survey, table: str, rows: ir.Table) -> None:
    columns = [name for name in searched(table, rows) if not work.policy.allows(table, name)]
    if not columns:
        return
    texts = rows.select(as_texts(work.engine, rows, columns))
    counts = {}
    for number, name in enumerate(columns):
        counts[f"total{number}"] = texts[name].count()
        counts[f"suspicious{number}"] = texts[name].re_search(_suspicious(name)).sum().fill_null(0)
    counted = work.engine.to_arrow(texts.aggregate(**counts)).to_pylist()[0]
    for number, name in enumerate(columns):
        work.totals[table, name] = counted[f"total{number}"]
        if counted[f"total{number}"] and _judge_whole(work, table, texts[[name]], name):
            continue
        if counted[f"suspicious{number}"]:
            _tally(work, table, texts.filter(texts[name].re_search(_suspicious(name))), name)


def _tally(work: _Survey, table: str, texts: ir.Table, column: str) -> None:
    def note(n: int, find: Find) -> str:
        if not work.policy.allows(table, find.place):
            work.tallies.setdefault((table, column, find.place, find.kind), _Tally()).add(find, n)
        return find.text

    for batch in work.engine.batches(_counted(texts, column)):
        for value, n in zip(batch["value"].to_pylist(), batch["n"].to_pylist(), strict=True):
            handled(value, column, partial(note, n), kinds_in(column))


def _judge_whole(work: _Survey, table: str, texts: ir.Table, column: str) -> bool:
    """Whether the column's name, or what most of its values are, says that all of it is personal."""
    of_people = table == "users" or table not in CONTRACTS
    own = table in CONTRACTS and column in CONTRACTS[table].columns
    named = None if own else kind_by_name(column, of_people)
    if named is PERSON and not of_people:
        named = None  # Goods have full names too.
    if named is None and not (of_people and (not own or column == Columns.USER_ID)):
        return False
    values = _counted(texts, column)
    rows = work.engine.to_arrow(values.order_by([values["value"].hash(), values["value"]]).limit(SAMPLE)).to_pylist()
    if named is not None:
        found, kind = [row for row in rows if named.could_be(row["value"])], named
        share = sum(row["n"] for row in found) / sum(row["n"] for row in rows)
    else:
        usual = [(kind, [row for row in rows if kind.usual.fullmatch(row["value"])]) for kind in KINDS if kind.usual]
        kind, found = max(usual, key=lambda pair: len(pair[1]))
        share = len(found) / len(rows)
        if len(found) < USUAL_VALUES or share < USUAL_SHARE:
            return False
        if work.engine.value(values.count()) < USUAL_DISTINCT * work.totals[table, column]:
            return False
    if found:
        example = min(shape(row["value"]) for row in found)
        work.whole.append(Finding(table, column, column, kind, share, example, whole=True))
    return bool(found)


def _counted(texts: ir.Table, column: str) -> ir.Table:
    """The different values of a column, ``value``, and how often each is there, ``n``."""
    there = texts.filter(texts[column].notnull())
    return there.group_by(there[column].name("value")).aggregate(n=ibis._.count())


__all__ = ["SAMPLE", "Finding", "as_texts", "kinds_in", "searched", "survey", "together_with"]
