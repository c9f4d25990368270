"""Session intent on sessions after a border in time: what happens in them, and the group of the next item."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from scipy.special import expit

from experiments.benchmarks.cells import figure_cell, lift_cell
from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.published.questions import spread
from experiments.benchmarks.published.repeated import seeds_of
from experiments.figures import figures
from experiments.statistics import paired_bootstrap
from features.dataset import Dataset
from features.engine import Engine
from features.home import home
from features.ids import UNKNOWN
from features.ingest import ingest
from features.instants import iso
from features.schema import EventType
from features.sequences import Histories
from features.snapshot import Snapshot, build_snapshot
from training.intent.predictor import Matrix, predictor_class
from training.session.intent import SessionIntent
from training.session.learning import finished
from training.session.outcomes import SessionOutcomes, groups_of, outcomes_of
from training.session.steps import Int64s, Steps, steps_of
from training.train import Notify

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: The share of the log's time that is learned from.
BORDER = 0.8
CHALLENGERS = ("boosting", "logistic")
AT = (1, 3)
RULES = ("last", "most_frequent")


@dataclass(frozen=True)
class _Later:
    """Sessions that begin after the border, and what was learned from before it.

    Attributes:
        known: The earlier snapshot.
        steps: Of all histories at the end of the log, in the item numbers of the earlier snapshot.
        sessions: (s,) those that begin at the border or later and are over.
    """

    known: Snapshot
    steps: Steps
    sessions: Int64s


def benchmark_later_sessions(folder: Path, source: str, seeds: Iterable[int], notify: Notify) -> dict[str, Any]:
    """Learn from the first ``BORDER`` of the log's time, ask after every event of the sessions that begin later.

    Chances are compared with gradient boosting and logistic regression on the same numbers of each event. Groups of
    items are those of the model (``training.session.groups``), found before the border: ``last`` answers with the
    groups of the session's last events, the newest first, then the most frequent; ``most_frequent`` with the groups
    that came next most often. Hit rates are means over users of each user's mean over events, and their differences
    are bootstrapped over users; with several seeds, a user's hits are the mean over them.

    Args:
        source: The name of the source that reads ``folder``.

    Returns:
        ``rows`` per model and target with ``roc_auc``, ``pr_auc``, ``log_loss``, ``brier`` and ``ece`` of all events;
        ``next_group`` with ``hit@1`` and ``hit@3`` of model and rules, and the model's differences to each rule.
    """
    chosen = seeds_of(seeds)
    notify("data", 0, 1, {})
    later = _read(folder, source)
    rows: list[dict[str, Any]] = []
    hits: dict[int, list[Floats]] = {k: [] for k in AT}
    models: list[SessionIntent] = []
    began = time.perf_counter()
    found: dict[str, list[dict[str, float]]] = {}
    for seed in chosen:
        stage = f"seed {seed}: session network"
        model = SessionIntent(seed=seed).fit(later.known, partial(notify, stage))
        outcomes = outcomes_of(later.steps, model.groups, model.targets)
        said = model.after_each(later.steps, later.sessions)
        events = said.events
        for name, values in said.log_odds.items():
            p = model.judged[name].calibrator.apply(expit(values))
            found.setdefault(name, []).append(figures(p, outcomes.happened[name][events].astype(np.float64)))
        ranked = np.argsort(-said.next_group, axis=1, kind="stable")
        for k, hit in _hits(ranked, outcomes, events).items():
            hits[k].append(hit)
        models.append(model)
    seconds = (time.perf_counter() - began) / len(chosen)
    rows += [_row(SessionIntent.name, name, each, seconds, len(events)) for name, each in found.items()]
    rows += _challenged(later, models[0], events, notify)
    return {
        "benchmark": "session-intent",
        "data": folder.name,
        "border": iso(later.known.as_of_ms),
        "machine": machine(),
        "seeds": len(chosen),
        "sessions": len(later.sessions),
        "events": len(events),
        "groups": len(models[0].group_names),
        "rows": rows,
        "next_group": _next_group(later, models[0], events, {k: np.mean(values, axis=0) for k, values in hits.items()}),
        "ratios": {},
    }


def _read(folder: Path, source: str) -> _Later:
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        ingest(folder, source, Path(scratch) / "data")
        dataset = Dataset.open(Path(scratch) / "data")
        border = dataset.first_ms + int(BORDER * (dataset.last_ms - dataset.first_ms))
        known = build_snapshot(engine, dataset, border)
        whole = build_snapshot(engine, dataset, dataset.last_ms + 1)
    items = np.append(known.items.encode_apart(whole.items.ids), UNKNOWN)
    histories: Histories = whole.sequences
    steps = steps_of(replace(histories, items=items[histories.items].astype(np.int32)))
    over = finished(steps, dataset.last_ms + 1)
    return _Later(known, steps, over[steps.ts[steps.offsets[over]] >= border])


def _row(model: str, target: str, found: list[dict[str, float]], seconds: float, n: int) -> dict[str, Any]:
    metrics, sd = spread(found)
    return {
        "model": model,
        "target": target,
        "metrics": metrics,
        "sd": sd,
        "n": n,
        "seconds": seconds,
        "peak_mb": peak_mb(),
    }


def _challenged(later: _Later, model: SessionIntent, events: Int64s, notify: Notify) -> list[dict[str, Any]]:
    """Boosting and logistic regression on every event's numbers and type."""
    earlier = steps_of(later.known.sequences)
    over = np.isin(earlier.session, finished(earlier, later.known.as_of_ms))
    learned = outcomes_of(earlier, model.groups, model.targets)
    asked = outcomes_of(later.steps, model.groups, model.targets)
    x, asked_x = _table(earlier)[over], _table(later.steps)[events]
    rows = []
    for name in CHALLENGERS:
        for number, target in enumerate(model.targets):
            notify(name, number, len(model.targets), {})
            began = time.perf_counter()
            y = learned.happened[target.name][over].astype(np.float64)
            fitted = predictor_class(name)().fit(x, y)
            p = fitted.predict(asked_x)
            one = figures(p, asked.happened[target.name][events].astype(np.float64))
            rows.append(_row(name, target.name, [one], time.perf_counter() - began, len(events)))
    return rows


