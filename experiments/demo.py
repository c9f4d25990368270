"""The main job in one go: a shop's events become features, models, a verdict, and ranked answers over HTTP."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.benchmarks.machine import peak_mb
from experiments.compare import Comparison, compare
from experiments.experiment import Experiment, make_experiment
from experiments.promote import promote
from experiments.tracked import track
from experiments.verdict import Verdict
from features.dataset import Dataset
from features.engine import Engine
from serving import server
from training.registry import champion_folder
from training.train import Notify

#: The arms of every demo: what each level reaches alone, and the blend of all.
ARMS: dict[str, dict[str, Any]] = {
    "popular_all_time": {"model": "bestsellers", "by": [], "half_life_days": None},
    "popular_30d": {"model": "bestsellers", "by": [], "half_life_days": None, "window_days": 30},
    "bestsellers": {"model": "bestsellers"},
    "history": {"model": "history"},
    "recent": {"model": "history", "half_life_days": 14},
    "cooccurrence": {"model": "cooccurrence"},
    "transformer": {"model": "transformer"},
    "live": {"model": "live"},
    "blend": {
        "model": "blend",
        "parts": ["bestsellers", "history", "recent", "cooccurrence", "transformer", "live"],
    },
}
CONTROL = "popular_30d"

#: How each source is split; others by the last midnight that leaves the horizon.
SPLITS: dict[str, dict[str, Any]] = {
    "online_retail": {"as_of": "2011-11-09", "horizon_days": 30},
    "retailrocket": {"as_of": "80%"},
}

SIMULATED_HORIZON_DAYS = 14


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


def demo_experiment(name: str, dataset: Path, source: str, *, seed: int) -> Experiment:
    """The arms over a data set, split as suits its source."""
    arms = {arm: dict(settings) for arm, settings in ARMS.items()}
    arms["transformer"]["seed"] = seed
    split = SPLITS.get(source, {"horizon_days": SIMULATED_HORIZON_DAYS if source == "tables" else 30})
    return make_experiment(name=name, data=dataset, control=CONTROL, arms=arms, seed=seed, **split)


def run_experiment(
    folder: Path, experiment: Experiment, stages: Stages, notify: Notify | None = None
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


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was asked of the running service and what it answered."""

    title: str
    request: dict[str, Any]
    answer: dict[str, Any]


def talk(comparison: Comparison, port: int = 0) -> Iterator[Conversation]:
    """Start the service on the champion, ask for a cold, a hot and a live user, and stop it.

    The live user is the hot one after two events that are posted in between: the answer changes with no retraining.
    """
    snapshot = comparison.trained.snapshot
    hot = str(comparison.asked.histories.user_ids[comparison.asked.groups == "hot"][0])
    attributes = {
        name: str(snapshot.user_matrix[name].mode().iloc[0])
        for name in snapshot.attributes
        if len(snapshot.user_matrix)
    }
    with server.start("127.0.0.1", port, bundle=champion_folder(), state_url=server.default_state_url()) as running:
        cold = {"user_id": "somebody-new", "k": 5, "attributes": attributes}
        yield Conversation("A cold user, known by attributes only", cold, _post(running.url, "recommend", cold))
        known = {"user_id": hot, "k": 5}
        before = _post(running.url, "recommend", known)
        yield Conversation("A hot user, known by past behaviour", known, before)
        item = _unseen_item(comparison, before)
        event = {"user_id": hot, "event_type": "view", "item_id": item}
        posted = _post(running.url, "events", event)
        yield Conversation("The same user looks at an item now", event, posted)
        yield Conversation("And asks again: live in a session", known, _post(running.url, "recommend", known))


def _unseen_item(comparison: Comparison, answer: dict[str, Any]) -> str:
    """A popular item that is not in the answer, so that interest in it is news."""
    shown = {item["item_id"] for item in answer["items"]}
    by_popularity = comparison.trained.snapshot.item_matrix["popularity"].sort_values(ascending=False, kind="stable")
    return str(next(item for item in by_popularity.index if item not in shown))


def _post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


__all__ = [
    "ARMS",
    "CONTROL",
    "Conversation",
    "Stages",
    "demo_experiment",
    "run_experiment",
    "talk",
]
