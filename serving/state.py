"""What the service remembers: events posted to it and impressions that it showed. The state database's only seam.

SQLite in WAL mode by default, any database that SQLAlchemy knows by URL. The writes of one process go through one
thread (``serving.group_commit``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, event
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from features.errors import ConfigError, ConflictError
from features.schema import DAY_MS, IDENTITY, Columns, EventType, Level
from serving.group_commit import GroupCommit, StateError, Write
from serving.persons import Links, ids_of, no_links, standing
from serving.prepared import Prepared
from serving.rows import Impression, LiveEvent, Recent, Seen

if TYPE_CHECKING:
    import pandas as pd

#: How long a write waits for another process's transaction.
BUSY_TIMEOUT_S = 10.0

T = TypeVar("T")

#: In words rather than bound, so that the database sees that the partial indexes below have all rows in question.
_TELLS_IDENTITY = sa.text(f"event_type IN ({', '.join(repr(str(kind)) for kind in IDENTITY)})")

_METADATA = sa.MetaData()

_EVENTS = sa.Table(
    "events",
    _METADATA,
    Column(Columns.EVENT_ID, sa.String(256), primary_key=True),
    Column(Columns.USER_ID, sa.String(256), nullable=False),
    Column(Columns.ANONYMOUS_ID, sa.String(256)),
    Column(Columns.ITEM_ID, sa.String(256)),
    Column(Columns.EVENT_TYPE, sa.String(32), nullable=False),
    Column(Columns.TS, sa.BigInteger, nullable=False),
    Column(Columns.RECEIVED_TS, sa.BigInteger, nullable=False),
    Column(Columns.ORDER_ID, sa.String(256)),
    Column(Columns.SESSION_ID, sa.String(256)),
    Column(Columns.QUANTITY, sa.BigInteger),
    Column(Columns.UNIT_PRICE_CENTS, sa.BigInteger),
    Column(Columns.QUERY, sa.Text),
    Column(Columns.PROPERTIES, sa.Text),
    sa.Index("events_by_user", Columns.USER_ID, Columns.TS),
    *(
        sa.Index(name, column, Columns.TS, sqlite_where=_TELLS_IDENTITY, postgresql_where=_TELLS_IDENTITY)
        for name, column in (("identities_by_visitor", Columns.ANONYMOUS_ID), ("identities_by_user", Columns.USER_ID))
    ),
)

_IMPRESSIONS = sa.Table(
    "impressions",
    _METADATA,
    Column(Columns.REQUEST_ID, sa.String(64), primary_key=True),
    Column(Columns.USER_ID, sa.String(256), nullable=False),
    Column(Columns.SURFACE, sa.String(32), nullable=False),
    Column(Columns.ITEM_ID, sa.String(256), nullable=False),
    Column(Columns.RANK, sa.Integer, primary_key=True),
    Column(Columns.SCORE, sa.Double, nullable=False),
    Column(Columns.LEVEL, sa.Integer, nullable=False),
    Column(Columns.PROPENSITY, sa.Double, nullable=False),
    Column(Columns.ARM, sa.String(256), nullable=False),
    Column(Columns.BUNDLE_DIGEST, sa.String(128), nullable=False),
    Column(Columns.TS, sa.BigInteger, nullable=False),
    sa.Index("impressions_by_user", Columns.USER_ID, Columns.TS),
)

_LIVE_EVENTS = sa.select(*(_EVENTS.c[name] for name in LiveEvent._fields))

_BY_IDS = _LIVE_EVENTS.where(_EVENTS.c.event_id.in_(sa.bindparam("ids", expanding=True)))

_LAST_OF_IDS = Prepared(
    _LIVE_EVENTS.where(_EVENTS.c.user_id.in_(sa.bindparam("ids", expanding=True)))
    .where(_EVENTS.c.ts >= sa.bindparam("since_ms"), _EVENTS.c.ts < sa.bindparam("before_ms"))
    .order_by(_EVENTS.c.ts.desc(), _EVENTS.c.event_id.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


def _told_of(column: sa.Column[Any]) -> sa.Select[Any]:
    told = sa.select(_EVENTS.c.anonymous_id, _EVENTS.c.user_id, _EVENTS.c.event_type, _EVENTS.c.ts)
    of_ids = column.in_(sa.bindparam("ids", expanding=True))
    return told.where(_TELLS_IDENTITY, of_ids, _EVENTS.c.ts < sa.bindparam("before_ms"))


# Two searches in two indexes: with OR between them, SQLite reads the whole of one.
_TOLD = sa.union_all(_told_of(_EVENTS.c.anonymous_id), _told_of(_EVENTS.c.user_id)).subquery()


def _last_told(event_type: EventType) -> sa.ColumnElement[int]:
    return sa.func.max(sa.case((_TOLD.c.event_type == event_type.value, _TOLD.c.ts), else_=-1))


#: When something was last said, and last taken back, of pairs of a visitor and a user, one of them among ``ids``.
_TOLD_OF_IDS = Prepared(
    sa.select(
        _TOLD.c.anonymous_id, _TOLD.c.user_id, _last_told(EventType.IDENTIFY), _last_told(EventType.UNIDENTIFY)
    ).group_by(_TOLD.c.anonymous_id, _TOLD.c.user_id)
)

_SHOWN_TO_IDS = _IMPRESSIONS.c.user_id.in_(sa.bindparam("ids", expanding=True))

_LAST_SHOWN = Prepared(
    sa.select(*(_IMPRESSIONS.c[name] for name in Impression._fields))
    .where(_SHOWN_TO_IDS, _IMPRESSIONS.c.ts < sa.bindparam("before_ms"))
    .order_by(_IMPRESSIONS.c.ts.desc(), _IMPRESSIONS.c.request_id, _IMPRESSIONS.c.rank)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)

_DAY = (_IMPRESSIONS.c.ts + sa.bindparam("shift_ms", type_=sa.BigInteger)) // sa.literal(DAY_MS, sa.BigInteger)

_SHOWN_BY_DAY = Prepared(
    sa.select(_DAY.label("day"), sa.func.count())
    .where(_SHOWN_TO_IDS, _IMPRESSIONS.c.ts >= sa.bindparam("since_ms"), _IMPRESSIONS.c.ts < sa.bindparam("before_ms"))
    .group_by("day")
)

#: Snapshots read events in this order too.
_ALL_EVENTS = sa.select(_EVENTS).order_by(_EVENTS.c.ts, _EVENTS.c.event_id)

_ALL_IMPRESSIONS = sa.select(_IMPRESSIONS).order_by(_IMPRESSIONS.c.ts, _IMPRESSIONS.c.request_id, _IMPRESSIONS.c.rank)

_EVENT_TYPES = {event_type.value: event_type for event_type in EventType}


class State:
    """Events and impressions in a database that several threads and processes share."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = GroupCommit(self._commit)

    @classmethod
    def open(cls, url: str) -> State:
        """Connect to ``url`` and create the tables that are missing.

        Raises:
            ConfigError: The URL names no usable database.
            StateError: The database cannot be opened.
        """
        engine = _engine(url)
        try:
            with engine.begin() as connection:
                _METADATA.create_all(connection)
                for index in (
                    *_EVENTS.indexes,
                    *_IMPRESSIONS.indexes,
                ):  # a database of an earlier version lacks the later ones
                    index.create(connection, checkfirst=True)
        except SQLAlchemyError as error:
            engine.dispose()
            raise _state_error(error) from error
        return cls(engine)

    def close(self) -> None:
        """Commit what is waiting, then let go of the database."""
        self._writes.close()
        self._engine.dispose()

    def submit_events(self, events: Sequence[LiveEvent]) -> Future[tuple[int, int]]:
        """Write events, all or none; the future holds (accepted, duplicates) once they are committed.

        An id that is there already with the same content is a duplicate, so that a request may be repeated.
        The future's errors: ConflictError (an id is there with other content), StateError.
        """
        return self._writes.submit(lambda connection: _insert_events(connection, events))

    def append_events(self, events: Sequence[LiveEvent]) -> tuple[int, int]:
        """``submit_events``, waited for."""
        return self.submit_events(events).result()

    def submit_impressions(self, impressions: Sequence[Impression]) -> Future[None]:
        """Write what was shown; the future is done once it is committed, or holds a StateError."""
        return self._writes.submit(lambda connection: _insert_impressions(connection, impressions))

    def append_impressions(self, impressions: Sequence[Impression]) -> None:
        """``submit_impressions``, waited for."""
        self.submit_impressions(impressions).result()

    def recent(
        self, user_id: str, since_ms: int, before_ms: int, limit: int = 1_000, links: Links = no_links
    ) -> Recent:
        """The last ``limit`` events with ``since_ms <= ts < before_ms`` of the person whom ``user_id`` is.

        Who is who follows from all identity events before ``before_ms``, by the rules of ``features.identity``.

        Args:
            links: Merges that were told elsewhere; what is taken back here counts against them too.

        Raises:
            StateError: The database cannot be read.
        """
        return self._read(lambda connection: _recent(connection, user_id, (since_ms, before_ms), limit, links))

    def seen(
        self,
        user_id: str,
        since_ms: int,
        before_ms: int,
        shift_ms: int,
        limits: tuple[int, int],
        links: Links = no_links,
    ) -> Seen:
        """``recent``, with what the person was shown.

        Args:
            shift_ms: As in ``features.cells``: where days end.
            limits: Of events and of impressions.

        Raises:
            StateError: The database cannot be read.
        """

        def read(connection: Connection) -> Seen:
            recent = _recent(connection, user_id, (since_ms, before_ms), limits[0], links)
            asked = {"ids": [recent.user_id, *recent.visitors], "before_ms": before_ms}
            shown = _LAST_SHOWN.rows(connection, {**asked, "limit": limits[1]}) if limits[1] else ()
            by_day = _SHOWN_BY_DAY.rows(connection, {**asked, "since_ms": since_ms, "shift_ms": shift_ms})
            impressions = [Impression(*row)._replace(level=Level(row.level)) for row in shown]
            return Seen(recent, impressions, [(int(day), int(number)) for day, number in by_day])

        return self._read(read)

    def events_frame(self) -> pd.DataFrame:
        """All events in the contract's columns and types, in order of time."""
        return self._frame(_EVENTS, _ALL_EVENTS)

    def impressions_frame(self) -> pd.DataFrame:
        """All impressions in the contract's columns and types, in order of time, request and rank."""
        return self._frame(_IMPRESSIONS, _ALL_IMPRESSIONS)

    def _frame(self, table: sa.Table, rows: sa.Select[Any]) -> pd.DataFrame:
        import pandas as pd  # half of this module's import time, and only exports need it

        frame = self._read(lambda connection: pd.read_sql(rows, connection))
        # Types by column, also where the table is empty or a column all null.
        return frame.astype({column.name: _dtype(column) for column in table.columns})

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.connect().execution_options(reads_only=True) as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise _state_error(error) from error

    def _commit(self, writes: list[Write]) -> None:
        """One transaction for all; a caller learns of its success only after the commit."""
        results: list[Any] = []
        try:
            with self._engine.begin() as connection:
                for write in writes:
                    try:
                        results.append(write.apply(connection))
                    except ConflictError as conflict:  # found before anything was written
                        results.append(conflict)
        except Exception as error:  # whatever it is, the callers must hear of it and the thread must live on
            self._commit_failed(writes, error)
            return
        for write, result in zip(writes, results, strict=True):
            if isinstance(result, ConflictError):
                write.outcome.set_exception(result)
            else:
                write.outcome.set_result(result)

    def _commit_failed(self, writes: list[Write], error: Exception) -> None:
        if isinstance(error, IntegrityError) and len(writes) > 1:
            # Another process wrote one of the ids meanwhile; each on its own, the others need not suffer for it.
            for write in writes:
                self._commit([write])
            return
        failure = _state_error(error) if isinstance(error, SQLAlchemyError) else error
        for write in writes:
            write.outcome.set_exception(failure)


