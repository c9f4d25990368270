"""Fitting models and asking them: train, tune, recommend, related."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from commands.options import AsOf, Data, Horizon, Json, writable, write_json


def train(
    model: Annotated[str, typer.Argument(help="transformer, linear, history, ...; a name that is none lists all.")],
    data: Data,
    as_of: AsOf = None,
    horizon_days: Horizon = None,
    config: Annotated[Path | None, typer.Option(help="YAML of hyper-parameters, as `stellar tune` writes it.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Folder that a killed training of the transformer is gone on from.", file_okay=False),
    ] = None,
    json_file: Json = None,
) -> None:
    """Fit a model on all that is known as of an instant, record it in MLflow and register it as challenger.

    `torchrun --nproc-per-node 2 -m stellar train ...` trains networks in two processes.
    """
    from experiments.single import train_one
    from experiments.terminal import bars
    from features.dataset import Dataset

    hyper_parameters = None if config is None else _hyper_parameters(config, model)
    with bars() as (console, notify):
        result = train_one(
            Dataset.open(data),
            model,
            as_of,
            horizon_days,
            config=hyper_parameters,
            seed=seed,
            device=device,
            checkpoints=checkpoints,
            notify=notify,
        )
    if result is None:  # of torchrun's processes, the first speaks
        return
    console.print(
        f"{model} as of {result['as_of']}: validation ndcg@20 {result['validation_ndcg@20']:.4f} over "
        f"{result['n_validation']:,} users, registered as version {result['version']}"
    )
    write_json(json_file, result)


def tune(
    model: Annotated[str, typer.Argument(help="A single model, as in `stellar train`.")],
    data: Data,
    as_of: AsOf = None,
    horizon_days: Horizon = None,
    trials: Annotated[int, typer.Option(help="Finished trials that the study shall have.", min=1)] = 30,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no trial is begun.", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Processes on this machine.", min=1, max=64)] = 1,
    storage: Annotated[str | None, typer.Option(help="Database of the study, as a URL, shared by machines.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="YAML of the best; default: tuned/MODEL.yaml in STELLAR_HOME, or .stellar.", callback=writable("--out")
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_file: Json = None,
) -> None:
    """Search for a model's best hyper-parameters on validation; the same command goes on with a search that ended.

    Every trial is a run in MLflow. The best configuration is written for `stellar train --config`.
    """
    from dataclasses import asdict

    from experiments.terminal import bars
    from experiments.tuning import search
    from features.dataset import Dataset

    with bars() as (console, notify):
        tuned, written = search(
            Dataset.open(data),
            model,
            as_of,
            horizon_days,
            trials=trials,
            timeout_s=timeout,
            workers=workers,
            storage=storage,
            out=out,
            seed=seed,
            device=device,
            notify=notify,
        )
    before = "unknown" if tuned.default_score is None else f"{tuned.default_score:.4f}"
    told = ", ".join(f"{count} {state}" for state, count in tuned.trials.items())
    console.print(
        f"{model}: validation ndcg@20 {tuned.score:.4f}, by default {before}, over {tuned.n_users:,} users; {told}"
    )
    for name, share in tuned.importances.items():
        console.print(f"  {name} {tuned.specification[name]}, {share:.0%} of the differences")
    console.print(f"best configuration in {written}")
    write_json(json_file, {**asdict(tuned), "config": str(written)})


def recommend(
    out: Annotated[Path, typer.Option(help="Parquet file to write.", callback=writable("--out"))],
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


def related(
    anchors: Annotated[list[str], typer.Argument(help="Items: that of a product page, or those in a cart.")],
    kind: Annotated[str, typer.Option(help="bought_together, or complements: no item of an anchor's category.")] = (
        "bought_together"
    ),
    k: Annotated[int, typer.Option(help="Items at most.", min=1, max=500)] = 10,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle; the champion's if absent.")] = None,
    json_file: Json = None,
) -> None:
    """Say what is bought together with some items, with support and lift: the answer of POST /related."""
    import json

    from rich.table import Table

    from experiments.terminal import terminal
    from serving import contracts
    from serving.related import related as related_to
    from serving.related_answer import RelatedRequest
    from training.bundle import Bundle
    from training.registry import champion_folder

    asked = contracts.parse_body(RelatedRequest, json.dumps({"anchors": anchors, "kind": kind, "k": k}).encode())
    loaded = Bundle.load(bundle or champion_folder())
    answer = related_to(asked, loaded, loaded.as_of_ms, "command line")
    table = Table("rank", "item", "category", "score", "because")
    for item in answer.items:
        table.add_row(str(item.rank), item.item_id, item.category, f"{item.score:.3f}", item.reason)
    console = terminal()
    console.print(table)
    for note in answer.notes:
        console.print(note, style="yellow")
    if answer.unknown_anchors:
        console.print(f"not known: {', '.join(answer.unknown_anchors)}", style="yellow")
    write_json(json_file, answer.model_dump(mode="json"))


def _hyper_parameters(path: Path, model: str) -> dict[str, Any]:
    """What the YAML file says, which is about this model."""
    from experiments.tuning import read_configuration

    return read_configuration(path, model)
