"""Orders and value of the next 90 and 180 days on CDNOW, against BG/NBD with Gamma-Gamma, at three origins.

What decides is the mean Poisson deviance. Predictions are expectations, so the error must be least for expectations:
the squared error and the Poisson deviance are, the absolute error is least for medians, which are zero here (Gneiting
2011, Making and evaluating point forecasts). The squared error of money rests on a handful of customers; the deviance
weights by the expectation, as the variance of counts and sums of orders grows. The other errors are reported with
their intervals all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from scipy.special import xlogy
from scipy.stats import spearmanr

from experiments.benchmarks.machine import machine, peak_mb
from experiments.benchmarks.value.plot import deciles_plot
from experiments.plots import save_plot
from experiments.statistics import paired_bootstrap
from features.errors import ConfigError, InputError, NotFoundError
from training.intent.lifetime import Lifetime, Money
from training.intent.order_summaries import DAY_MS, OrderLog, outcomes, summarise
from training.intent.value import ValueConfig, ValueModel, training_rows
from training.train import Notify

Floats = NDArray[np.float64]

FILE = "cdnow_master.parquet"
BASELINE, ALL_ORDERS, NETWORK = "bg_nbd_gamma_gamma", "bg_nbd_gamma_gamma_all_orders", "value_network"
HORIZONS_DAYS = (90, 180)
#: So far apart, the first origin of 18 months has a label window of 180 days of the whole cohort before it.
_SPACING_DAYS = 46
_ORIGINS = 3
DECIDES = "poisson_deviance"


@dataclass(frozen=True, slots=True)
class Answer:
    """(m,) expected orders and money (not cents) of a model."""

    orders: Floats
    value: Floats


def read_orders(folder: Path) -> OrderLog:
    """The log of ``cdnow_master.parquet``: days at midnight UTC, amounts as cents.

    Raises:
        NotFoundError: The file is not there.
        InputError: It lacks a column.
    """
    path = folder / FILE
    if not path.is_file():
        raise NotFoundError("--data", f"must hold {FILE}", folder.name)
    table = pd.read_parquet(path)
    for column in ("user_id", "order_dt", "order_amount"):
        if column not in table:
            raise InputError(column, f"must be a column of {FILE}", ", ".join(table.columns))
    days = pd.to_datetime(table["order_dt"].astype(str), format="%Y%m%d").to_numpy().astype("datetime64[ms]")
    cents = np.rint(table["order_amount"].to_numpy(dtype=np.float64) * 100).astype(np.int64)
    return OrderLog.of(table["user_id"].to_numpy(), days.astype(np.int64), cents)


def origins_ms(log: OrderLog) -> list[int]:
    """Instants to predict at; the longest horizon of the last ends with the log."""
    end = (int(log.ts_ms.max()) // DAY_MS + 1) * DAY_MS - max(HORIZONS_DAYS) * DAY_MS
    return [end - back * _SPACING_DAYS * DAY_MS for back in reversed(range(_ORIGINS))]


def benchmark_value(
    folder: Path, seeds: Iterable[int], notify: Notify, plot: Path | None = None, config: ValueConfig | None = None
) -> dict[str, Any]:
    """Fit all models at each origin on what is before it, and judge them on what is after it.

    Args:
        seeds: Of the network. Its errors are averaged over them customer by customer before they are compared.
        plot: Where the decile plot of the longest horizon goes (``.png``, ``.svg``).
        config: Of the network; the default is what was chosen before the first origin.

    Returns:
        The benchmark's JSON; a row per model, origin and horizon, whose ``intervals`` hold the paired interval of each
        error's difference to the baseline over customers, and ``ratios`` the totals predicted over those observed.
    """
    chosen = list(seeds)
    if not chosen:
        raise ConfigError("seeds", "must be at least one", 0)
    log, rows, drawn = read_orders(folder), [], []
    origins = origins_ms(log)
    for i, origin in enumerate(origins):
        day = str(np.datetime64(origin, "ms").astype("datetime64[D]"))
        notify(f"origin {day}", 0, len(chosen), {})
        answers, seconds = _answers(log, origin, chosen, config or ValueConfig(), notify, f"origin {day}")
        customers = summarise(log, origin).customer
        for horizon in HORIZONS_DAYS:
            orders, cents = outcomes(log, customers, origin, horizon)
            truth = Answer(orders, cents / 100)
            of_horizon = {name: by_horizon[horizon] for name, by_horizon in answers.items()}
            rows += [
                {"origin": day, "horizon_days": horizon, "seconds": seconds[row["model"]], **row}
                for row in judged(truth, of_horizon, seed=i)
            ]
            if horizon == max(HORIZONS_DAYS):
                shown = {name: of_horizon[name][0] for name in (BASELINE, NETWORK)}
                drawn.append((day, truth, shown))
    if plot is not None:
        panels = [
            (f"{name} from {day}", getattr(truth, name), {model: getattr(a, name) for model, a in shown.items()})
            for name in ("orders", "value")
            for day, truth, shown in drawn
        ]
        save_plot(deciles_plot(panels, columns=len(drawn), horizon_days=max(HORIZONS_DAYS)), [plot])
    return {
        "benchmark": "value",
        "data": folder.name,
        "machine": machine(),
        "seeds": len(chosen),
        "decides": DECIDES,
        "rows": rows,
        "ratios": {
            f"{row['model']}_{row['origin']}_{row['horizon_days']}_{name}_total": row["metrics"][f"{name}_total_ratio"]
            for row in rows
            for name in ("orders", "value")
        },
    }


def _answers(
    log: OrderLog, origin: int, seeds: list[int], config: ValueConfig, notify: Notify, stage: str
) -> tuple[dict[str, dict[int, list[Answer]]], dict[str, float]]:
    """By model and horizon an answer per seed, and by model the seconds of one fit."""
    summaries = summarise(log, origin)
    answers: dict[str, dict[int, list[Answer]]] = {}
    seconds = {}
    for name, money in ((BASELINE, Money.REPEATS), (ALL_ORDERS, Money.ALL)):
        began = time.perf_counter()
        model = Lifetime.fit(summaries, money)
        expected = {days: model.orders(summaries, days) for days in HORIZONS_DAYS}
        worth = model.order_cents(summaries) / 100
        answers[name] = {days: [Answer(orders, orders * worth)] for days, orders in expected.items()}
        seconds[name] = time.perf_counter() - began
    began = time.perf_counter()
    rows = training_rows(log, origin, config)
    prepared = time.perf_counter() - began
    answers[NETWORK] = {days: [] for days in HORIZONS_DAYS}
    for done, seed in enumerate(seeds):
        network = ValueModel.learn(rows, log, origin, HORIZONS_DAYS, config, seed)
        for days in HORIZONS_DAYS:
            values = network.predict(summaries, days)
            answers[NETWORK][days].append(Answer(values.orders, values.cents / 100))
        notify(stage, done + 1, len(seeds), {})
    seconds[NETWORK] = prepared + (time.perf_counter() - began - prepared) / len(seeds)
    return answers, seconds


def poisson_deviance(truth: Floats, expected: Floats) -> Floats:
    """(m,) ``2 (y log(y / e) - (y - e))``; an expectation of nothing counts as 1e-9."""
    e = np.maximum(expected, 1e-9)
    return 2 * (xlogy(truth, truth / e) - (truth - e))


#: The errors of customers, by name.
ERRORS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "poisson_deviance": poisson_deviance,
    "squared": lambda truth, expected: (truth - expected) ** 2,
    "absolute": lambda truth, expected: np.abs(truth - expected),
}


def judged(truth: Answer, answers: dict[str, list[Answer]], seed: int) -> list[dict[str, Any]]:
    """A row per model: errors, rank correlation, totals, and the intervals against the baseline."""
    found: dict[str, list[dict[str, float]]] = {name: [{} for _ in runs] for name, runs in answers.items()}
    intervals: dict[str, dict[str, Any]] = {name: {} for name in answers}
    for quantity in ("orders", "value"):
        y = getattr(truth, quantity)
        for error, of in ERRORS.items():
            by_model = {}
            for name, runs in answers.items():
                errors = [of(y, getattr(answer, quantity)) for answer in runs]
                by_model[name] = np.mean(errors, axis=0)
                for metrics, values in zip(found[name], errors, strict=True):
                    metrics[f"{quantity}_{error}"] = float(values.mean())
            base = by_model.pop(BASELINE)
            for name, lift in paired_bootstrap(base, by_model, seed=seed).items():
                intervals[name][f"{quantity}_{error}"] = lift.as_json()
        for name, runs in answers.items():
            for metrics, answer in zip(found[name], runs, strict=True):
                expected = getattr(answer, quantity)
                metrics[f"{quantity}_total_ratio"] = float(expected.sum() / y.sum())
                metrics[f"{quantity}_spearman"] = float(spearmanr(y, expected).statistic)
    return [
        {
            "model": name,
            "metrics": {key: float(np.mean([run[key] for run in runs])) for key in runs[0]},
            "sd": {key: float(np.std([run[key] for run in runs], ddof=min(1, len(runs) - 1))) for key in runs[0]},
            "intervals": intervals[name],
            "n": len(truth.orders),
            "peak_mb": peak_mb(),
        }
        for name, runs in found.items()
    ]


def render_value(result: dict[str, Any]) -> Table:
    """A line per model, origin and horizon: what decides, relative to the baseline, and the totals."""
    about = f"{result['data']}: Poisson deviance of orders and value, its difference to {BASELINE}"
    table = Table(title=about)
    for column in ("origin", "days", "model", "orders", "difference", "value", "difference", "totals", "seconds"):
        table.add_column(column, justify="left" if column in ("origin", "model") else "right")
    for row in result["rows"]:
        cells = []
        for quantity in ("orders", "value"):
            cells.append(f"{row['metrics'][f'{quantity}_{DECIDES}']:.4f}")
            interval = row["intervals"].get(f"{quantity}_{DECIDES}")
            cells.append("" if interval is None else f"{interval['low']:+.4f} .. {interval['high']:+.4f}")
        totals = " ".join(f"{row['metrics'][f'{quantity}_total_ratio']:.3f}" for quantity in ("orders", "value"))
        table.add_row(row["origin"], str(row["horizon_days"]), row["model"], *cells, totals, f"{row['seconds']:,.0f}")
    return table


__all__ = ["benchmark_value", "judged", "origins_ms", "poisson_deviance", "read_orders", "render_value"]
