"""A backtest as people read it: tables, and a picture of the figures over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from experiments.backtest import FIGURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = "osD^vPX"


def render_backtest(report: dict[str, Any]) -> Group:
    """Arms, best mean first, and predictors of each target: mean ± standard deviation over the origins."""
    metric, n = report["metric"], len(report["origins"])
    about = f"{report['experiment']}: {n} origins from {report['origins'][0]} to {report['origins'][-1]}"
    arms = Table(title=about, title_justify="left", title_style="bold")
    for column in ("arm", metric, f"lift over {report['control']}", "ships", "holds"):
        arms.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    ranked = sorted(report["arms"].items(), key=lambda arm: -(arm[1][metric]["mean"] or 0.0))
    for name, arm in ranked:
        lift = _told(arm["lift"], "+.4f") if "lift" in arm else ""
        arms.add_row(name, _told(arm[metric]), lift, f"{arm['ships']} of {n}", f"{arm['holds']} of {n}")
    if not report["intents"]:
        return Group(arms)
    intents = Table(title="what users were about to do", title_justify="left", title_style="bold")
    for column in ("target", "predictor", *(name.replace("_", " ") for name in FIGURES), "served"):
        intents.add_column(column, justify="left" if column in ("target", "predictor") else "right", no_wrap=True)
    for target, predictors in report["intents"].items():
        for name, told in predictors.items():
            intents.add_row(target, name, *(_told(told[each]) for each in FIGURES), f"{told['served']} of {n}")
    return Group(arms, intents)


def backtest_plot(report: dict[str, Any]) -> Figure:
    """Over the origins: the arms' metric, and the log loss of every target's predictors."""
    from matplotlib.figure import Figure

    metric = report["metric"]
    panels = [(metric, {name: arm[metric]["values"] for name, arm in report["arms"].items()})]
    for target, predictors in report["intents"].items():
        panels.append((f"{target}: log loss", {name: told["log_loss"]["values"] for name, told in predictors.items()}))
    figure = Figure(figsize=(5.2 * len(panels), 4.2), dpi=120, layout="constrained")
    at = range(len(report["origins"]))
    for number, (title, lines) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for place, (name, values) in enumerate(lines.items()):
            shown = [float("nan") if value is None else value for value in values]
            colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
            axes.plot(at, shown, color=colour, marker=marker, linewidth=1.4, markersize=5, label=name)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xticks(at, [origin.split("T")[0] for origin in report["origins"]], rotation=30, fontsize=8)
        axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _told(spread: dict[str, Any], form: str = ".4f") -> str:
    if spread["mean"] is None:
        return ""
    return f"{spread['mean']:{form}}" + (f" ±{spread['sd']:.4f}" if spread["sd"] is not None else "")


__all__ = ["backtest_plot", "render_backtest"]
