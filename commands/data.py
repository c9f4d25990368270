"""`stellar data`: bring a shop's files in, describe them, or simulate a shop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import AllowColumn, Json, PersonalData, RejectShare, SourceName, write_json

app = typer.Typer(help="Bring a shop's files in, describe them, or simulate a shop.", no_args_is_help=True)


@app.command("ingest")
def data_ingest(
    folder: Annotated[Path, typer.Argument(help="Folder with the shop's files.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set to write.")],
    source: SourceName = "tables",
    max_reject_share: RejectShare = 0.01,
    personal_data: PersonalData = "refuse",
    allow_column: AllowColumn = None,
    json_file: Json = None,
) -> None:
    """Check a shop's files against the contract, row by row, and write a data set; every reject is accounted for."""
    from experiments.terminal import bars
    from features.dataset import Dataset
    from features.describe import describe, render
    from features.ingest import ingest
    from features.personal_policy import PersonalDataPolicy

    policy = PersonalDataPolicy.of(personal_data, allow_column or ())
    with bars() as (console, notify):
        report = ingest(
            folder,
            source,
            out,
            max_reject_share=max_reject_share,
            progress=lambda table, done, of: notify(table, done, of, {}),
            personal_data=policy,
        )
    console.print(render(describe(Dataset.open(out))))
    write_json(json_file, report.to_json())


@app.command("append")
def data_append(
    dataset: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    folder: Annotated[Path, typer.Argument(help="Folder with more files of the shop.")],
    source: SourceName = "tables",
    max_reject_share: RejectShare = 0.01,
    personal_data: PersonalData = "refuse",
    allow_column: AllowColumn = None,
    json_file: Json = None,
) -> None:
    """Add another delivery to a data set; rows that are there already change nothing."""
    from experiments.terminal import bars
    from features.append import append
    from features.personal_policy import PersonalDataPolicy

    policy = PersonalDataPolicy.of(personal_data, allow_column or ())
    with bars() as (console, notify):
        report = append(
            dataset,
            folder,
            source,
            max_reject_share=max_reject_share,
            progress=lambda table, done, of: notify(table, done, of, {}),
            personal_data=policy,
        )
    for name, table in report.tables.items():
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in (table.policy | table.contract).items())
        console.print(f"{name}: {table.accepted:,} of {table.rows_in:,} rows added{f'; {reasons}' if reasons else ''}")
    write_json(json_file, report.to_json())


@app.command("describe")
def data_describe(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    html: Annotated[Path | None, typer.Option(help="The page; default: in .stellar/cards.")] = None,
    as_of: Annotated[str | None, typer.Option(help="Only what could be read then: 2011-11-09, or 80%.")] = None,
    json_file: Json = None,
) -> None:
    """Write a data card: what a data set holds, whether it drifts, and what can and cannot be learned from it."""
    from experiments.terminal import bars
    from features.card.card import data_card
    from features.card.page import default_page, write_card
    from features.dataset import Dataset
    from features.describe import render
    from features.engine import Engine
    from features.instants import parse_instant

    dataset = Dataset.open(folder)
    with bars() as (console, notify), Engine.duckdb() as engine:
        as_of_ms = None if as_of is None else parse_instant(as_of, dataset, engine)
        page = default_page(dataset, as_of_ms) if html is None else html
        card = data_card(engine, dataset, as_of_ms, lambda stage, done, of: notify(stage, done, of, {}))
    write_card(card, page, json_file)
    console.print(render(card))
    console.print(f"data card in {page}")


@app.command("simulate")
def data_simulate(
    out: Annotated[Path, typer.Option(help="Folder to write events, items and users to.")],
    events: Annotated[int, typer.Option(help="About how many events.", min=1_000, max=50_000_000)] = 200_000,
    seed: Annotated[int, typer.Option(help="Everything follows from it.", min=0)] = 0,
    null: Annotated[bool, typer.Option("--null", help="A shop without any taste: nothing to personalise.")] = False,
) -> None:
    """Write the log of a simulated shop with planted tastes, as files that `stellar data ingest` reads."""
    from experiments.terminal import bars
    from features.shop import Shop, ShopConfig

    with bars() as (console, notify):
        counts = Shop(ShopConfig.of(seed=seed, events=events, null=null)).write(
            out, progress=lambda done, of: notify("simulate", done, of, {})
        )
    console.print(", ".join(f"{count:,} {table}" for table, count in counts.items()), f"in {out}")
