"""Which code, by whom, made a result."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import json
import subprocess
from pathlib import Path


@functools.cache
def code_revision() -> dict[str, str]:
    """Tags of a run; MLflow shows those that begin with its own name in columns.

    The git commit is stellar's own and is only stated when this code runs from a git work tree; ``git_dirty`` then says
    whether tracked files differ from that commit.
    """
    tags = {"mlflow.source.name": "stellar", "mlflow.source.type": "LOCAL", "mlflow.user": _user()}
    tags["stellar_version"] = _version() or "not installed"
    here = Path(__file__)
    if _git(here.parent, "ls-files", here.name):  # else this file only lies in somebody else's work tree
        tags["mlflow.source.git.commit"] = _git(here.parent, "rev-parse", "HEAD")
        tags["git_dirty"] = json.dumps(bool(_git(here.parent, "status", "--porcelain", "--untracked-files=no")))
    return tags


def stellar_requirement() -> str:
    """What pip has to install so that a registered bundle answers elsewhere."""
    version = _version()
    return f"stellar=={version}" if version else "stellar"


def _version() -> str | None:
    try:
        return importlib.metadata.version("stellar")
    except importlib.metadata.PackageNotFoundError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number without a name
        return "unknown"


def _git(folder: Path, *command: str) -> str:
    """What git answers in a folder; nothing where there is no git or no work tree."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


__all__ = ["code_revision", "stellar_requirement"]
