"""An experiment at several instants, one label window apart: how far its figures spread over time.

```
 log:        ..................................................|
 origin 1:   models learn ......| window |
 origin 2:   models learn ...............| window |
 origin 3:   models learn ........................| window |
```
Rolling origins with all history (Tashman 2000): each is a comparison of its own, which reads nothing after its window.
Windows do not overlap unless asked to, so that no purchase is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.compare import compare, window
from experiments.experiment import Experiment
from experiments.verdict import Verdict
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import iso
from features.schema import DAY_MS
from training.tracking import run
from training.train import Notify

#: Figures of a predictor that are followed over time.
FIGURES = ("roc_auc", "pr_auc", "log_loss", "brier", "ece")


@dataclass(frozen=True)
class Backtest:
    """What was found.

    Attributes:
        report: JSON-able: ``origins``, ``arms`` and ``intents``; see README, Backtest.
        comparisons: The report of the comparison at each origin.
    """

    report: dict[str, Any]
    comparisons: list[dict[str, Any]]


def backtest(
    engine: Engine,
    dataset: Dataset,
    experiment: Experiment,
    origins: int,
    step_days: float | None = None,
    notify: Notify | None = None,
) -> Backtest:
    """Run an experiment as of ``origins`` instants, the last being its own.

    Args:
        step_days: Between two of them; the length of the label window if absent.

    Raises:
        ConfigError: There are fewer than two, or the first leaves no label window of data before it.
    """
    tell = notify or (lambda *_: None)
    instants, horizon_ms = origins_ms(engine, dataset, experiment, origins, step_days)
    comparisons = []
    for number, instant in enumerate(instants):
        label = iso(instant)
        tell("backtest", number, len(instants), {})
        at = experiment.model_copy(update={"as_of": label, "horizon_days": horizon_ms / DAY_MS})
        comparisons.append(compare(engine, dataset, at, _labelled(tell, label)).report)
    tell("backtest", len(instants), len(instants), {})
    return Backtest(summary(comparisons), comparisons)


def origins_ms(
    engine: Engine, dataset: Dataset, experiment: Experiment, origins: int, step_days: float | None
) -> tuple[list[int], int]:
    """The instants in order of time, and the length of the label window, in milliseconds."""
    as_of_ms, until_ms = window(engine, dataset, experiment.as_of, experiment.horizon_days)
    horizon_ms = until_ms - as_of_ms
    step_ms = horizon_ms if step_days is None else round(step_days * DAY_MS)
    if origins < 2 or step_ms <= 0:
        raise ConfigError("origins, step_days", "must be at least 2, and above 0", (origins, step_days))
    # A comparison decides on the window before its instant and learns from what is before that.
    fit = int((as_of_ms - dataset.first_ms - horizon_ms - 1) // step_ms) + 1
    if origins > fit:
        mend = f"data begins on {iso(dataset.first_ms)}: use fewer, a shorter step or a shorter horizon"
        raise ConfigError("origins", f"must be at most the {max(fit, 0)} that leave data to learn from", origins, mend)
    return [as_of_ms - back * step_ms for back in reversed(range(origins))], horizon_ms


def summary(comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    """Every figure at each origin, its mean and its standard deviation over them (n - 1)."""
    last = comparisons[-1]
    metric = last["metric"]
    arms: dict[str, Any] = {}
    for name in last["arms"]:
        at = [report["arms"].get(name, {}) for report in comparisons]
        lifts = [arm.get("lift", {}).get("difference") for arm in at]
        arms[name] = {
            metric: _spread([arm.get(metric, {}).get("mean") for arm in at]),
            **({} if name == last["control"] else {"lift": _spread(lifts)}),
            "ships": sum(arm.get("verdict") == Verdict.SHIP.value for arm in at),
            "holds": sum(arm.get("verdict") == Verdict.HOLD.value for arm in at),
        }
    intents: dict[str, Any] = {}
    for target in last["intents"]:
        told = [report["intents"][target] for report in comparisons]
        names = list(dict.fromkeys(name for one in told for name in one.get("predictors", {})))
        intents[target] = {
            name: {
                **{
                    each: _spread([one.get("predictors", {}).get(name, {}).get(each) for one in told])
                    for each in FIGURES
                },
                "served": sum(one.get("chosen") == name for one in told),
            }
            for name in names
        }
    return {
        "experiment": last["experiment"],
        "data": last["data"],
        "metric": metric,
        "control": last["control"],
        "horizon_days": last["horizon_days"],
        "origins": [report["as_of"] for report in comparisons],
        "n_users": [report["n_users"] for report in comparisons],
        "arms": arms,
        "intents": intents,
    }


def track_backtest(found: Backtest, dataset: Dataset, experiment: Experiment) -> str:
    """Record a backtest as one run, the origins being the steps of its metrics; returns the run's id."""
    settings = experiment.model_dump(mode="json", by_alias=True, exclude={"data", "arms", "name"})
    tags = {"control": experiment.control, "data_digest": dataset.digest, "origins": len(found.comparisons)}
    report = found.report
    with run(experiment.name, "backtest", params=settings, tags=tags) as opened:
        for step in range(len(found.comparisons)):
            opened.log_metrics(dict(_at(report, step)), step=step)
        opened.log_dict(report, "backtest.json")
        for one in found.comparisons:
            opened.log_dict(one, f"origins/{one['as_of'].replace(':', '')}.json")
    return opened.id


def _at(report: dict[str, Any], step: int) -> Iterable[tuple[str, float]]:
    figures = {f"{name}/{report['metric']}": arm[report["metric"]] for name, arm in report["arms"].items()}
    for target, predictors in report["intents"].items():
        figures |= {
            f"intent/{target}/{name}/{each}": told[each] for name, told in predictors.items() for each in FIGURES
        }
    for name, spread in figures.items():
        if spread["values"][step] is not None:
            yield name, spread["values"][step]


def _spread(values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "values": values,
    }


def _labelled(tell: Notify, label: str) -> Callable[[str, int, int, dict[str, float]], None]:
    return lambda stage, done, of, metrics: tell(f"{label}: {stage}", done, of, metrics)


__all__ = ["FIGURES", "Backtest", "backtest", "origins_ms", "summary", "track_backtest"]
