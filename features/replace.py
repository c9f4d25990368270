"""Put a folder in place in one step: whoever looks finds the old one or the new one, never half of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features.errors import ConfigError, ConflictError


@contextmanager
def replacing(folder: Path, marker: str) -> Iterator[Path]:
    """A new empty folder to write into, which becomes ``folder`` if the block ends without an error, else is removed.

    Two hidden folders beside ``folder`` are used, and cleaned up by the next run if this one is killed.

    Args:
        folder: Does not exist, is empty, or holds ``marker``: anything else is somebody's and stays.
        marker: Name of the file that tells what may be replaced.

    Raises:
        ConflictError: ``folder`` holds something else.
        ConfigError: Nothing can be written there.
    """
    folder = folder.absolute()
    if folder.exists() and not is_replaceable(folder, marker):
        raise ConflictError(
            str(folder), f"must be new, empty, or hold {marker}", "a folder or file of something else", "choose another"
        )
    work, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced"))
    _recover(folder, old)
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(str(folder), "must be a place to write to", error.strerror, "choose another") from None
    try:
        yield work
        if folder.exists():
            folder.rename(old)
        work.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        _recover(folder, old)


def is_replaceable(folder: Path, marker: str) -> bool:
    """Whether ``folder`` is empty or holds ``marker``."""
    return folder.is_dir() and ((folder / marker).is_file() or not any(folder.iterdir()))


def _recover(folder: Path, old: Path) -> None:
    """After a death between the two renames the old folder comes back; after one behind them it goes."""
    if old.exists() and not folder.exists():
        old.rename(folder)
    else:
        shutil.rmtree(old, ignore_errors=True)


__all__ = ["is_replaceable", "replacing"]
