"""The peer's own virtual environment: it wants an older NumPy than stellar does."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from features.errors import StellarError
from features.home import home
from training.train import Notify

#: Every package that the peer runs with, and its version.
REQUIREMENTS = Path(__file__).with_name("peer_requirements.txt")


class PeerError(StellarError):
    """The peer library cannot be installed, or does not train."""


def peer_python(notify: Notify, requirements: Path = REQUIREMENTS) -> Path:
    """The interpreter of an environment with exactly ``requirements``, under stellar's home.

    It is made once, and again when the requirements or this Python change; what pip downloads follows pip's own
    settings (``PIP_INDEX_URL``, ``PIP_FIND_LINKS``, ...).

    Raises:
        PeerError: It cannot be made; the message has pip's last word, the log that it names all of them.
    """
    made_of = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = home() / "peers" / "rectools"
    python, ready, log = folder / "bin" / "python", folder / "ready", folder.with_suffix(".log")
    if not python.is_file() or not ready.is_file() or ready.read_text() != made_of:
        notify("the peer's environment", 0, 1, {})
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            venv.create(folder, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            mend = "install Python's venv module (python3-venv), or free space"
            raise PeerError(str(folder), "must become a virtual environment", error, mend) from error
        _install(python, requirements, log)
        ready.write_text(made_of)
    notify("the peer's environment", 1, 1, {})
    return python


def _install(python: Path, requirements: Path, log: Path) -> None:
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    with log.open("wb") as output:
        done = subprocess.run(
            [*command, "--requirement", str(requirements)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    if done.returncode:
        mend = (
            f"see {log}; pip must reach an index with the packages of {requirements.name} for this Python "
            "(PIP_INDEX_URL, PIP_FIND_LINKS), then run again"
        )
        raise PeerError("the peer's environment", "must be made by pip", last_line(log), mend)


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; of pip's, the last that is an error."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["nothing was said"])[-1]


__all__ = ["REQUIREMENTS", "PeerError", "last_line", "peer_python"]
