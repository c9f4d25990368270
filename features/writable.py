"""Whether a file can be written, asked before the work whose result it is to hold."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from features.errors import ConfigError


def check_writable(option: str, path: Path) -> None:
    """Make the folder of ``path`` if there is none.

    Args:
        option: What named the file.

    Raises:
        ConfigError: ``path`` is a folder, or cannot be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        rule, mend = f"must be a file that can be written: {error.strerror}", "name a file in another folder"
        raise ConfigError(option, rule, str(path), mend) from None


__all__ = ["check_writable"]
