"""Click sessions, as the papers on session-based recommendation report them: what is clicked next, after each click.

```
 train_sequences.parquet:  nine tenths of the sessions | a tenth
 decide:  models learn --------------------------------> | validation: every click of a session from its prefix
 test:    models learn -----------------------------------------> | test.parquet: prefix, target
```
Training sessions have no time and their order means nothing, so the tenth is drawn at random; the published test is
from later days than they are and harder, which no model here can know.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.published.arms import SESSIONS, Arms
from experiments.benchmarks.published.files import read_published
from experiments.benchmarks.published.kept import Kept, identity_of
from experiments.benchmarks.published.render import render
from experiments.benchmarks.published.repeated import judge_on, repeated, seeds_of
from experiments.benchmarks.published.session_questions import Lists, hold_out, questions
from features.sources.made_times import AGAIN, NO_ITEMS
from features.sources.published import Kind
from training.train import Notify

#: The list that is judged.
K = 20

#: Names of the papers for what a ranking of one right answer is judged by.
METRICS = {f"p@{K}": f"recall@{K}", f"mrr@{K}": f"mrr@{K}", f"ndcg@{K}": f"ndcg@{K}"}


def benchmark_sessions(
    folder: Path,
    seeds: Iterable[int],
    notify: Notify | None = None,
    arms: Arms = SESSIONS,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Fit all arms on ``train_sequences.parquet`` and rank the full catalogue after every prefix of ``test.parquet``.

    Args:
        folder: Both files; the test holds ``prefix``, a list of items, and ``target``.
        seeds: One run each; the first also draws the validation sessions. Arms whose training is not random are fitted
            once.
        notify: Told what is done.
        arms: As for ``build_models``.
        keep: A file that each seed is written to as it ends, and read from instead of being run again.

    Returns:
        One row per arm: ``metrics`` and ``sd`` (over seeds) of ``p@20`` (the share of targets in the list, which the
        papers call precision), ``mrr@20`` and ``ndcg@20`` on the test, and the same with ``validation_`` on that half
        of the held sessions on which single models decide nothing; it is where blends learn their weights. ``seconds``
        of one seed, by stage in ``stages``. Clicked items stay candidates if at least a share ``REPEATS`` of
        validation's targets were clicked before. ``left_out``: the rows that were not used, by reason.

    Raises:
        ConfigError: No seeds.
        StellarError: A file cannot be read, or holds nothing to ask.
    """
    tell, chosen = notify or (lambda *_: None), seeds_of(seeds)
    kept = Kept(keep, identity_of("sessions", folder, arms))
    tell("data", 0, 2, {})
    train = read_published(folder, "train_sequences.parquet", {"session_idx": Kind.INTEGER, "items": Kind.LIST})
    test = read_published(folder, "test.parquet", {"prefix": Kind.LIST, "target": Kind.INTEGER})
    again, empty = train["session_idx"].duplicated(), train["items"].map(len) == 0
    left_out = {
        f"train_sequences: {AGAIN}": int(again.sum()),
        f"train_sequences: {NO_ITEMS}": int((empty & ~again).sum()),
    }
    train = train[~again & ~empty].reset_index(drop=True)
    material = hold_out(train, np.random.default_rng(chosen[0]))
    tell("data", 1, 2, {})
    asked = questions(material.late, Lists.of(test["prefix"]), test["target"].to_numpy(np.int64))
    tell("data", 2, 2, {})

    judge = judge_on(asked, material, METRICS, K, tell)
    decides, told = f"validation_mrr@{K}", f"mrr@{K}"
    return {
        "benchmark": "sessions",
        "data": folder.name,
        "left_out": {reason: count for reason, count in left_out.items() if count},
        **repeated(arms, chosen, material, judge, len(asked), tell, kept=kept, decides=decides, told=told),
    }


def render_sessions(result: dict[str, Any]) -> Any:
    """A table of what the papers report, at 20; every prefix is a user."""
    return render(result, (f"validation_p@{K}", f"validation_mrr@{K}", f"p@{K}", f"mrr@{K}", f"ndcg@{K}"))


__all__ = ["K", "benchmark_sessions", "render_sessions"]
