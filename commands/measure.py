"""The whole path at once, and how good and how fast it is: demo, benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import Json, write_json

#: Below this a benchmark says nothing.
_FEWEST_EVENTS = 10_000


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
    write_json(json_file, result)