def _table(steps: Steps) -> Matrix:
    """(m, columns) float32."""
    types = np.eye(len(EventType), dtype=np.float32)[steps.types]
    return np.concatenate([steps.numbers, types], axis=1)


def _hits(ranked: Int64s, outcomes: SessionOutcomes, events: Int64s) -> dict[int, Floats]:
    """k to whether the next group was among the first k, of the events that are followed by one."""
    following = outcomes.next_group[events]
    asked = following >= 0
    right = ranked[asked] == following[asked][:, None]
    return {k: right[:, :k].any(axis=1).astype(np.float64) for k in AT}


def _next_group(later: _Later, model: SessionIntent, events: Int64s, hits: dict[int, Floats]) -> dict[str, Any]:
    outcomes = outcomes_of(later.steps, model.groups, model.targets)
    earlier = outcomes_of(steps_of(later.known.sequences), model.groups, model.targets).next_group
    frequent = np.argsort(-np.bincount(earlier[earlier >= 0], minlength=len(model.group_names)), kind="stable")
    answers = {
        "last": _last(later.steps, model.groups, events, frequent),
        "most_frequent": np.tile(frequent[: max(AT)], (len(events), 1)),
    }
    user = later.steps.row[later.steps.session[events]][outcomes.next_group[events] >= 0]
    told: dict[str, Any] = {"users": len(np.unique(user)), "events": len(user), "rates": {}, "differences": {}}
    for k in AT:
        rules = {name: _by_user(_hits(answers[name], outcomes, events)[k], user) for name in RULES}
        mine = _by_user(hits[k], user)
        rates = {SessionIntent.name: mine, **rules}
        told["rates"][f"hit@{k}"] = {name: float(values.mean()) for name, values in rates.items()}
        told["differences"][f"hit@{k}"] = {
            name: paired_bootstrap(values, {SessionIntent.name: mine}, seed=0)[SessionIntent.name].as_json()
            for name, values in rules.items()
        }
    return told


def _last(steps: Steps, groups: NDArray[np.int32], events: Int64s, frequent: Int64s) -> Int64s:
    """(q, most of AT): the session's groups so far, the newest first, then the most frequent ones."""
    of_event = groups_of(groups, steps.items)
    first = steps.offsets[steps.session[events]]
    found = np.empty((len(events), max(AT)), dtype=np.int64)
    for number, (begin, at) in enumerate(zip(first.tolist(), events.tolist(), strict=True)):
        newest = dict.fromkeys([*of_event[begin : at + 1][::-1].tolist(), *frequent.tolist()])
        found[number] = [group for group in newest if group >= 0][: max(AT)]
    return found


def _by_user(values: Floats, user: Int64s) -> Floats:
    """(users,) mean of each user's values."""
    number = np.unique(user, return_inverse=True)[1]
    return np.bincount(number, values) / np.bincount(number)


def render_later_sessions(result: dict[str, Any]) -> Group:
    """A table of chances, and one of next groups."""
    about = (
        f"{result['data']}: {result['events']:,} events of {result['sessions']:,} sessions from {result['border']} on"
    )
    chances = Table(title=about)
    shown = ("roc_auc", "pr_auc", "log_loss", "ece")
    for column in ("target", "model", *shown, "seconds"):
        chances.add_column(column, justify="left" if column in ("target", "model") else "right")
    for row in sorted(result["rows"], key=lambda row: row["target"]):
        values = [figure_cell(row, name, runs=result["seeds"]) for name in shown]
        chances.add_row(row["target"], row["model"], *values, f"{row['seconds']:,.0f}")
    told = result["next_group"]
    groups = Table(title=f"group of the next item, {result['groups']} groups, {told['users']:,} users")
    for column in ("", "answer", "hit rate", "model less this"):
        groups.add_column(column)
    for metric, rates in told["rates"].items():
        for name, rate in rates.items():
            groups.add_row(metric, name, f"{rate:.4f}", lift_cell(told["differences"][metric].get(name)))
    return Group(chances, groups)


__all__ = ["benchmark_later_sessions", "render_later_sessions"]
