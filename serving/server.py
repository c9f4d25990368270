"""The service as processes: a BentoML supervisor with its workers, started, awaited and stopped from Python.

The one who starts it is the *launcher*. However the launcher ends, the service ends with it, so that no server that
nobody knows of keeps the port.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from features.errors import ConfigError, NotFoundError, StellarError
from features.home import home
from serving.state import State

SERVICE_NAME = "stellar"
BUNDLE_VARIABLE = "STELLAR_BUNDLE"
VERSION_VARIABLE = "STELLAR_VERSION"
STATE_VARIABLE = "STELLAR_STATE"
LAUNCHER_VARIABLE = "STELLAR_LAUNCHER"

#: How long a start may take: the models are loaded in it.
START_TIMEOUT_S = 120.0

#: How long requests may take to finish after a stop.
STOP_TIMEOUT_S = 10.0

#: How long a server that is just stopping may keep the port.
PORT_TIMEOUT_S = 5.0


class ServerError(StellarError):
    """The service did not start."""


def default_state_url() -> str:
    """The state database under ``home()``."""
    return f"sqlite:///{home() / 'state.db'}"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A service that answers at ``url``; its processes are ``process`` and its children, their output is in ``log``."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> int:
        """Block until the service ends by itself; returns its exit status."""
        return self.process.wait()

    def stop(self) -> None:
        """Let running requests finish, then end all processes. Stopping twice does no harm."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End all processes at once, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    host: str, port: int, *, bundle: Path | None, state_url: str, workers: int = 1, version: int | None = None
) -> RunningServer:
    """Start the service and wait until it answers.

    Args:
        host: Name or address to listen on.
        port: 0 chooses a free one.
        bundle: Folder of the bundle to serve. Without one the service asks the registry for the champion, and if there
            is none, it starts all the same: it accepts events and says at ``/readyz`` what is missing.
        state_url: Where events and impressions are kept.
        workers: Processes that answer.
        version: The number under which ``bundle`` is registered, if it is: answers tell it.

    Raises:
        ConfigError: The port is in use, the host is unknown, or the state's URL is not usable.
        StateError: The state database cannot be opened.
        ServerError: The service died, took too long, or could not load the bundle.
    """
    address = _address(host)
    port = _free_port(address, port)
    State.open(state_url).close()  # tables exist and mistakes surface here, once, not in every worker
    folder = home() / "serve" / str(port)
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "bentoml.yaml", folder / "service.log"
    config.write_text(yaml.safe_dump(_bentoml_config(workers)))
    environment = os.environ | {
        "BENTOML_CONFIG": str(config),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "STELLAR_HOME": str(home()),
        STATE_VARIABLE: state_url,
        LAUNCHER_VARIABLE: str(os.getpid()),
        # Threads of one request would only fight with those of the next.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    if bundle is not None:
        environment[BUNDLE_VARIABLE] = str(bundle.resolve())
        environment[VERSION_VARIABLE] = "" if version is None else str(version)
    code = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:stellar", "--working-dir", code]
    command += ["--host", address, "--port", str(port)]
    with log.open("wb") as output:
        # In a group of its own: Ctrl-C reaches the launcher alone, which stops the service in good order.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    server = RunningServer(f"http://{_bracketed(address)}:{port}", process, log)
    try:
        _await_ready(server, address, port, bundle)
    except BaseException:
        server.stop()
        raise
    return server


def follow_launcher() -> None:
    """Called in each worker: end the service when its launcher is gone, and this worker when its supervisor is."""
    if launcher := os.environ.get(LAUNCHER_VARIABLE):
        arguments = (int(launcher), os.getppid())
        threading.Thread(target=_watch, args=arguments, name="follow-launcher", daemon=True).start()


def _watch(launcher: int, supervisor: int) -> None:
    while os.getppid() == supervisor and _is_alive(launcher):
        time.sleep(0.25)
    os.kill(supervisor if os.getppid() == supervisor else os.getpid(), signal.SIGTERM)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _bentoml_config(workers: int) -> dict[str, Any]:
    service = {
        "workers": workers,
        # Both cost more than all that we do in a request.
        "logging": {"access": {"enabled": False}},
        "tracing": {"excluded_urls": ".*"},
    }
    return {"services": {SERVICE_NAME: service}}


def _address(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError("host", "must be a known name or address", host, "give 127.0.0.1 or 0.0.0.0") from error


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _free_port(address: str, port: int) -> int:
    deadline = time.monotonic() + PORT_TIMEOUT_S
    while True:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                return int(probe.getsockname()[1])
            except (OSError, OverflowError) as error:
                if time.monotonic() > deadline or not 0 < port < 65_536:
                    rule = "must be free and between 0 and 65535"
                    raise ConfigError("port", rule, port, "choose another or stop what listens there") from error
        time.sleep(0.1)


def _await_ready(server: RunningServer, address: str, port: int, bundle: Path | None) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if (status := server.process.poll()) is not None:
            raise ServerError("service", f"ended with status {status} while starting: {_last_lines(server.log)}")
        if _get(address, port, "/livez")[0] == 200:
            status, body = _get(address, port, "/readyz")
            if status == 503 and bundle is not None:
                error = json.loads(body)["error"]
                raise NotFoundError(error["field"], error["rule"], str(bundle), error["mend"])
            if status in (200, 503):
                return
        time.sleep(0.1)
    raise ServerError("service", f"must answer within {START_TIMEOUT_S:g} s: {_last_lines(server.log)}")


def _get(address: str, port: int, path: str) -> tuple[int, bytes]:
    """Status 0 while nobody listens."""
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _last_lines(log: Path, n: int = 5) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-n:]) or "no output"


__all__ = [
    "BUNDLE_VARIABLE",
    "LAUNCHER_VARIABLE",
    "SERVICE_NAME",
    "STATE_VARIABLE",
    "VERSION_VARIABLE",
    "RunningServer",
    "ServerError",
    "default_state_url",
    "follow_launcher",
    "start",
]
