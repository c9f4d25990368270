"""From a snapshot and its data set to what a service knows of everybody (``features.known``)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.added import UNKNOWN as NO_CATEGORY
from features.affinities import POINTS
from features.basis import Basis
from features.catalogue import Catalogue
from features.consent import standing
from features.contracts import ITEMS as ITEM_ROWS
from features.dataset import Dataset
from features.declarations import Stream
from features.definitions import ACTIVITY, USER_COUNTERS, counters_of
from features.derived import Population
from features.engine import Engine, to_frame
from features.errors import ConfigError
from features.identity import identities
from features.ids import UNKNOWN, Vocabulary
from features.known import PERSON, SESSIONS, SHOWN, Known
from features.log import CODE, ITEM, TS, USER, read_log
from features.schema import NO_CONSENT, SESSION_GAP_S, Columns, EventType, Purpose
from features.segments.definitions import Segments
from features.snapshot import Snapshot
from features.together import Together, baskets

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Served(Snapshot):
    """A snapshot with what a service needs besides what models learn from.

    Attributes:
        known: What folds of its users go on from.
        segments: The rules that its users were grouped by.
        together: What was bought together.
    """

    known: Known | None = field(default=None, compare=False, repr=False)
    segments: Segments | None = field(default=None, compare=False, repr=False)
    together: Together | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, snapshot: Snapshot, **changes: Any) -> Served:
        """The snapshot with some of its fields changed."""
        kept = {one.name: getattr(snapshot, one.name) for one in fields(snapshot)}
        return cls(**{**kept, **changes})


def remember(engine: Engine, dataset: Dataset, snapshot: Snapshot) -> Served:
    """The snapshot with what was known of everybody at its instant, and what was bought together before it.

    Args:
        snapshot: Just built from ``dataset``.

    Raises:
        ConfigError: It was loaded, without what it was computed from.
    """
    basis = snapshot.basis
    if basis is None:
        raise ConfigError("snapshot", "must come with what it was computed from", mend="build it, do not load it")
    people, numbers = _people(engine, dataset, snapshot, basis)
    row_of = np.full(len(basis.audience.users), UNKNOWN, dtype=np.int64)
    row_of[numbers] = np.arange(len(numbers))
    log = _recent_or_bought(engine, dataset, basis, snapshot.items)
    labels = {name: vocabulary.ids.tolist() for name, vocabulary in basis.aggregates.labels.items()}
    names = [*counters_of(USER_COUNTERS)[Stream.EVENTS], SHOWN, SESSIONS]
    arrays = {
        "last_ms": _last(log[log[TS] >= basis.as_of_ms - SESSION_GAP_S * 1000], row_of, len(people)),
        **_counts(basis, names, row_of, len(people)),
        **_points(basis, row_of, len(people)),
        **_orders(log, row_of, len(people)),
    }
    population = Population(cuts=snapshot.population.cuts, labels=snapshot.population.labels)
    known = Known(snapshot.as_of_ms, people, names, labels, population, arrays)
    together = Together.count(baskets(log, USER, "order", ITEM), _categories(snapshot))
    return Served.of(snapshot, known=known, together=together)


def _people(
    engine: Engine, dataset: Dataset, snapshot: Snapshot, basis: Basis
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """``Known.people``, and the number of each of its ids in the audience."""
    audience, cells = basis.audience, basis.aggregates.users
    stated = engine.to_pandas(standing(engine, dataset.users(engine), snapshot.as_of_ms))
    merged = identities(engine, dataset.events(engine), snapshot.as_of_ms)
    anything = cells[Stream.EVENTS].present(len(audience.users)) | cells[Stream.IMPRESSIONS].present(
        len(audience.users)
    )
    for ids in (snapshot.users.ids, stated[Columns.USER_ID], merged[Columns.ANONYMOUS_ID], merged[Columns.USER_ID]):
        codes = audience.users.encode(ids)
        anything[codes[codes != UNKNOWN]] = True
    numbers = np.flatnonzero(anything)
    index = pd.Index(audience.users.ids[numbers], name=Columns.USER_ID, dtype="str")
    persons = pd.Series(index, index=index)
    persons.update(merged.set_index(Columns.ANONYMOUS_ID)[Columns.USER_ID])
    words = pd.Series(_words(stated), index=stated[Columns.USER_ID], dtype="str").reindex(index)
    return pd.DataFrame({PERSON: persons.astype("str"), Columns.CONSENTS: words}, index=index), numbers


def _words(stated: pd.DataFrame) -> list[str]:
    """The purposes that each user grants, as the column ``consents`` writes them."""
    flags = stated[[purpose.value for purpose in Purpose]].to_numpy(dtype=bool)
    names = [purpose.value for purpose in Purpose]
    return [",".join(name for name, holds in zip(names, row, strict=True) if holds) or NO_CONSENT for row in flags]


def _categories(snapshot: Snapshot) -> NDArray[np.int32]:
    """(n_items,) the number of each item's leaf category, -1 where the shop never named it."""
    paths = snapshot.item_matrix[Columns.CATEGORY]
    return pd.factorize(paths.where(paths != NO_CATEGORY))[0].astype(np.int32)


