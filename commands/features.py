"""`stellar features`: user and item matrices as of an instant, and what each feature means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import AsOf, Json, State, state_url, write_json

app = typer.Typer(help="Compute user and item matrices as of an instant.", no_args_is_help=True)

#: Of a snapshot, for the progress bar.
_BUILD_STAGES = 9


@app.command("build")
def features_build(
    data: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the snapshot to write.")],
    as_of: AsOf = None,
    since: Annotated[Path | None, typer.Option(help="Earlier snapshot: only what has come since is read.")] = None,
    segments: Annotated[Path | None, typer.Option(help="YAML file of segments: their members are written too.")] = None,
    engine_name: Annotated[
        str, typer.Option("--engine", help="duckdb, or spark for more than one machine.")
    ] = "duckdb",
    memory_gb: Annotated[float | None, typer.Option(help="Limit of the engine's memory; it spills to disk.")] = None,
    state: State = None,
    json_file: Json = None,
) -> None:
    """Compute the user matrix, item matrix, interactions and sequences as of an instant.

    With --since the result is the same as without, and sooner. With --state, what the service recorded is read as part
    of the data set.
    """
    from experiments.terminal import bars
    from features.basis import Basis
    from features.dataset import Dataset
    from features.engine import Engine
    from features.instants import iso, parse_instant
    from features.replace import replacing
    from features.snapshot import BASIS, FILE, build_snapshot

    with bars() as (console, notify), Engine.named(engine_name, memory_gb) as engine:
        dataset = Dataset.open(data)
        if state is not None:
            dataset = _with_state(dataset, state)
        as_of_ms = dataset.last_ms + 1 if as_of is None else parse_instant(as_of, dataset, engine)
        basis = None if since is None else Basis.load(since / BASIS)
        told: list[str] = []

        def stage(name: str) -> None:
            told.append(name)
            notify("features", len(told), _BUILD_STAGES, {})
            if name.startswith("all events"):
                console.print(f"reading {name}", style="yellow")

        snapshot = build_snapshot(engine, dataset, as_of_ms, basis, stage)
        members = None if segments is None else _members(engine, snapshot.user_matrix, segments)
        with replacing(out, FILE) as work:
            snapshot.save(work)
            if members is not None:
                members.to_parquet(work / "segments.parquet")
    summary = {
        "as_of": iso(as_of_ms),
        "digest": snapshot.digest,
        "users": len(snapshot.users),
        "items": len(snapshot.items),
        "events": len(snapshot.sequences.items),
        "user_features": list(snapshot.user_matrix.columns),
        "item_features": list(snapshot.item_matrix.columns),
        **({} if members is None else {"segments": {name: int(members[name].sum()) for name in members}}),
    }
    console.print(
        f"as of {summary['as_of']}: {summary['users']:,} users x {len(snapshot.user_matrix.columns)} features, "
        f"{summary['items']:,} items x {len(snapshot.item_matrix.columns)}, digest {snapshot.digest[:12]}, in {out}"
    )
    if members is not None:
        for name in members:
            console.print(f"segment {name}: {int(members[name].sum()):,} users")
    write_json(json_file, summary)


@app.command("list")
def features_list(
    html: Annotated[Path | None, typer.Option(help="Also write the dictionary as a page.")] = None,
    json_file: Json = None,
) -> None:
    """Say what every feature means: unit, level, whether it was told or seen, and the consent it needs."""
    from rich.table import Table

    from experiments.terminal import terminal
    from features.dictionary.entries import entries, to_json
    from features.dictionary.page import write_dictionary

    table = Table("of", "feature", "meaning", "unit", "level", "origin", "needs consent to")
    for entry in entries():
        table.add_row(entry.entity, entry.name, entry.meaning, entry.unit, entry.level, entry.origin, entry.purpose)
    terminal().print(table)
    if html is not None:
        write_dictionary(entries(), html)
    write_json(json_file, to_json())


def _members(engine: Any, users: Any, path: Path) -> Any:
    """(n users x n segments) who belongs to which segment of a YAML file."""
    from features.segments.columns import schema_of
    from features.segments.definitions import read_segments
    from features.segments.membership import memberships

    return memberships(engine, users, read_segments(path, schema_of(users)))


def _with_state(dataset: Any, state: str) -> Any:
    """The data set and what the service recorded since, as one data set."""
    from features.append import with_recorded
    from features.home import home
    from serving.state import State as Database

    database = Database.open(state_url(state))
    try:
        return with_recorded(dataset, database.events_frame(), database.impressions_frame(), home() / "recorded")
    finally:
        database.close()
