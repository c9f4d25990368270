"""What the service remembers: events posted to it and impressions that it showed. The state database's only seam.

SQLite in WAL mode by default, any database that SQLAlchemy knows by URL. The writes of one process go through one
thread that commits all that wait in one transaction (group commit). With a transaction per caller, 16 writers spend
their time waiting for each other's lock: measured, the slowest hundredth waited over 100 ms.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, event
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from features.errors import ConfigError, ConflictError, StellarError
from features.schema import IDENTITY, Columns, EventType
from serving.persons import ids_of
from serving.rows import Impression, LiveEvent

if TYPE_CHECKING:
    import pandas as pd

#: How long a write waits for another process's transaction.
BUSY_TIMEOUT_S = 10.0

#: Requests that one transaction carries at most.
GROUP_SIZE = 256

T = TypeVar("T")


class StateError(StellarError):
    """The state database cannot be used: full, locked, unreachable or not a database. Nothing was acknowledged."""


class Recent(NamedTuple):
    """What one person did lately.

    Attributes:
        user_id: Who the id that was asked for turned out to be; that id itself unless it is an identified visitor's.
        visitors: The other ids of the same person, sorted.
        events: Of all these ids, oldest first.
    """

    user_id: str
    visitors: tuple[str, ...]
    events: list[LiveEvent]


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
)

_LIVE_EVENTS = sa.select(*(_EVENTS.c[name] for name in LiveEvent._fields))

_BY_IDS = _LIVE_EVENTS.where(_EVENTS.c.event_id.in_(sa.bindparam("ids", expanding=True)))

_LAST_OF_IDS = (
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


#: What was said of pairs of a visitor and a user, one of them among ``ids``, and not taken back.
_SAID_OF_IDS = (
    sa.select(_TOLD.c.anonymous_id, _TOLD.c.user_id, _last_told(EventType.IDENTIFY))
    .group_by(_TOLD.c.anonymous_id, _TOLD.c.user_id)
    .having(_last_told(EventType.IDENTIFY) > _last_told(EventType.UNIDENTIFY))
)

#: Snapshots read events in this order too.
_ALL_EVENTS = sa.select(_EVENTS).order_by(_EVENTS.c.ts, _EVENTS.c.event_id)

_ALL_IMPRESSIONS = sa.select(_IMPRESSIONS).order_by(_IMPRESSIONS.c.ts, _IMPRESSIONS.c.request_id, _IMPRESSIONS.c.rank)

_EVENT_TYPES = {event_type.value: event_type for event_type in EventType}


class _Write(NamedTuple):
    """What one caller wants written, and where it waits for the outcome."""

    apply: Callable[[Connection], Any]
    outcome: Future[Any]


class State:
    """Events and impressions in a database that several threads and processes share."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="state-writer", daemon=True)
        self._writer.start()

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
                for index in _EVENTS.indexes:  # a database of an earlier version lacks the later ones
                    index.create(connection, checkfirst=True)
        except SQLAlchemyError as error:
            engine.dispose()
            raise _state_error(error) from error
        return cls(engine)

    def close(self) -> None:
        """Commit what is waiting, then let go of the database."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._writer.join()
        self._engine.dispose()

    def submit_events(self, events: Sequence[LiveEvent]) -> Future[tuple[int, int]]:
        """Write events, all or none; the future holds (accepted, duplicates) once they are committed.

        An id that is there already with the same content is a duplicate, so that a request may be repeated.
        The future's errors: ConflictError (an id is there with other content), StateError.
        """
        return self._submit(lambda connection: _insert_events(connection, events))

    def append_events(self, events: Sequence[LiveEvent]) -> tuple[int, int]:
        """``submit_events``, waited for."""
        return self.submit_events(events).result()

    def submit_impressions(self, impressions: Sequence[Impression]) -> Future[None]:
        """Write what was shown; the future is done once it is committed, or holds a StateError."""
        return self._submit(lambda connection: _insert_impressions(connection, impressions))

    def append_impressions(self, impressions: Sequence[Impression]) -> None:
        """``submit_impressions``, waited for."""
        self.submit_impressions(impressions).result()

    def recent(self, user_id: str, since_ms: int, before_ms: int, limit: int = 1_000) -> Recent:
        """The last ``limit`` events with ``since_ms <= ts < before_ms`` of the person whom ``user_id`` is.

        Who is who follows from all identity events before ``before_ms``, by the rules of ``features.identity``.

        Raises:
            StateError: The database cannot be read.
        """

        def read(connection: Connection) -> Recent:
            def said(ids: list[str]) -> list[Any]:
                return list(connection.execute(_SAID_OF_IDS, {"ids": ids, "before_ms": before_ms}))

            person, *others = ids = ids_of(user_id, said)
            asked = {"ids": ids, "since_ms": since_ms, "before_ms": before_ms, "limit": limit}
            rows = connection.execute(_LAST_OF_IDS, asked).all()
            return Recent(person, tuple(others), [_live_event(row) for row in reversed(rows)])

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

    def _submit(self, apply: Callable[[Connection], T]) -> Future[T]:
        outcome: Future[T] = Future()
        with self._closing:
            if self._closed:
                outcome.set_exception(StateError("state", "must be open", "closed"))
            else:
                self._waiting.put(_Write(apply, outcome))
        return outcome

    def _write_groups(self) -> None:
        is_open = True
        while is_open:
            group = [self._waiting.get()]
            while group[-1] is not None and len(group) < GROUP_SIZE and not self._waiting.empty():
                group.append(self._waiting.get())
            is_open = group[-1] is not None
            # A caller that gave up while it waited was promised nothing.
            writes = [write for write in group if write is not None and write.outcome.set_running_or_notify_cancel()]
            if writes:
                self._commit(writes)

    def _commit(self, writes: list[_Write]) -> None:
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

    def _commit_failed(self, writes: list[_Write], error: Exception) -> None:
        if isinstance(error, IntegrityError) and len(writes) > 1:
            # Another process wrote one of the ids meanwhile; each on its own, the others need not suffer for it.
            for write in writes:
                self._commit([write])
            return
        failure = _state_error(error) if isinstance(error, SQLAlchemyError) else error
        for write in writes:
            write.outcome.set_exception(failure)


def _insert_events(connection: Connection, events: Sequence[LiveEvent]) -> tuple[int, int]:
    ids = [posted.event_id for posted in events]
    stored = connection.execute(_BY_IDS, {"ids": ids}).all()
    known = {row.event_id: _live_event(row) for row in stored}
    fresh: list[dict[str, Any]] = []
    for posted in events:
        earlier = known.setdefault(posted.event_id, posted)
        if earlier is posted:
            fresh.append(posted._asdict())
        elif not _same_content(earlier, posted):
            mend = "send a new event under a new id, or repeat the old one unchanged"
            raise ConflictError(Columns.EVENT_ID, "must not be used for two different events", posted.event_id, mend)
    if fresh:
        connection.execute(sa.insert(_EVENTS), fresh)
    return len(fresh), len(events) - len(fresh)


def _insert_impressions(connection: Connection, impressions: Sequence[Impression]) -> None:
    if impressions:
        connection.execute(sa.insert(_IMPRESSIONS), [impression._asdict() for impression in impressions])


def _same_content(stored: LiveEvent, posted: LiveEvent) -> bool:
    """Whether ``posted`` repeats ``stored``; a time that the server gave differs from request to request."""
    dated_by_server = posted.ts == posted.received_ts
    ts = stored.ts if dated_by_server else posted.ts
    return posted._replace(ts=ts, received_ts=stored.received_ts) == stored


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


__all__ = ["BUSY_TIMEOUT_S", "GROUP_SIZE", "Impression", "LiveEvent", "Recent", "State", "StateError"]