def _recent_or_bought(engine: Engine, dataset: Dataset, basis: Basis, items: Vocabulary) -> pd.DataFrame:
    """user, item, code, ts, order, units, cents: readable purchases, and what may be of a session that goes on.

    Items are those of ``items``; what they cost or were listed as is not asked.
    """
    events, before_ms = dataset.events(engine), basis.as_of_ms
    bought = events[Columns.EVENT_TYPE] == EventType.PURCHASE.value
    some = events.filter(bought | (events[Columns.TS] >= before_ms - SESSION_GAP_S * 1000))
    unlisted = Catalogue(items, to_frame(ITEM_ROWS.arrow_schema().empty_table()))
    log = read_log(engine, some, basis.audience, unlisted, before_ms)
    return engine.to_pandas(log.select(USER, ITEM, CODE, TS, "order", "units", "cents"))


def _last(recent: pd.DataFrame, row_of: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """(n,) the last instant of activity, -1 if there was none."""
    last_ms = np.full(n, -1, dtype=np.int64)
    acts = recent[recent[CODE].isin([kind.code for kind in ACTIVITY])]
    np.maximum.at(last_ms, row_of[acts[USER].to_numpy()], acts[TS].to_numpy(dtype=np.int64))
    return last_ms


def _counts(basis: Basis, names: list[str], row_of: NDArray[np.int64], n: int) -> Arrays:
    rows: list[NDArray[Any]] = []
    columns: dict[str, list[NDArray[Any]]] = {"what": [], "day": [], "number": []}
    for stream in (Stream.EVENTS, Stream.IMPRESSIONS, Stream.SESSIONS):
        cells = basis.aggregates.users[stream]
        for name, values in cells.counters.items():
            used = np.flatnonzero(values)
            rows.append(row_of[cells.rows[used]])
            columns["what"].append(np.full(len(used), names.index(name), dtype=np.uint8))
            columns["day"].append(cells.days[used])
            columns["number"].append(np.asarray(values)[used])
    return _ragged("counts", np.concatenate(rows), n, _whole(columns))


def _points(basis: Basis, row_of: NDArray[np.int64], n: int) -> Arrays:
    rows: list[NDArray[Any]] = []
    columns: dict[str, list[NDArray[Any]]] = {"column": [], "label": [], "day": [], "number": []}
    for column, (name, labels) in enumerate(basis.aggregates.labels.items()):
        cells = basis.aggregates.affinities[name]
        rows.append(row_of[cells.rows // max(len(labels), 1)])
        columns["column"].append(np.full(len(cells), column, dtype=np.uint8))
        columns["label"].append(cells.rows % max(len(labels), 1))
        columns["day"].append(cells.days)
        columns["number"].append(cells.counters[POINTS])
    return _ragged("points", np.concatenate(rows), n, _whole(columns))


def _whole(columns: dict[str, list[NDArray[Any]]]) -> Arrays:
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _orders(log: pd.DataFrame, row_of: NDArray[np.int64], n: int) -> Arrays:
    """Orders of each user in order of time, then of name; all names one after the other in UTF-8."""
    lines = log[log["order"].notna()]
    grouped = lines.groupby([USER, "order"], sort=True)
    orders = grouped.agg(ts=(TS, "max"), lines=(TS, "size"), units=("units", "sum"), cents=("cents", "sum"))
    orders = orders.reset_index().sort_values([USER, "ts", "order"], kind="stable")
    names = [name.encode() for name in orders["order"]]
    arrays = _ragged(
        "orders",
        row_of[orders[USER].to_numpy()],
        n,
        {name: orders[name].to_numpy(dtype=np.int64) for name in ("ts", "lines", "units", "cents")},
    )
    starts = np.cumsum([0, *(len(name) for name in names)], dtype=np.int64)
    return {**arrays, "orders.name_starts": starts, "orders.names": np.frombuffer(b"".join(names), dtype=np.uint8)}


def _ragged(table: str, rows: NDArray[np.int64], n: int, columns: Arrays) -> Arrays:
    """A table sorted by row, with where each row's entries begin; numbers, none negative, as narrow as can be."""
    order = np.argsort(rows, kind="stable")
    offsets = np.searchsorted(rows[order], np.arange(n + 1)).astype(np.int64)
    return {f"{table}.offsets": offsets, **{f"{table}.{name}": _narrow(part[order]) for name, part in columns.items()}}


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


__all__ = ["Served", "remember"]
