"""Leave-one-out, as the papers on sequential recommendation report it: each user's last item is to be found.

```
 a user's items: .... .... .... .... | last but one | last
 strict:  models learn ------------> | input only   | test
 decide:  the same models            | validation   |
 refit:   models learn ---------------------------> | test
```
Everything that is decided is decided on the last but one item. ``strict``, alone, is what published tables report.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.published.arms import LEAVE_ONE_OUT, Arms
from experiments.benchmarks.published.files import ingest_published
from experiments.benchmarks.published.fitted import FittedTwice, Material
from experiments.benchmarks.published.kept import Kept, identity_of
from experiments.benchmarks.published.questions import KS, answer, asked_of, means, measured
from experiments.benchmarks.published.repeated import repeated, seeds_of
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.home import home
from features.schema import DAY_MS
from features.snapshot import build_snapshot
from features.sources.made_times import END_MS
from features.split import Labelled, ask
from training.train import Notify


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A folder, split.

    Attributes:
        material: Until the last but one items, and with them.
        test: Who took what last, asked about ``material.late``.
    """

    material: Material
    test: Labelled


def leave_out(engine: Engine, dataset: Dataset) -> LeftOut:
    """Split a data set of the source ``benchmark_sequences``, whose lists end together, a day between two items.

    Raises:
        InputError: No list has an item to learn from, one to decide on and one to test.
    """
    if dataset.first_ms >= END_MS - DAY_MS:
        n = 1 + (END_MS - dataset.first_ms) // DAY_MS
        mend = "one to learn from, one to decide on, one to test"
        raise InputError("sequences.parquet: column 'items'", "must hold lists of three items", f"{n} at most", mend)
    early = build_snapshot(engine, dataset, END_MS - DAY_MS)
    validation = ask(engine, dataset, early, END_MS)
    late = build_snapshot(engine, dataset, END_MS)
    test = ask(engine, dataset, late, END_MS + 1)
    return LeftOut(Material(early, validation, late), test)


def benchmark_leave_one_out(
    folder: Path,
    seeds: Iterable[int],
    notify: Notify | None = None,
    arms: Arms = LEAVE_ONE_OUT,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Fit all arms on a folder with ``sequences.parquet`` and rank the full catalogue for every user.

    Args:
        folder: Also ``item2attributes.parquet``, if the items' attributes are known.
        seeds: One run each; arms whose training is not random are fitted once.
        notify: Told what is done.
        arms: As for ``build_models``.
        keep: A file that each seed is written to as it ends, and read from instead of being run again.

    Returns:
        One row per arm: ``metrics`` and ``sd`` (over seeds) of ``validation_``, ``strict_`` and ``refit_`` ``hr@k`` and
        ``ndcg@k``, all of them means over ``n`` users; ``seconds`` of one seed, by stage in ``stages``. Validation is
        that half of the users on which single models decide nothing; it is where blends learn their weights.
        Items that the user has seen are no answers, unless at least a share ``REPEATS`` of validation's answers are.
        ``left_out``: the rows that were not used, by reason.

    Raises:
        ConfigError: No seeds.
        InputError: ``keep`` holds seeds of other data or hyper-parameters.
        StellarError: The folder cannot be read.
    """
    tell, chosen = notify or (lambda *_: None), seeds_of(seeds)
    kept = Kept(keep, identity_of("leave-one-out", folder, arms))
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        tell("data", 0, 1, {})
        dataset, left_out = ingest_published(folder, "benchmark_sequences", Path(scratch) / "data")
        split = leave_out(engine, dataset)
        tell("data", 1, 1, {})

    again = split.material.again

    def judge(arm: FittedTwice, stage: str) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for fitted, model, asked in (
            ("validation", arm.decided, split.material.blending),
            ("strict", arm.decided, asked_of(split.material.early, split.test)),
            ("refit", arm.final, split.test),
        ):
            asking = f"{stage}, {fitted} answers"
            ids = answer(model, asked.histories, max(KS), again=again, stage=asking, notify=tell)
            metrics |= {f"{fitted}_{name}": value for name, value in means(measured(ids, asked.labels)).items()}
        return metrics

    decides, told = "validation_ndcg@10", "strict_ndcg@10"
    return {
        "benchmark": "leave-one-out",
        "data": folder.name,
        "left_out": left_out,
        **repeated(arms, chosen, split.material, judge, len(split.test), tell, kept=kept, decides=decides, told=told),
    }


__all__ = ["LeftOut", "benchmark_leave_one_out", "leave_out"]
