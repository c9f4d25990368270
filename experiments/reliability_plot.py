"""Reliability diagrams: of those who were given a chance, how many did it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.intents import Foretold
from training.intent.reliability import Bin, reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe & Ito (2008), safe for the colour-blind.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_INK, _FAINT = "#1f2933", "#9aa5b1"
_NORMAL_95 = 1.959964


def reliability_plot(known: Mapping[str, Foretold]) -> Figure:
    """A panel per target: ten groups of users of equal size; bars are 95 % intervals of the chosen predictor's."""
    from matplotlib.figure import Figure

    columns = min(len(known), 3)
    rows = -(-len(known) // columns)
    figure = Figure(figsize=(4.4 * columns, 4.4 * rows), dpi=120, layout="constrained")
    for number, (name, one) in enumerate(known.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1)
        for (predictor, p), colour in zip(one.chances.items(), _COLOURS, strict=False):
            bins = reliability(p, one.happened, min(10, len(p)))
            predicted, observed = [each.predicted for each in bins], [each.observed for each in bins]
            if predictor == one.chosen:
                low, high = zip(*(_wilson(each) for each in bins), strict=True)
                axes.vlines(predicted, low, high, color=colour, linewidth=1.2)
            axes.plot(predicted, observed, "o-", color=colour, markersize=4, linewidth=1, label=predictor)
        axes.set_title(
            f"{name}: {one.happened.mean():.1%} of {len(one.happened):,}", loc="left", fontsize=10, color=_INK
        )
        axes.set_xlabel("predicted", fontsize=8)
        axes.set_ylabel("observed", fontsize=8)
        most = max(float(p.max()) for p in one.chances.values())
        axes.set_xlim(0, min(1.0, most * 1.05))
        axes.set_ylim(0, min(1.0, most * 1.05))
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _wilson(one: Bin) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z, n, share = _NORMAL_95, one.n, one.observed
    middle = (share + z * z / 2 / n) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / 4 / n / n)
    return middle - half, middle + half


__all__ = ["reliability_plot"]
