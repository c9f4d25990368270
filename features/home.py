"""The one folder under which everything is written."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """``STELLAR_HOME``, or ``.stellar`` in the working directory, as an absolute path; it is not created by asking."""
    return Path(os.environ.get("STELLAR_HOME") or ".stellar").expanduser().resolve()


__all__ = ["home"]
