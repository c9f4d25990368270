"""Pictures of a comparison, drawn without a display and without matplotlib's global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.statistics import Lift
from experiments.verdict import MIN_USERS, Verdict, judge
from features.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _FAINT = "#1f2933", "#52606d", "#9aa5b1"


@dataclass(frozen=True, slots=True)
class _Look:
    """How a verdict is drawn: a colour of Okabe & Ito (2008), safe for the colour-blind, and a shape of its own."""

    colour: str
    marker: str
    word: str


_LOOKS = {
    Verdict.SHIP: _Look("#0072b2", "o", "ship"),
    Verdict.CANNOT_TELL: _Look("#767676", "D", "cannot tell"),
    Verdict.HOLD: _Look("#d55e00", "s", "hold"),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One arm as drawn: the point, its interval and the same as text."""

    name: str
    point: float
    low: float
    high: float
    verdict: Verdict
    text: str
    judged: bool


def lift_plot(
    lifts: Mapping[str, Lift], *, metric: str, title: str, control: str = "control", min_users: int = MIN_USERS
) -> Figure:
    """A forest plot: per arm the lift and its interval, best arm on top.

    Lifts are relative (per cent of the control) if that is known for every arm, else absolute.

    Args:
        lifts: Name of the arm to its lift; at least one.
        metric: The metric's name as it is to be read.
        title: What the picture says.
        control: The arm that all others are compared with.
        min_users: Fewer users are shown, not judged.
    """
    from matplotlib.figure import Figure

    if not lifts:
        raise ConfigError("lifts", "must hold at least one arm", "none")
    relative = all(lift.relative_low is not None for lift in lifts.values())
    rows = sorted((_row(name, lift, relative, min_users) for name, lift in lifts.items()), key=lambda row: row.point)
    figure = Figure(figsize=(9.5, 1.7 + 0.5 * len(rows)), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
    axes = figure.add_subplot()
    for y, row in enumerate(rows):
        _draw(axes, y, row)
    _frame(axes, rows, relative)
    n_users = max(lift.n_users for lift in lifts.values())
    axes.set_title(title, loc="left", pad=26, fontsize=13, fontweight="bold", color=_INK)
    axes.annotate(
        f"{metric} against {control} · {n_users:,} users · paired intervals, simultaneous over all arms",
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 10),
        textcoords="offset points",
        fontsize=9,
        color=_SOFT,
    )
    return figure


def save_plot(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to each path, in the format of its ending (``.png``, ``.svg``); equal figures give equal files."""
    from matplotlib import rc_context

    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "stellar", "svg.fonttype": "path"}):
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _row(name: str, lift: Lift, relative: bool, min_users: int) -> _Row:
    point, low, high, form = lift.difference, lift.low, lift.high, "{:+.4f}  [{:+.4f}, {:+.4f}]"
    if relative and lift.relative is not None and lift.relative_low is not None and lift.relative_high is not None:
        point, low, high = 100 * lift.relative, 100 * lift.relative_low, 100 * lift.relative_high
        form = "{:+.1f} %  [{:+.1f}, {:+.1f}]"
    judgement = judge(lift, min_users=min_users)
    text = form.format(point, low, high).replace("-", "\N{MINUS SIGN}")
    return _Row(name, point, low, high, judgement.verdict, text, judgement.judged)


def _draw(axes: Axes, y: int, row: _Row) -> None:
    look = _LOOKS[row.verdict]
    if math.isfinite(row.low) and math.isfinite(row.high):
        axes.plot([row.low, row.high], [y, y], color=look.colour, linewidth=2.4, solid_capstyle="round", zorder=2)
    axes.plot(row.point, y, look.marker, color=look.colour, markersize=9, markeredgecolor="white", zorder=3)
    word = look.word if row.judged else "not judged"
    # Two columns right of the axes, placed in points so that they do not depend on the data.
    for text, offset, colour, weight in ((word, 14, look.colour, "bold"), (row.text, 82, _INK, "normal")):
        axes.annotate(
            text,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(offset, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
            fontweight=weight,
        )


def _frame(axes: Axes, rows: Sequence[_Row], relative: bool) -> None:
    axes.axvline(0, color=_INK, linewidth=1, zorder=1)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=10, color=_INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.06)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.tick_params(axis="x", color=_FAINT, labelcolor=_SOFT, labelsize=9)
    axes.xaxis.set_major_formatter(lambda x, _: _tick(x, " %" if relative else ""))
    axes.grid(axis="x", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)


def _tick(x: float, unit: str) -> str:
    return f"{x:+g}{unit}".replace("-", "\N{MINUS SIGN}") if x else f"0{unit}"


__all__ = ["lift_plot", "save_plot"]
