"""Whether customers who were expected to buy more did: means by decile of the expectation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

#: Safe for the colour-blind (Okabe & Ito 2008).
_COLOURS = ("#d55e00", "#0072b2", "#009e73")


def decile_means(truth: Floats, expected: Floats) -> tuple[Floats, Floats]:
    """(10,) mean expectation and (10,) mean truth of tenths of the customers, from the least expected up."""
    parts = np.array_split(np.argsort(expected, kind="stable"), 10)
    return np.array([expected[part].mean() for part in parts]), np.array([truth[part].mean() for part in parts])


def deciles_plot(panels: Sequence[tuple[str, Floats, dict[str, Floats]]], *, columns: int, horizon_days: int) -> Figure:
    """Panels of (title, (m,) truth, model to (m,) expectations); points on the diagonal are right."""
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows), dpi=120, layout="constrained")
    for i, (title, truth, models) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        most = 0.0
        for (name, expected), colour in zip(models.items(), _COLOURS, strict=False):
            predicted, observed = decile_means(truth, expected)
            axes.plot(predicted, observed, "o-", color=colour, label=name, markersize=4)
            most = max(most, float(predicted.max()), float(observed.max()))
        axes.plot([0, most], [0, most], color="#9aa5b1", linewidth=1)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel(f"expected in {horizon_days} days, mean of a decile", fontsize=8)
        axes.set_ylabel("observed", fontsize=8)
        if i == 0:
            axes.legend(frameon=False, fontsize=8)
    return figure


__all__ = ["decile_means", "deciles_plot"]
