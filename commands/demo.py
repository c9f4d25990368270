"""`stellar demo`: the whole path at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import Json, write_json


def demo(
    data: Annotated[Path | None, typer.Option(help="A shop's files; a simulated shop if absent.")] = None,
    source: Annotated[str, typer.Option(help="What the files are, as in `stellar data ingest`.")] = "tables",
    events: Annotated[int, typer.Option(help="Events of the simulated shop.", min=1_000)] = 200_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json_file: Json = None,
) -> None:
    """The whole path: events, features, models, a verdict in MLflow, ranked answers over HTTP."""
    from experiments.demo import run_demo
    from experiments.terminal import bars

    with bars() as (console, notify):
        result = run_demo(console, notify, data=data, source=source, events=events, seed=seed)
    write_json(json_file, result)
