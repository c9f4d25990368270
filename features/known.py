"""What a snapshot knew of everybody, small enough to be served: what folds of single users go on from.

Of a basis only what one user's row needs is kept, by user, as narrow whole numbers that are mapped into memory and not
loaded; with each order's name, so that an order that goes on is not counted twice, and with what users consent to and
who was merged into whom.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.cells import numbered_day
from features.consent import Consents
from features.definitions import ACTIVITY
from features.derived import Population
from features.errors import InputError
from features.ids import UNKNOWN, Vocabulary
from features.online import Past
from features.schema import INTERACTIONS, Columns, EventType
from features.sequences import Histories, session_starts

#: Columns of ``Known.people``.
PERSON = "person_id"

#: What the counts are of that are not counters of events.
SHOWN, SESSIONS = "impressions", "sessions"

_PEOPLE, _ABOUT, _POPULATION = "people.parquet", "known.json", "population.json"

#: By code of an event type, whether it is one of these: read much faster than found with ``np.isin``.
_ACTIVITY = np.array([kind in ACTIVITY for kind in EventType])
_INTERACTIONS = np.array([kind in INTERACTIONS for kind in EventType])


class Order(NamedTuple):
    """An order of a user; ``name`` as the log has it: its id after ``#``, or its instant after ``@``."""

    name: str
    ts: int
    lines: int
    units: int
    cents: int