def _recent(connection: Connection, user_id: str, window: tuple[int, int], limit: int, links: Links) -> Recent:
    since_ms, before_ms = window

    def told(ids: list[str]) -> Iterable[tuple[str, str, int, int]]:
        pairs = _TOLD_OF_IDS.rows(connection, {"ids": ids, "before_ms": before_ms})
        return ((visitor, user, said_ms, unsaid_ms) for visitor, user, said_ms, unsaid_ms in pairs)

    person, *others = ids = ids_of(user_id, standing(told, links))
    asked = {"ids": ids, "since_ms": since_ms, "before_ms": before_ms, "limit": limit}
    rows = _LAST_OF_IDS.rows(connection, asked)
    return Recent(person, tuple(others), [_live_event(row) for row in reversed(rows)])


def _insert_events(connection: Connection, events: Sequence[LiveEvent]) -> tuple[int, int]:
    ids = [posted.event_id for posted in events]
    stored = connection.execute(_BY_IDS, {"ids": ids}).all()
    known = {row.event_id: _live_event(row) for row in stored}
    fresh: list[dict[str, Any]] = []
    for posted in events:
        earlier = known.setdefault(posted.event_id, posted)
        if earlier is posted:
            fresh.append(posted._asdict())
        elif not posted.repeats(earlier):
            mend = "send a new event under a new id, or repeat the old one unchanged"
            raise ConflictError(Columns.EVENT_ID, "must not be used for two different events", posted.event_id, mend)
    if fresh:
        connection.execute(sa.insert(_EVENTS), fresh)
    return len(fresh), len(events) - len(fresh)


