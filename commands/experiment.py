"""Offline A/B experiments: compare, backtest, evaluate, promote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import AsOf, Data, Horizon, Json, write_json


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
    from experiments.verdict import Verdict
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
        found = report["arms"][arm]
        ships = found.get("verdict") == Verdict.SHIP
        how = (
            f"`stellar promote --version {version}`" if ships else f"no champion, {found.get('reason', 'the control')}"
        )
        console.print(f"{arm} is version {version}: {how}")
    if export is not None:
        comparison.export(export)
    if plot is not None and comparison.lifts:
        save_plot(comparison.plot(), [plot])
    write_json(json_file, report)


def backtest(
    experiment: Annotated[Path, typer.Argument(help="YAML file of an experiment.")],
    origins: Annotated[int, typer.Option(help="Instants to run it at, the last being its own.", min=2, max=100)] = 3,
    step_days: Annotated[float | None, typer.Option(help="Between two; the label window's length if absent.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of the figures over time, .png or .svg.")] = None,
    json_file: Json = None,
) -> None:
    """Run an experiment at several instants: how far its figures spread over time."""
    from experiments.backtest import backtest as run_backtest
    from experiments.backtest import track_backtest
    from experiments.backtest_render import backtest_plot, render_backtest
    from experiments.experiment import read_experiment
    from experiments.plots import save_plot
    from experiments.terminal import bars
    from features.dataset import Dataset
    from features.engine import Engine

    wanted = read_experiment(experiment)
    dataset = Dataset.open(wanted.data)
    with bars() as (console, notify), Engine.duckdb() as engine:
        found = run_backtest(engine, dataset, wanted, origins, step_days, notify)
    report = {**found.report, "run_id": track_backtest(found, dataset, wanted)}
    console.print(render_backtest(report))
    if plot is not None:
        save_plot(backtest_plot(report), [plot])
    write_json(json_file, report)


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
    write_json(json_file, result)


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