@dataclass(frozen=True)
class Known:
    """What a snapshot knew of everybody.

    Attributes:
        as_of_ms: The snapshot's instant.
        people: Index ``user_id``, sorted: all ids of whom anything was known; ``person_id`` is the id itself, or the
            user whom a visitor turned out to be; ``consents`` is what was last stated of the id itself, missing if
            nothing was.
        names: What the numbers of ``counts.what`` mean.
        labels: Label column to its labels; its position among these is ``points.column``.
        population: What single users are compared with.
        arrays: ``counts.*``, ``points.*`` and ``orders.*``: of row i of ``people`` the entries
            ``[offsets[i]:offsets[i + 1]]`` of each array of the table. ``last_ms`` (n,) int64: the last instant of
            activity where it is less than a session's gap before the snapshot, else -1.
    """

    as_of_ms: int
    people: pd.DataFrame
    names: Sequence[str]
    labels: Mapping[str, Sequence[str]]
    population: Population
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    @cached_property
    def ids(self) -> Vocabulary:
        """Rows of ``people``."""
        return Vocabulary(self.people.index)

    @cached_property
    def _visitors(self) -> Mapping[str, list[str]]:
        """Person to the other ids that the snapshot knew to be them."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        merged = self.people[PERSON]
        merged = merged[merged.to_numpy() != merged.index.to_numpy()]
        for visitor, person in merged.items():
            found[person].append(str(visitor))
        return dict(found)

    @cached_property
    def _persons(self) -> NDArray[np.object_]:
        return self.people[PERSON].to_numpy(dtype=object)

    @cached_property
    def _stated(self) -> NDArray[np.object_]:
        texts = self.people[Columns.CONSENTS].to_numpy(dtype=object, copy=True)
        texts[pd.isna(texts)] = None
        return texts

    def prepare(self) -> None:
        """Make what looking up needs, so that the first question is answered as soon as the others."""
        self.ids.code("")
        _ = self._visitors, self._persons, self._stated

    def links(self, ids: Iterable[str]) -> list[tuple[str, str, int]]:
        """(visitor, user, instant) of each merge that the snapshot knew of and that is about one of ``ids``."""
        found = []
        for one in ids:
            code = self.ids.code(one)
            if code != UNKNOWN:
                person = str(self._persons[code])
                found += [(one, person, self.as_of_ms - 1)] if person != one else []
                found += [(visitor, one, self.as_of_ms - 1) for visitor in self._visitors.get(one, ())]
        return found

    def consents(self, ids: Iterable[str]) -> Consents:
        """What a person of these ids grants: the strictest of what was stated of any of them."""
        return Consents.strictest(self.stated(ids))

    def stated(self, ids: Iterable[str]) -> list[str]:
        """The words on consents that were stated of any of ``ids``."""
        texts = (self._stated[code] for code in map(self.ids.code, ids) if code != UNKNOWN)
        return [text for text in texts if text is not None]

    def read_under(self, user_id: str) -> Consents:
        """The consents under which the snapshot read an id: those of the person whom it knew it to be."""
        code = self.ids.code(user_id)
        person = user_id if code == UNKNOWN else str(self._persons[code])
        return self.consents([person, *self._visitors.get(person, ())])

    def past(self, user_id: str, did: Histories, items: Vocabulary) -> Past:
        """What the snapshot knew of an id under that id itself; nothing of a visitor whom it had merged.

        Args:
            did: The user's events about items, in one row; none if the snapshot has none.
            items: What ``did`` numbers items by.
        """
        code = self.ids.code(user_id)
        if code == UNKNOWN:
            return Past()
        counts: list[tuple[int, str, int]] = []
        others: dict[str, list[tuple[int, int]]] = {SHOWN: [], SESSIONS: []}
        for what, day, number in self._entries("counts", code, "what", "day", "number"):
            name = self.names[what]
            if name in others:
                others[name].append((day, number))
            else:
                counts.append((day, name, number))
        columns = list(self.labels)
        points: dict[str, list[tuple[str, int, int]]] = {column: [] for column in columns}
        for column, label, day, number in self._entries("points", code, "column", "label", "day", "number"):
            points[columns[column]].append((self.labels[columns[column]][label], day, number))
        wanted = _INTERACTIONS[did.event_types] & (did.items != UNKNOWN)
        bought, first = np.unique(did.items[wanted], return_index=True)
        days = numbered_day(did.ts[wanted][first], self.as_of_ms)
        return Past(
            counts=counts,
            shown=others[SHOWN],
            points=points,
            orders=[(order.name, numbered_day(order.ts, self.as_of_ms)) for order in self.orders(user_id)],
            items=list(zip(items.decode(bought).tolist(), days.tolist(), strict=True)),
            sessions=others[SESSIONS],
            spans=_spans(did.ts[_ACTIVITY[did.event_types]], int(self.arrays["last_ms"][code])),
        )

    def orders(self, user_id: str) -> list[Order]:
        """The orders of an id, in order of time."""
        code = self.ids.code(user_id)
        if code == UNKNOWN:
            return []
        start, end = self.arrays["orders.offsets"][code : code + 2].tolist()
        starts = self.arrays["orders.name_starts"][start : end + 1].tolist()
        text = self.arrays["orders.names"][starts[0] : starts[-1]].tobytes()
        names = (text[one - starts[0] : other - starts[0]].decode() for one, other in pairwise(starts))
        numbers = self._entries("orders", code, "ts", "lines", "units", "cents")
        return [Order(name, *told) for name, told in zip(names, numbers, strict=True)]

    def _entries(self, table: str, code: int, *columns: str) -> Iterable[tuple[int, ...]]:
        start, end = self.arrays[f"{table}.offsets"][code : code + 2].tolist()
        return zip(*(self.arrays[f"{table}.{name}"][start:end].tolist() for name in columns), strict=True)

    def save(self, folder: Path) -> None:
        """Write Parquet, JSON and one npy file per array into a new folder."""
        folder.mkdir(parents=True)
        self.people.to_parquet(folder / _PEOPLE)
        self.population.save(folder / _POPULATION)
        for name, values in self.arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        about = {
            "as_of_ms": self.as_of_ms,
            "names": list(self.names),
            "labels": {column: list(labels) for column, labels in self.labels.items()},
            "arrays": sorted(self.arrays),
        }
        (folder / _ABOUT).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Known:
        """Read what ``save`` wrote; arrays are mapped into memory, and only what is asked for is read.

        Raises:
            InputError: It is damaged.
        """
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            arrays = {
                # As plain arrays: every slice of a ``memmap`` costs several times more.
                name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))
                for name in about["arrays"]
            }
            people = pd.read_parquet(folder / _PEOPLE)
            population = Population.load(folder / _POPULATION)
            return cls(about["as_of_ms"], people, about["names"], about["labels"], population, arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(str(folder), "must be readable", str(error), "make the bundle again") from None


def _spans(acts: NDArray[np.int64], last_ms: int) -> list[tuple[int, int]]:
    """The sessions of activity at these instants, in order, and at one more if that is not negative."""
    ts = np.sort(np.append(acts, last_ms)) if last_ms >= 0 else acts
    begins = np.flatnonzero(session_starts(ts, np.array([0, len(ts)])))
    ends = np.append(begins, len(ts))[1:] - 1
    return list(zip(ts[begins].tolist(), ts[ends].tolist(), strict=True))


__all__ = ["PERSON", "SESSIONS", "SHOWN", "Known", "Order"]
