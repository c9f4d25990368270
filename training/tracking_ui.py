"""MLflow's pages in the browser, on the store that stellar writes to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from features.errors import ConfigError
from features.home import home
from training.tracking import artifact_root, client, store_uri

_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 10.0
#: Opens the list of experiments for trained models; without it the pages start with those for language models.
_PAGE = "#/experiments?workflowType=machine_learning"


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages while they are served: where, and the server if it is ours."""

    address: str
    server: subprocess.Popen[bytes] | None

    def wait(self) -> None:
        """Block until the server ends; returns at once if it is not ours."""
        if self.server is not None:
            self.server.wait()


@contextmanager
def serve_pages(
    host: str = "127.0.0.1", port: int = 5000, *, waiting: Callable[[float], None] | None = None
) -> Iterator[Pages]:
    """Serve MLflow's pages until the block ends; inside it they answer.

    Args:
        host: The address to listen on; a name or 0.0.0.0 for other machines.
        port: A free port.
        waiting: Called with the seconds waited so far, about five times a second, until the server answers.
    """
    store = store_uri()
    if store.startswith(("http://", "https://")):
        yield Pages(f"{store.rstrip('/')}/{_PAGE}", None)
        return
    _require_free(host, port)
    client()  # creates the tables of a new store here, where an error can be told
    log = home() / "logs" / "mlflow-ui.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        server = subprocess.Popen(
            _command(store, host, port),
            stdout=output,
            stderr=subprocess.STDOUT,
            # Job execution is for evaluating language models and would start a second server.
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,  # so that Ctrl-C reaches us first and the whole group ends with the block
        )
    try:
        near = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}/"
        _wait_until_answers(server, near, log, waiting)
        yield Pages(near + _PAGE, server)
    finally:
        _stop(server)


def _command(store: str, host: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--host", host, "--port", str(port)]
    root = artifact_root()
    return [*command, "--default-artifact-root", root] if root else command


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigError("port", f"must be free on {host}: {error}", port, "choose another with --port") from None


def _wait_until_answers(
    server: subprocess.Popen[bytes], address: str, log: Path, waiting: Callable[[float], None] | None
) -> None:
    begin = time.monotonic()
    while (waited := time.monotonic() - begin) < _START_LIMIT_S and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}health", timeout=2).close()
            return
        except OSError:
            if waiting is not None:
                waiting(waited)
            time.sleep(0.2)
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    raise ConfigError("MLflow's server", f"must answer within {_START_LIMIT_S:.0f} s: {lines[-1]}", mend=f"read {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: asked first, then made to."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, kind)
            server.wait(_STOP_LIMIT_S)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


__all__ = ["Pages", "serve_pages"]
