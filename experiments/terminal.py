"""What people see while they wait: the console, and a progress bar per stage of long work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:  # the models are not needed to show a table
    from training.train import Notify


def terminal() -> Console:
    """The console on standard output."""
    # A pipe has no width: tables must not be squeezed into the 80 columns that would be guessed.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


@contextmanager
def bars() -> Iterator[tuple[Console, Notify]]:
    """A console, and a callback that shows a bar per stage; the bars are gone when the block ends."""
    console = terminal()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TextColumn("{task.fields[metrics]}"), console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def notify(stage: str, done: int, of: int, metrics: dict[str, float]) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=of, metrics="")
            progress.update(tasks[stage], completed=done, total=of)
            if metrics:
                told = " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
                progress.update(tasks[stage], metrics=told)

        yield console, notify


__all__ = ["bars", "terminal"]