def _insert_impressions(connection: Connection, impressions: Sequence[Impression]) -> None:
    if impressions:
        connection.execute(sa.insert(_IMPRESSIONS), [impression._asdict() for impression in impressions])


def _live_event(row: Any) -> LiveEvent:
    event_id, user_id, event_type, *others = row
    return LiveEvent(event_id, user_id, _EVENT_TYPES[event_type], *others)


def _dtype(column: Column[Any]) -> str:
    if isinstance(column.type, sa.Integer):
        return "Int64" if column.nullable else "int64"
    return "float64" if isinstance(column.type, sa.Float) else "str"


def _engine(url: str) -> Engine:
    """An engine for ``url``."""
    mend = "give sqlite:///FILE or another URL that SQLAlchemy knows, with its driver installed"
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        # Only the scheme: the rest may carry a password.
        raise ConfigError("state URL", "must name a database", url.split(":")[0], mend) from error
    return _sqlite_engine(parsed)


def _sqlite_engine(url: sa.URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ConfigError("state URL", "must name a file", url.render_as_string(), "give sqlite:///FILE")
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            "state", f"must be in a folder that can be written ({error.strerror})", url.database
        ) from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come too late and without a lock
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # WAL's default does not sync at commit

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads_only = connection.get_execution_options().get("reads_only", False)
        # Taking the lock at the start lets a writer wait for it; a reader that turned writer would be refused instead.
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _state_error(error: SQLAlchemyError) -> StateError:
    reason = str(getattr(error, "orig", None) or error)
    return StateError("state", "must be usable", reason, "check the database's disk, rights and address, then repeat")


__all__ = ["BUSY_TIMEOUT_S", "Impression", "LiveEvent", "State", "StateError"]
