"""What keeps running: serve, and the pages of ui."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Host, State, state_url


def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 3000,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 1,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle; the champion's if absent.")] = None,
    state: State = None,
) -> None:
    """Answer over HTTP: POST /recommend, /related, /events; GET /readyz, /metrics, /openapi.json. Ctrl-C stops."""
    from experiments.terminal import terminal
    from features.errors import NotFoundError
    from serving import server
    from training.registry import champion

    console = terminal()
    try:
        folder, version = (bundle, None) if bundle else champion()
    except NotFoundError as missing:
        folder, version = None, None
        console.print(f"no champion yet: {missing}; events are accepted, /readyz says 503", style="yellow")
    url = state_url(state)
    with server.start(host, port, bundle=folder, state_url=url, workers=workers, version=version) as running:
        console.print(f"serving at {running.url}, log in {running.log}")
        status = running.wait()
    if status:
        raise typer.Exit(1)


def ui(host: Host = "127.0.0.1", port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Open MLflow's pages on the store that runs are recorded in. Ctrl-C stops."""
    from experiments.terminal import terminal
    from training.tracking_ui import serve_pages

    console = terminal()
    with console.status("starting MLflow") as status, serve_pages(host, port) as pages:
        status.stop()
        console.print(f"MLflow at {pages.address}")
        pages.wait()
