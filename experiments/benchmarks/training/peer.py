"""SASRec of RecTools, trained in an environment of its own: ``python -I peer.py FOLDER``.

It finds in the folder

- ``interactions.parquet``: ``user_id``, ``item_id``, ``datetime``, what is learned from and recommended after,
- ``users.parquet``: ``user_id``, whose lists are wanted after each epoch,
- ``job.json``: ``seconds`` of training at least, ``epochs`` at most, ``threads``, ``seed``, the length ``k`` of a list
  and ``again``, whether it may hold what the user has had,

and leaves there

- ``about.json``: the versions and the settings,
- ``lists-E.parquet``: ``user_id``, ``item_id``, ``rank`` after epoch E, from the full catalogue,
- ``epochs.jsonl``: one line for each of these files, written after it: ``epoch``, ``seconds`` of training so far, and
  ``listing_seconds``, what the lists took so far, which is not in them.

The training goes on to the end of the epoch in which its time is over. Nothing of stellar is imported here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: As authors of RecTools publish them for Amazon Beauty: "SASRec + sampled softmax" in the table of hyper-parameters of
#: https://github.com/blondered/transformer_benchmark (eSASRec, Tikhonovich et al. 2025). A file there for three data
#: sets together has 256 dimensions instead. The last two are the library's defaults, as is whatever is not named.
SETTINGS = {
    "n_factors": 64,
    "n_blocks": 1,
    "n_heads": 1,
    "dropout_rate": 0.2,
    "session_max_len": 50,
    "loss": "sampled_softmax",
    "n_negatives": 256,
    "lr": 0.001,
    "batch_size": 128,
}

#: What decides how fast it is and what it finds.
PACKAGES = ("rectools", "torch", "pytorch-lightning", "numpy")


def train(folder: Path) -> None:
    """Do what the folder asks for."""
    # Here, so that the settings can be read where the peer is not.
    import pandas as pd
    import torch
    from pytorch_lightning import LightningModule, Trainer, seed_everything
    from pytorch_lightning.callbacks import LambdaCallback
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    seed_everything(job["seed"])
    users = pd.read_parquet(folder / "users.parquet")["user_id"].to_numpy()
    dataset = Dataset.construct(pd.read_parquet(folder / "interactions.parquet").assign(weight=1))
    about = {"versions": {name: version(name) for name in PACKAGES}, "settings": SETTINGS}
    write(folder / "about.json", lambda path: path.write_text(json.dumps(about), encoding="utf-8"))
    listing_s = 0.0

    def list_items(trainer: Trainer, network: LightningModule) -> None:
        nonlocal listing_s
        paused = time.perf_counter()
        seconds, epoch = paused - began - listing_s, trainer.current_epoch + 1
        # The model takes itself for fitted only when all epochs are over.
        model.is_fitted = True
        found = model.recommend(users, dataset, k=job["k"], filter_viewed=not job["again"])
        # Recommending turns dropout off, and Lightning leaves it as it finds it.
        network.train()
        lists = found[["user_id", "item_id", "rank"]]
        write(folder / f"lists-{epoch}.parquet", lambda path: lists.to_parquet(path, index=False))
        listing_s += time.perf_counter() - paused
        with (folder / "epochs.jsonl").open("a", encoding="utf-8") as lines:
            told = {"epoch": epoch, "seconds": seconds, "listing_seconds": listing_s}
            lines.write(json.dumps(told) + "\n")
        trainer.should_stop = seconds >= job["seconds"]

    def trainer_of_this_job() -> Trainer:
        quiet: dict[str, Any] = dict.fromkeys(
            ("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False
        )
        callbacks = [LambdaCallback(on_train_epoch_end=list_items)]
        return Trainer(max_epochs=job["epochs"], accelerator="cpu", devices=1, callbacks=callbacks, **quiet)

    model = SASRecModel(**SETTINGS, get_trainer_func=trainer_of_this_job, recommend_torch_device="cpu")
    began = time.perf_counter()
    model.fit(dataset)


def write(path: Path, how: Any) -> None:
    """A file that is there is whole."""
    beside = path.with_name(f"{path.name}.new")
    how(beside)
    os.replace(beside, path)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
