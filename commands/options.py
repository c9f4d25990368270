"""What several verbs share: options, and the JSON file that a result goes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from features.sources import SOURCES
from features.writable import check_writable


def writable(option: str) -> Callable[[Path | None], Path | None]:
    """A callback that refuses a file that cannot be written before hours of work end in it."""

    def checked(path: Path | None) -> Path | None:
        if path is not None:
            check_writable(option, path)
        return path

    return checked


Json = Annotated[
    Path | None, typer.Option("--json", help="Also write the result to this file.", callback=writable("--json"))
]
Data = Annotated[Path, typer.Option("--data", help="Folder of a data set, as written by `stellar data ingest`.")]
AsOf = Annotated[str | None, typer.Option(help="2011-11-09, or 80% of the events; default: leaves one horizon.")]
Horizon = Annotated[float | None, typer.Option(help="Days after as-of whose purchases are the labels.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
SourceName = Annotated[str, typer.Option("--source", help=f"What the files are: {', '.join(SOURCES)}.")]
RejectShare = Annotated[float, typer.Option(help="Share of a table's rows that may break the contract.", min=0, max=1)]
PersonalData = Annotated[str, typer.Option(help="What looks like names, e-mails, phones: refuse, hash or drop.")]
AllowColumn = Annotated[list[str] | None, typer.Option(help="A column that holds none, whatever it looks like.")]
State = Annotated[str | None, typer.Option(help="Database of events and impressions, as a URL or an SQLite file.")]


def state_url(state: str | None) -> str:
    """The database that ``--state`` names, as a URL."""
    from serving import server

    if state is None:
        return server.default_state_url()
    return state if "://" in state else f"sqlite:///{Path(state).resolve()}"


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write what ``--json`` asks for, if it asks."""
    if path is None:
        return
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
