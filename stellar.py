"""The command line: every verb imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import typer

from commands import benchmarks, data, demo, experiment, features, models, service

app = typer.Typer(
    help="E-commerce personalisation: from a shop's event log to ranked, explained and measured recommendations.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data.app, name="data")
app.add_typer(features.app, name="features")
for verb in (
    models.train,
    models.tune,
    experiment.compare,
    experiment.backtest,
    experiment.evaluate,
    experiment.promote,
    models.recommend,
    models.related,
    service.serve,
    service.ui,
    demo.demo,
    benchmarks.benchmark,
):
    app.command()(verb)


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
