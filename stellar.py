"""The command line: every verb imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from features.sources import SOURCES

app = typer.Typer(
    help="E-commerce personalisation: from a shop's event log to ranked, explained and measured recommendations.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Bring a shop's files in, describe them, or simulate a shop.", no_args_is_help=True)
features_app = typer.Typer(help="Compute user and item matrices as of an instant.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(features_app, name="features")

Json = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file.")]
Data = Annotated[Path, typer.Option("--data", help="Folder of a data set, as written by `stellar data ingest`.")]
AsOf = Annotated[str | None, typer.Option(help="2011-11-09, or 80% of the events; default: leaves one horizon.")]
Horizon = Annotated[float | None, typer.Option(help="Days after as-of whose purchases are the labels.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
SourceName = Annotated[str, typer.Option("--source", help=f"What the files are: {', '.join(SOURCES)}.")]
RejectShare = Annotated[float, typer.Option(help="Share of a table's rows that may break the contract.", min=0, max=1)]
PersonalData = Annotated[str, typer.Option(help="What looks like names, e-mails, phones: refuse, hash or drop.")]
AllowColumn = Annotated[list[str] | None, typer.Option(help="A column that holds none, whatever it looks like.")]
State = Annotated[str | None, typer.Option(help="Database of events and impressions, as a URL or an SQLite file.")]


#: Below this a benchmark says nothing.
_FEWEST_EVENTS = 10_000

#: Of a snapshot, for the progress bar.
_BUILD_STAGES = 9


@data_app.command("ingest")
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
    _write_json(json_file, report.to_json())


@data_app.command("append")
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
    _write_json(json_file, report.to_json())


@data_app.command("describe")
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


@data_app.command("simulate")
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


@features_app.command("build")
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
    _write_json(json_file, summary)


@features_app.command("list")
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
    _write_json(json_file, to_json())


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="bestsellers, history, cooccurrence, transformer, live or blend.")],
    data: Data,
    as_of: AsOf = None,
    horizon_days: Horizon = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_file: Json = None,
) -> None:
    """Fit a model on all that is known as of an instant, record it in MLflow and register it as challenger."""
    from experiments.single import train_one
    from experiments.terminal import bars
    from features.dataset import Dataset

    with bars() as (console, notify):
        result = train_one(Dataset.open(data), model, as_of, horizon_days, seed=seed, device=device, notify=notify)
    console.print(
        f"{model} as of {result['as_of']}: validation ndcg@20 {result['validation_ndcg@20']:.4f} over "
        f"{result['n_validation']:,} users, registered as version {result['version']}"
    )
    _write_json(json_file, result)


@app.command()
def compare(
    experiment: Annotated[Path, typer.Argument(help="YAML file of an experiment.")],
    export: Annotated[Path | None, typer.Option(help="Folder for each arm's lists as Parquet.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of the lifts, .png or .svg.")] = None,
    json_file: Json = None,
) -> None:
    """Run an offline A/B experiment: same users, same instant, paired intervals, a verdict per arm."""
    from experiments.compare import compare as run_comparison
    from experiments.experiment import read_experiment
    from experiments.plots import save_plot
    from experiments.render import render_report
    from experiments.terminal import bars
    from experiments.tracked import track
    from features.dataset import Dataset
    from features.engine import Engine

    wanted = read_experiment(experiment)
    dataset = Dataset.open(wanted.data)
    with bars() as (console, notify), Engine.duckdb() as engine:
        comparison = run_comparison(engine, dataset, wanted, notify)
        report = {
            **comparison.report,
            **track(comparison, dataset, wanted, lambda arm: notify(f"record {arm}", 0, 1, {})),
        }
    console.print(render_report(report))
    for arm, version in report["versions"].items():
        console.print(f"{arm} is version {version}: `stellar promote --version {version}`")
    if export is not None:
        comparison.export(export)
    if plot is not None and comparison.lifts:
        save_plot(comparison.plot(), [plot])
    _write_json(json_file, report)


@app.command()
def evaluate(
    recommendations: Annotated[Path, typer.Option(help="Parquet file with user_id, item_id and rank.")],
    data: Data,
    as_of: AsOf = None,
    horizon_days: Horizon = None,
    k: Annotated[int, typer.Option(help="Length of the lists.", min=1, max=1000)] = 20,
    replay: Annotated[str, typer.Option(help="as_of, or live: in the middle of a session.")] = "as_of",
    json_file: Json = None,
) -> None:
    """Score a file of recommendations made anywhere, on the same users and labels as the arms of an experiment."""
    from experiments.evaluate import evaluate as score
    from experiments.terminal import terminal
    from features.dataset import Dataset

    result = score(Dataset.open(data), recommendations, as_of, horizon_days, k, replay)
    for group, numbers in result["groups"].items():
        told = ", ".join(f"{name} {value['mean']:.4f}" for name, value in numbers["metrics"].items())
        terminal().print(f"{numbers['n_users']:,} {group} users: {told}")
    _write_json(json_file, result)


@app.command()
def promote(
    version: Annotated[int | None, typer.Option(help="Registered version; the challenger if absent.", min=1)] = None,
    force: Annotated[bool, typer.Option("--force", help="Although the verdict is not ship; this is recorded.")] = False,
) -> None:
    """Make a registered bundle the champion, if its verdict is ship."""
    from experiments.promote import promote as make_champion
    from experiments.terminal import terminal

    promotion = make_champion(version, force=force)
    told = f"by force, its verdict being {promotion.verdict}" if promotion.forced else "on the verdict ship"
    terminal().print(f"version {promotion.version.number} ({promotion.version.tags.get('arm')}) is champion, {told}")


@app.command()
def recommend(
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    k: Annotated[int, typer.Option(help="Items per user.", min=1, max=500)] = 20,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle; the champion's if absent.")] = None,
) -> None:
    """Write the champion's recommendations for all users it knows, as of its snapshot."""
    from experiments.terminal import bars
    from serving.batch import recommend_all
    from training.bundle import Bundle
    from training.registry import champion_folder

    loaded = Bundle.load(bundle or champion_folder())
    with bars() as (console, notify):
        rows = recommend_all(loaded, k, out, lambda done, of: notify("recommend", done, of, {}))
    console.print(f"{rows:,} rows for {len(loaded.users):,} users in {out}")


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 3000,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 1,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle; the champion's if absent.")] = None,
    state: State = None,
) -> None:
    """Answer over HTTP: POST /recommend, POST /events, /livez, /readyz, /metrics, /openapi.json. Ctrl-C stops."""
    from experiments.terminal import terminal
    from features.errors import NotFoundError
    from serving import server
    from training.registry import champion_folder

    console = terminal()
    try:
        folder = bundle or champion_folder()
    except NotFoundError as missing:
        folder = None
        console.print(f"no champion yet: {missing}; events are accepted, /readyz says 503", style="yellow")
    with server.start(host, port, bundle=folder, state_url=_state_url(state), workers=workers) as running:
        console.print(f"serving at {running.url}, log in {running.log}")
        status = running.wait()
    if status:
        raise typer.Exit(1)


