"""Fitting models and asking them: train, recommend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.options import AsOf, Data, Horizon, Json, write_json


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
    write_json(json_file, result)


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
