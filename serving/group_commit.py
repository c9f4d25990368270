"""One thread that writes what many callers want written, all that wait in one transaction."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from features.errors import StellarError

#: Requests that one transaction carries at most.
GROUP_SIZE = 256

T = TypeVar("T")


class StateError(StellarError):
    """The state database cannot be used: full, locked, unreachable or not a database. Nothing was acknowledged."""


class Write(NamedTuple):
    """What one caller wants written, given a connection, and where it waits for the outcome."""

    apply: Callable[[Any], Any]
    outcome: Future[Any]


class GroupCommit:
    """A queue of writes and the thread that takes groups from it.

    With a transaction per caller, 16 writers spend their time waiting for each other's lock: measured, the slowest
    hundredth waited over 100 ms.
    """

    def __init__(self, commit: Callable[[list[Write]], None]) -> None:
        """``commit`` writes a group and sets the outcomes; it raises nothing."""
        self._commit = commit
        self._waiting: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._writer = threading.Thread(target=self._write_groups, name="state-writer", daemon=True)
        self._writer.start()

    def submit(self, apply: Callable[[Any], T]) -> Future[T]:
        """Put a write into the queue; once closed, the future holds a StateError."""
        outcome: Future[T] = Future()
        with self._closing:
            if self._closed:
                outcome.set_exception(StateError("state", "must be open", "closed"))
            else:
                self._waiting.put(Write(apply, outcome))
        return outcome

    def close(self) -> None:
        """Commit what is waiting, and take no more."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._writer.join()

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


__all__ = ["GROUP_SIZE", "GroupCommit", "StateError", "Write"]