@app.command()
def ui(host: Host = "127.0.0.1", port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Open MLflow's pages on the store that runs are recorded in. Ctrl-C stops."""
    from experiments.terminal import terminal
    from training.tracking_ui import serve_pages

    console = terminal()
    with console.status("starting MLflow") as status, serve_pages(host, port) as pages:
        status.stop()
        console.print(f"MLflow at {pages.address}")
        pages.wait()


@app.command()
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
    _write_json(json_file, result)


@app.command()
def benchmark(
    name: Annotated[str, typer.Argument(help="simulated-shop or features.")],
    seeds: Annotated[int, typer.Option(help="How many shops: simulated-shop.", min=1)] = 5,
    events: Annotated[int | None, typer.Option(help="Of each shop; default 200,000, features 20,000,000.")] = None,
    json_file: Json = None,
) -> None:
    """Measure the platform: what it finds where the truth is known, and how fast it is."""
    from experiments.terminal import bars
    from features.errors import ConfigError, NotFoundError

    if events is not None and events < _FEWEST_EVENTS:
        raise ConfigError("--events", f"must be at least {_FEWEST_EVENTS}", events)
    result: dict[str, Any]
    if name == "simulated-shop":
        from experiments.benchmarks.simulated_shop import benchmark_simulated_shop, render_benchmark

        with bars() as (console, notify):
            result = benchmark_simulated_shop(range(seeds), events or 200_000, notify)
        console.print(render_benchmark(result))
    elif name == "features":
        from experiments.benchmarks.features.run import benchmark_features, render_features

        with bars() as (console, notify):
            result = benchmark_features(events or 20_000_000, notify=notify)
        console.print(render_features(result))
    else:
        raise NotFoundError("benchmark", "must be a known one", name, "choose simulated-shop or features")
    _write_json(json_file, result)


def _members(engine: Any, users: Any, path: Path) -> Any:
    """(n users x n segments) who belongs to which segment of a YAML file."""
    from features.segments.columns import schema_of
    from features.segments.definitions import read_segments
    from features.segments.membership import memberships

    return memberships(engine, users, read_segments(path, schema_of(users)))


def _home() -> Path:
    from features.home import home

    return home()


def _state_url(state: str | None) -> str:
    from serving import server

    if state is None:
        return server.default_state_url()
    return state if "://" in state else f"sqlite:///{Path(state).resolve()}"


def _with_state(dataset: Any, state: str) -> Any:
    """The data set and what the service recorded since, as one data set."""
    from features.append import with_recorded
    from serving.state import State as Database

    database = Database.open(_state_url(state))
    try:
        return with_recorded(dataset, database.events_frame(), database.impressions_frame(), _home() / "recorded")
    finally:
        database.close()


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Run a verb. What the caller can mend is one line and exit status 2."""
    from features.errors import StellarError

    # Asked to end, we end as on any other exit: servers are stopped, half-made files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        # Typer's own way of telling a mistake takes three lines.
        status = app(standalone_mode=False)
    except typer.TyperException as error:
        _fail(_usage(error))
    except StellarError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}")
    sys.exit(status)


def _usage(error: typer.TyperException) -> str:
    """What is wrong with the arguments and where to read more; the help itself if there are none."""
    from pydantic import ValidationError

    told = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None or told == context.get_help():
        return told
    if isinstance(error.__cause__, ValidationError):
        told = f"{told.rstrip('.')}, received {error.__cause__.errors()[0]['input']!r}"
    return f"{told.rstrip('.')}; see `{context.command_path} --help`"


def _fail(told: str) -> NoReturn:
    is_help = told.startswith("Usage:")
    print(told if is_help else f"stellar: {' '.join(told.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
