"""Put a folder in place in one step: whoever looks finds the old one or the new one, never half of it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features.errors import ConfigError, ConflictError, StellarError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: How a full disk shows in the messages of libraries that do not pass on its number.
_FULL_WORDS = (*(os.strerror(number) for number in _FULL), "failed to offload data block")


@contextmanager
def replacing(folder: Path, marker: str) -> Iterator[Path]:
    """A new empty folder to write into, which becomes ``folder`` if the block ends without an error, else is removed.

    Two hidden folders beside ``folder`` are used, and cleaned up by the next run if this one is killed. A hidden lock
    beside them is held meanwhile, which the system lets go of however this process ends.

    Args:
        folder: Does not exist, is empty, or holds ``marker``: anything else is somebody's and stays.
        marker: Name of the file that tells what may be replaced.

    Raises:
        ConflictError: ``folder`` holds something else, or is just being replaced by another run.
        ConfigError: Nothing can be written there, or there is no room.
    """
    folder = folder.absolute()
    if folder.exists() and not is_replaceable(folder, marker):
        raise ConflictError(
            str(folder), f"must be new, empty, or hold {marker}", "a folder or file of something else", "choose another"
        )
    work, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced"))
    with _locked(folder):
        _recover(folder, old)
        shutil.rmtree(work, ignore_errors=True)
        try:
            work.mkdir()
            yield work
            if folder.exists():
                folder.rename(old)
            work.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        except Exception as error:
            if not _is_full(error):
                raise
            rule, mend = "must have room for what is written", "free space there, or choose another place"
            raise ConfigError(str(folder.parent), rule, "a full disk", mend) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
            _recover(folder, old)


def is_replaceable(folder: Path, marker: str) -> bool:
    """Whether ``folder`` is empty or holds ``marker``."""
    return folder.is_dir() and ((folder / marker).is_file() or not any(folder.iterdir()))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the one lock on ``folder``, which need not exist."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = _take(path)
    except BlockingIOError:
        received, mend = "another run that writes it", "wait until that has ended"
        raise ConflictError(str(folder), "must be written by one run at a time", received, mend) from None
    except OSError as error:
        raise ConfigError(str(folder), "must be a place to write to", error.strerror, "choose another") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _take(path: Path) -> int:
    """Lock the file at ``path``, and make sure that it is still the one there: its last holder removed it."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _is_full(error: BaseException) -> bool:
    """Whether a full disk is behind it, by the error itself or by the one that it stands for."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__context__) is not None:
        causes.append(cause)
    foreign = [cause for cause in causes if not isinstance(cause, StellarError)]  # stellar's may quote a shop's data
    return any(
        (isinstance(cause, OSError) and cause.errno in _FULL) or any(words in str(cause) for words in _FULL_WORDS)
        for cause in foreign
    )


def _recover(folder: Path, old: Path) -> None:
    """After a death between the two renames the old folder comes back; after one behind them it goes."""
    if old.exists() and not folder.exists():
        old.rename(folder)
    else:
        shutil.rmtree(old, ignore_errors=True)


__all__ = ["is_replaceable", "replacing"]
