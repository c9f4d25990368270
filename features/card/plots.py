"""The pictures of a card, drawn without a display and without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from features.card.drift import READINGS
from features.card.svg import drawing, printable, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ink and accents are those of the page; each accent has at least 3 : 1 against white.
INK, SOFT, GRID = "#16212e", "#4a5a6a", "#e3e8ee"
BLUE, AMBER, RED = "#0b5fa5", "#a15c00", "#b3261e"
_READING_COLOURS = {"stable": BLUE, "some": AMBER, "large": RED}

#: Inches at 72 points: small, so that text stays legible where the page is narrow.
_WIDTH, _HEIGHT = 4.0, 2.5

#: Longest names beside bars, and most bars.
_NAME, BARS = 24, 12


@drawing()
def timeline_plot(timeline: Mapping[str, Any], label: str) -> str:
    """Events per bar of the time line, as SVG."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    figure, axes = _axes()
    starts = [datetime.fromisoformat(bar["from"]).replace(tzinfo=None) for bar in timeline["bars"]]
    events = [bar["events"] for bar in timeline["bars"]]
    if len(starts) > 1:
        starts, events = [*starts, starts[-1] + (starts[-1] - starts[-2])], [*events, events[-1]]
        axes.fill_between(starts, events, step="post", color=BLUE, linewidth=0)  # type: ignore[arg-type]
    else:
        axes.bar(starts, events, color=BLUE, width=0.5)  # type: ignore[arg-type]
    locator = AutoDateLocator(maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    _thousands(axes, "y")
    return to_svg(figure, "timeline", label)


@drawing()
def types_plot(events_by_type: Mapping[str, int], label: str) -> str:
    """Events of each type as horizontal bars, as SVG."""
    names = [name.replace("_", " ") for name in events_by_type]
    counts = list(events_by_type.values())
    return to_svg(_bars(names, counts, [BLUE] * len(names), [f"{n:,}" for n in counts]), "types", label)


@drawing()
def users_plot(groups: Sequence[Mapping[str, Any]], label: str) -> str:
    """Users by number of interactions as columns, as SVG."""
    figure, axes = _axes()
    users = [group["users"] for group in groups]
    columns = axes.bar(range(len(groups)), users, color=BLUE, width=0.78)
    axes.bar_label(columns, [short(n) for n in users], fontsize=7.5, color=INK, padding=2)
    axes.set_xticks(range(len(groups)), [group_name(group) for group in groups], rotation=35, ha="right")
    axes.margins(x=0.02, y=0.14)
    axes.set_xlabel("interactions", color=SOFT, fontsize=8.5)
    _thousands(axes, "y")
    return to_svg(figure, "users", label)


@drawing()
def popularity_plot(curve: Sequence[Mapping[str, int]], label: str) -> str:
    """Interactions of an item against its rank, both axes logarithmic, as SVG."""
    figure, axes = _axes()
    ranks, counts = [point["rank"] for point in curve], [point["interactions"] for point in curve]
    axes.loglog(ranks, counts, color=BLUE, linewidth=1.6, marker="o", markersize=3, solid_capstyle="round")
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.minorticks_off()
    axes.set_xlabel("rank of the item", color=SOFT, fontsize=8.5)
    axes.set_ylabel("interactions", color=SOFT, fontsize=8.5)
    for axis in "xy":
        _thousands(axes, axis)
    return to_svg(figure, "popularity", label)


@drawing()
def drift_plot(features: Sequence[Mapping[str, Any]], label: str) -> str:
    """The features that drift most as horizontal bars, with the bounds of the readings, as SVG."""
    most = features[:BARS]
    figure = _bars(
        [feature["feature"] for feature in most],
        [feature["psi"] for feature in most],
        [_READING_COLOURS[feature["reading"]] for feature in most],
        [f"{feature['psi']:.3f}" for feature in most],
    )
    axes = figure.axes[0]
    axes.set_xlim(right=max(axes.get_xlim()[1], 0.32))
    for bound in list(READINGS.values())[1:]:
        axes.axvline(bound, color=SOFT, linewidth=0.9, linestyle=(0, (3, 2)), zorder=0.9)
    axes.spines["bottom"].set_visible(True)
    axes.set_xticks([0, *list(READINGS.values())[1:]], ["0", "0.1", "0.25"])
    return to_svg(figure, "drift", label)


def group_name(group: Mapping[str, Any]) -> str:
    """``0``, ``3-4`` or ``1,000+``, with the sign for ranges.

    >>> [group_name(g) for g in ({"from": 0, "to": 0}, {"from": 1000, "to": None})]
    ['0', '1,000+']
    """
    if group["to"] is None:
        return f"{group['from']:,}+"
    return f"{group['from']}" if group["from"] == group["to"] else f"{group['from']}\N{EN DASH}{group['to']}"


def short(number: float) -> str:
    """Three digits and a letter for thousands and millions.

    >>> [short(n) for n in (999, 1_000, 12_345, 2_500_000)]
    ['999', '1k', '12.3k', '2.5M']
    """
    for letter, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:,.0f}"


def _axes(height: float = _HEIGHT) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), dpi=72, facecolor="none")
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    axes = figure.add_subplot(facecolor="none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.tick_params(colors=SOFT, labelsize=8.5, length=0, pad=4)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(names: Sequence[str], values: Sequence[float], colours: Sequence[str], texts: Sequence[str]) -> Figure:
    """Horizontal bars, first on top, each with its value as text."""
    figure, axes = _axes(height=0.5 + 0.24 * max(len(names), 3))
    bars = axes.barh(range(len(names)), values, color=list(colours), height=0.68)
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    axes.bar_label(bars, list(texts), fontsize=8.5, color=INK, padding=4, bbox=ground)
    axes.set_yticks(range(len(names)), [printable(name, _NAME) for name in names], color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.16)
    axes.set_xlim(left=0)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    return figure


def _thousands(axes: Axes, axis: str) -> None:
    one = axes.xaxis if axis == "x" else axes.yaxis
    one.set_major_formatter(lambda value, _: short(value))


__all__ = ["BARS", "drift_plot", "group_name", "popularity_plot", "short", "timeline_plot", "types_plot", "users_plot"]
