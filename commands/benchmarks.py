"""`stellar benchmark NAME`: what each one needs, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import Json, write_json

#: Below this a benchmark says nothing.
_FEWEST_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for; None where the benchmark decides."""

    data: Path | None
    seeds: int | None
    events: int | None
    items: int | None
    plot: Path | None
    keep: Path | None
    minutes: float | None
    workers: int | None
    notify: Callable[..., None]

    def folder(self) -> Path:
        """The folder of published data."""
        from features.errors import ConfigError, NotFoundError

        if self.data is None:
            raise ConfigError("--data", "is required", mend="name the folder of the published data")
        if not self.data.is_dir():
            raise NotFoundError("--data", "must be a folder", str(self.data))
        return self.data

    def seed_range(self, default: int) -> range:
        """As many seeds as were asked for."""
        return range(self.seeds or default)


def _simulated_shop(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.simulated_shop import benchmark_simulated_shop, render_benchmark

    return benchmark_simulated_shop(asked.seed_range(5), asked.events or 200_000, asked.notify), render_benchmark


def _features(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.features.run import benchmark_features, render_features

    return benchmark_features(asked.events or 20_000_000, notify=asked.notify), render_features


def _leave_one_out(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.published.leave_one_out import benchmark_leave_one_out
    from experiments.benchmarks.published.render import render_leave_one_out

    return benchmark_leave_one_out(
        asked.folder(), asked.seed_range(3), asked.notify, keep=asked.keep
    ), render_leave_one_out


def _split(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.published.render import render_split
    from experiments.benchmarks.published.split import benchmark_split

    return benchmark_split(asked.folder(), asked.seed_range(3), asked.notify, keep=asked.keep), render_split


def _sessions(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.published.sessions import benchmark_sessions, render_sessions

    return benchmark_sessions(asked.folder(), asked.seed_range(3), asked.notify, keep=asked.keep), render_sessions


def _campaigns(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.campaigns.report import render_campaigns
    from experiments.benchmarks.campaigns.rolling import benchmark_campaigns

    return benchmark_campaigns(asked.folder(), asked.seed_range(3), asked.notify), render_campaigns


def _intent(asked: _Asked) -> tuple[dict[str, Any], Any]:
    if asked.data is None:
        from experiments.benchmarks.intent.planted import benchmark_planted_intent, render_planted_intent

        return benchmark_planted_intent(asked.seed_range(5), asked.notify), render_planted_intent
    from experiments.benchmarks.intent.online_shoppers import benchmark_online_shoppers, render_online_shoppers

    return benchmark_online_shoppers(asked.folder(), asked.seed_range(5), asked.notify), render_online_shoppers


def _session_intent(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.intent.later_sessions import benchmark_later_sessions, render_later_sessions

    folder = asked.folder()
    return benchmark_later_sessions(folder, folder.name, asked.seed_range(3), asked.notify), render_later_sessions


def _value(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.value.cdnow import benchmark_value, render_value

    return benchmark_value(asked.folder(), asked.seed_range(3), asked.notify, asked.plot), render_value


def _serving(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.serving.run import benchmark_serving, render_serving

    return benchmark_serving(asked.events or 200_000, asked.notify, workers=asked.workers), render_serving


def _training(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.training.run import benchmark_training, render_training

    minutes = 60.0 if asked.minutes is None else asked.minutes
    return benchmark_training(asked.folder(), minutes, asked.notify), render_training


def _catalogue(asked: _Asked) -> tuple[dict[str, Any], Any]:
    from experiments.benchmarks.catalogue.run import benchmark_catalogue, render_catalogue

    return benchmark_catalogue(asked.items or 1_000_000, asked.events or 1_000_000, asked.notify), render_catalogue


def _uplift(asked: _Asked) -> tuple[dict[str, Any], Any]:
    if asked.data is None:
        from experiments.benchmarks.uplift.planted import benchmark_planted
        from experiments.benchmarks.uplift.render import render_planted

        return benchmark_planted(asked.seed_range(5), asked.notify), render_planted
    from experiments.benchmarks.uplift.hillstrom import benchmark_hillstrom
    from experiments.benchmarks.uplift.render import render_hillstrom

    return benchmark_hillstrom(asked.folder(), asked.seed_range(3), asked.notify), render_hillstrom


_BENCHMARKS: dict[str, tuple[str, Callable[[_Asked], tuple[dict[str, Any], Any]]]] = {
    "simulated-shop": ("what the arms find where the truth is known; --seeds shops of --events", _simulated_shop),
    "campaigns": ("who redeems coupons; --data FOLDER with campaigns.parquet, --seeds", _campaigns),
    "catalogue": ("how a large catalogue is fitted and searched; --items, --events", _catalogue),
    "features": ("the feature pipeline's speed, against SQL by hand and pandas; --events", _features),
    "intent": (
        "what is about to be bought; --data FOLDER with online_shoppers.parquet, else planted, --seeds",
        _intent,
    ),
    "leave-one-out": ("each user's last item; --data FOLDER with sequences.parquet, --seeds", _leave_one_out),
    "session-intent": (
        "what later sessions do; --data FOLDER named as its source, retailrocket; --seeds",
        _session_intent,
    ),
    "sessions": ("next clicks; --data FOLDER with train_sequences.parquet and test.parquet, --seeds", _sessions),
    "serving": ("how long the service's answers take, at 16 connections; --events", _serving),
    "training": ("how soon a peer's best is reached; --data FOLDER with sequences.parquet, --minutes", _training),
    "uplift": ("what a message changes; --data FOLDER with hillstrom.parquet, else planted, --seeds", _uplift),
    "value": ("orders and value to come; --data FOLDER with cdnow_master.parquet, --seeds, --plot", _value),
    "split": ("pairs held out; --data FOLDER with train.parquet and test.parquet, --seeds", _split),
}


def benchmark(
    name: Annotated[
        str, typer.Argument(help="; ".join(f"{name}: {about}" for name, (about, _) in _BENCHMARKS.items()))
    ],
    data: Annotated[Path | None, typer.Option(help="Folder of published data.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Repetitions; default 5 shops or splits, else 3.", min=1)] = None,
    events: Annotated[int | None, typer.Option(help="Simulated; default 200,000 a shop, features 20,000,000.")] = None,
    items: Annotated[int | None, typer.Option(help="Of the simulated catalogue; default 1,000,000.", min=1_000)] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of the result, where there is one.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps each seed of published data as it ends, and is gone on from if it is there."
        ),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="What a peer library is given to train, where there is one; default 60.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes of the service that is measured; default: one per core.", min=1)
    ] = None,
    json_file: Json = None,
) -> None:
    """Measure the platform: what it finds where the truth is known, on published data, and how fast it is."""
    from experiments.terminal import bars
    from features.errors import ConfigError, NotFoundError

    if name not in _BENCHMARKS:
        raise NotFoundError("benchmark", "must be a known one", name, f"choose one of {', '.join(_BENCHMARKS)}")
    if events is not None and events < _FEWEST_EVENTS:
        raise ConfigError("--events", f"must be at least {_FEWEST_EVENTS}", events)
    with bars() as (console, notify):
        asked = _Asked(data, seeds, events, items, plot, keep, minutes, workers, notify)
        result, render = _BENCHMARKS[name][1](asked)
    console.print(render(result))
    write_json(json_file, result)
