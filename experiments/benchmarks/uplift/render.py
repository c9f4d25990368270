"""The uplift benchmarks as tables, and the Qini curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.benchmarks.cells import figure_cell
from experiments.benchmarks.uplift.judged import SHARES, Orders, name_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a Qini that is surely above zero means.
_ORDERS = "orders by uplift"

_RANKING = ("qini", *map(name_at, SHARES))

#: Okabe & Ito (2008), safe for the colour-blind, with a dash of its own each.
_LINES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"), ("#56b4e9", (0, (5, 1, 1, 1))))


def render_hillstrom(result: dict[str, Any]) -> RenderableType:
    """A table per arm: Qini, uplift in the best tenths and slope with intervals, and which model is clearly best."""
    parts: list[RenderableType] = []
    for arm, about in result["arms"].items():
        mean = about["uplift"]
        title = f"{arm} against control, visits: {about['n']:,} customers, {_told(mean['difference'], mean)}"
        table = Table(title=title, title_justify="left")
        _columns(table, "model", *_RANKING, "slope", _ORDERS, "seconds")
        for row in (row for row in result["rows"] if row["arm"] == arm):
            figures = [_cell(row, name) for name in (*_RANKING, "slope")]
            table.add_row(row["model"], *figures, row["orders_by_uplift"].replace("_", " "), f"{row['seconds']:,.0f}")
        models = about["models"]
        told = f"largest Qini: {models['best']}; clearly the best: {models['verdict']}"
        parts += [table, Text(f"{told}; arms told apart by what was known before: p {about['balance_p']:.2f}")]
    return Group(*parts)


def render_planted(result: dict[str, Any]) -> RenderableType:
    """Mean ± deviation over shops of what the models find of the planted effects, and their claims where is nothing."""
    table = Table(title=f"{result['data']}: {result['rows'][0]['n']:,} participants judged per shop")
    shown = ("rank_correlation", "true_slope", "slope", "qini", *map(name_at, SHARES))
    _columns(table, "model", *(name.replace("_", " ") for name in shown), _ORDERS, "seconds")
    for row in result["rows"]:
        # A model that is flat on some shop has no slope there.
        figures = [figure_cell(row, name, runs=result["seeds"]) for name in shown]
        found = f"{row['orders_by_uplift'].count(Orders.YES)} of {len(row['orders_by_uplift'])}"
        table.add_row(row["model"], *figures, found, f"{row['seconds']:,.0f}")
    null = result["null"]
    told = "; ".join(f"shop {seed}, {model}: {what}" for seed, model, what in null["claims"]) or "none"
    return Group(table, Text(f"effects claimed on {null['shops']} shop(s) without any: {told}"))


def qini_plot(curves: Mapping[str, Mapping[str, list[float]]], *, title: str) -> Figure:
    """Extra outcomes per user by the share that is treated, one line per model, and the straight line of no ranking.

    Args:
        curves: Model to ``share`` and ``gain``, as ``benchmark_hillstrom`` has them by arm.
        title: What the picture says.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), dpi=150)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    whole = 0.0
    for number, (name, curve) in enumerate(curves.items()):
        colour, dash = _LINES[number % len(_LINES)]
        gains = [100 * gain for gain in curve["gain"]]
        axes.plot([100 * share for share in curve["share"]], gains, color=colour, linestyle=dash, label=name)
        whole = gains[-1]
    axes.plot([0, 100], [0, whole], color="#52606d", linewidth=1, label="at random")
    axes.set_xlabel("treated, % of users by predicted uplift", color="#1f2933")
    axes.set_ylabel("extra outcomes per 100 users", color="#1f2933")
    axes.set_title(title, loc="left", fontweight="bold", color="#1f2933")
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _columns(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, justify="left" if name in ("model", _ORDERS) else "right")


def _cell(row: dict[str, Any], name: str) -> str:
    if name not in row["metrics"]:
        return "flat"
    return _told(row["metrics"][name], {"low": row["low"][name], "high": row["high"][name]})


def _told(value: float, ends: Mapping[str, float | None]) -> str:
    low, high = (format(end, "+.4f") if end is not None else "?" for end in (ends["low"], ends["high"]))
    return f"{value:+.4f} [{low}, {high}]"


__all__ = ["qini_plot", "render_hillstrom", "render_planted"]
