"""The main job in one go: a shop's events become features, models, a verdict, and ranked answers over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.machine import peak_mb
from experiments.compare import Comparison, compare
from experiments.conversation import talk
from experiments.experiment import Experiment
from experiments.promote import promote
from experiments.render import render_conversation, render_report
from experiments.standard import standard_experiment
from experiments.tracked import track
from experiments.verdict import Verdict
from features.dataset import Dataset
from features.describe import describe, render
from features.engine import Engine
from features.errors import ConfigError
from features.home import home
from features.ingest import ingest
from features.shop import Shop, ShopConfig
from training.train import Notify


@dataclass
class Stages:
    """Seconds per stage and the peak memory of this process, as the demo goes on."""

    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0

    @contextmanager
    def stage(self, name: str, sentence: str) -> Iterator[None]:
        """Announce a stage and time it."""
        self.say(sentence)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.peak_mb = max(self.peak_mb, peak_mb())


def run_demo(
    console: Console, notify: Notify, *, data: Path | None, source: str, events: int, seed: int
) -> dict[str, Any]:
    """Everything from files, or from a simulated shop if ``data`` is None, to answers of the running service.

    Returns:
        The comparison's report with MLflow's run, the champion, seconds per stage and the peak memory of this process.
    """
    if data is None and source != "tables":
        raise ConfigError("--data", f"must be given with --source {source}", mend="give the folder of the shop's files")
    stages = Stages(lambda sentence: console.rule(sentence, align="left"))
    folder, out = data or home() / "demo" / "shop", home() / "demo" / f"data-{source}"
    if data is None:
        with stages.stage("simulate", f"Simulating a shop with {events:,} events"):
            shop = Shop(ShopConfig.of(seed=seed, events=events))
            shop.write(folder, progress=lambda done, of: notify("simulate", done, of, {}))
    with stages.stage("ingest", "Checking every row against the contract"):
        ingest(folder, source, out, progress=lambda table, done, of: notify(table, done, of, {}))
        console.print(render(describe(Dataset.open(out))))
    experiment = standard_experiment(
        f"demo {source if data else 'simulated'}", out, source if data else None, seed=seed
    )
    comparison, report = _measured(out, experiment, stages, notify)
    console.print(render_report(report))
    if report["champion"]:
        console.print(f"[bold]{report['champion']['arm']} may ship and is champion now[/bold]")
        with stages.stage("serve", "Asking the running service"):
            for conversation in talk(comparison, home() / "demo" / "state.db"):
                console.print(render_conversation(conversation))
    else:
        console.print("no arm may ship: nothing is served")
    console.rule("What to do next", align="left")
    console.print(
        "`stellar ui` shows the runs, `stellar serve` answers at port 3000, README says how to bring own data"
    )
    return report | {"seconds": {**report["seconds"], **stages.seconds}, "peak_mb": round(stages.peak_mb, 1)}


def _measured(
    folder: Path, experiment: Experiment, stages: Stages, notify: Notify
) -> tuple[Comparison, dict[str, Any]]:
    """Compare, record in MLflow, and promote the best arm that may ship.

    Returns:
        The comparison, and its report with ``run_id``, ``versions`` and ``champion`` (None if no arm may ship).
    """
    dataset = Dataset.open(folder)
    with stages.stage("compare", "Fitting the arms and comparing them"), Engine.duckdb() as engine:
        comparison = compare(engine, dataset, experiment, notify)
    with stages.stage("track", "Recording runs, bundles and verdicts in MLflow"):
        recorded = track(comparison, dataset, experiment)
    report = {**comparison.report, **recorded, "champion": None}
    shipped = [name for name in recorded["versions"] if report["arms"][name].get("verdict") == Verdict.SHIP]
    if shipped:
        best = max(shipped, key=lambda name: report["arms"][name][report["metric"]]["mean"])
        promotion = promote(recorded["versions"][best])
        report["champion"] = {"arm": best, "version": promotion.version.number}
    return comparison, report


__all__ = ["Stages", "run_demo"]
