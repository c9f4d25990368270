"""Columns of UCI Online Shoppers as numbers that a predictor can use; each row is made from itself alone.

The publisher's rates and durations are means of fractions over pages. ``BounceRates`` and ``ExitRates`` are 0.2 times
the mean, over the counted pages, of bounces and exits per view; the number of counted pages is at most that of visited
ones and is not published, but the fractions give it away: times the right number, both are fractions with small
denominators. What is recovered in this way describes this file, and no shop's own log.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_PAGES = ("Administrative", "Informational", "ProductRelated")
_HIGHEST_RATE = 0.2
_UNCOUNTED = 6
_RATE_DENOMINATOR = 720
_TIME_DENOMINATOR = 60
#: What the file's rounding to nine decimals leaves, with some room.
_ROUNDING = 3.6e-8
_SMALL = 1e-3

Numbers = NDArray[np.float64]


def shopper_features(frame: pd.DataFrame, *, page_values: bool) -> pd.DataFrame:
    """One row per row of ``online_shoppers.parquet``, the label left out.

    Args:
        frame: The published columns.
        page_values: Whether ``PageValues``, which knows of the transaction, and what is made from it are kept.
    """
    made = _times(frame) | _rates(frame)
    for name in ("Month", "VisitorType", "TrafficType"):
        made[name] = frame[name].astype(str).to_numpy(dtype=object)
    made["month_number"] = frame["Month"].map({name: i for i, name in enumerate(MONTHS)}).to_numpy(dtype=float)
    made["special_day"] = frame["SpecialDay"].to_numpy(dtype=float)
    made["weekend"] = frame["Weekend"].to_numpy(dtype=bool)
    if page_values:
        values, pages = frame["PageValues"].to_numpy(dtype=float), _visited(frame)
        made["page_value"] = np.log1p(values)
        made["page_value_total"] = np.log1p(values * pages)
        made["page_value_counted"] = np.log1p(values * np.maximum(pages - np.exp(made["uncounted_log"]) + 1, 1))
        made["page_value_per_exit"] = made["page_value"] - made["exit_rate"]
    return pd.DataFrame(made, index=frame.index)


def denominator(value: Numbers, limit: int, rounding: Numbers | float) -> Numbers:
    """(n,) float64: the smallest ``k <= limit`` for which ``k * value`` is whole; ``limit + 1`` if none is.

    ``rounding`` is the error that ``value`` may have.

    >>> denominator(np.array([0.5, 2.0, 0.333333333]), 10, 1e-8).tolist()
    [2.0, 1.0, 3.0]
    """
    found = np.full(len(value), limit + 1.0)
    for k in range(limit, 0, -1):
        times = value * k
        found[np.abs(times - np.round(times)) < rounding * k + 1e-9] = k
    return found


def _visited(frame: pd.DataFrame) -> Numbers:
    return sum((frame[name].to_numpy(dtype=float) for name in _PAGES), start=np.zeros(len(frame)))


def _times(frame: pd.DataFrame) -> dict[str, NDArray]:
    made: dict[str, NDArray] = {}
    pages, total = _visited(frame), np.zeros(len(frame))
    for name in _PAGES:
        n, seconds = frame[name].to_numpy(dtype=float), frame[f"{name}_Duration"].to_numpy(dtype=float)
        total += seconds
        made[f"{name}_pages"] = np.log1p(n)
        made[f"{name}_s"] = np.log1p(seconds)
        made[f"{name}_s_per_page"] = np.log1p(seconds / np.maximum(n, 1))
        made[f"{name}_s_denominator"] = np.log(denominator(seconds, _TIME_DENOMINATOR, 2e-6 + 1e-9 * seconds))
    product, product_s = frame["ProductRelated"].to_numpy(dtype=float), frame["ProductRelated_Duration"].to_numpy(float)
    made["pages"], made["seconds"] = np.log1p(pages), np.log1p(total)
    made["s_per_page"] = np.log1p(total / np.maximum(pages, 1))
    made["product_share"] = product / np.maximum(pages, 1)
    made["product_s_share"] = product_s / (total + 1)
    return made


def _rates(frame: pd.DataFrame) -> dict[str, NDArray]:
    pages = _visited(frame)
    product = frame["ProductRelated"].to_numpy(dtype=float)
    bounce, leave = frame["BounceRates"].to_numpy(dtype=float), frame["ExitRates"].to_numpy(dtype=float)
    bounces, exits = bounce / _HIGHEST_RATE, leave / _HIGHEST_RATE  # mean per counted page
    made: dict[str, NDArray] = {
        "exit_rate": np.log(leave + _SMALL),
        "bounce_rate": np.log(bounce + _SMALL),
        "bounce_share": bounce / (leave + _SMALL),
        "exit_less_bounce": np.log(np.maximum(leave - bounce, 0) + _SMALL),
        "exit_rate_total": np.log1p(leave * pages),
        "bounce_rate_total": np.log1p(bounce * pages),
        "only_bounces": (bounce == leave).astype(float),
        "no_exit": (leave == 0).astype(float),
        "no_bounce": (bounce == 0).astype(float),
    }
    for name, mean in (("exit", exits), ("bounce", bounces)):
        for over, n in (("pages", pages), ("products", product)):
            made[f"{name}_{over}_denominator"] = np.log(denominator(mean * n, 60, 1e-4))
        made[f"{name}_denominator"] = np.log(denominator(mean, 300, 1e-6))
        made[f"{name}_denominator_to_pages"] = made[f"{name}_denominator"] - np.log1p(pages)
    return made | _counted(exits, bounces, pages)


def _counted(exits: Numbers, bounces: Numbers, pages: Numbers) -> dict[str, NDArray]:
    """The number of counted pages for which exits and bounces have the smallest denominators, and both totals."""
    candidates = np.arange(_UNCOUNTED)
    found = np.full((2, len(pages), _UNCOUNTED), _RATE_DENOMINATOR + 1.0)
    for less in candidates:
        counted = np.maximum(pages - less, 1)
        for of, mean in zip(found, (exits, bounces), strict=True):
            rounding = _ROUNDING * np.maximum(pages, 1)
            fits = denominator(mean * counted, _RATE_DENOMINATOR, rounding)
            of[:, less] = np.where(pages - less >= 1, fits, _RATE_DENOMINATOR + 1.0)
    # Of equally simple fractions the one with more counted pages.
    best = (found.max(axis=0) + 1e-3 * candidates).argmin(axis=1)
    rows = np.arange(len(pages))
    counted = np.maximum(pages - best, 1)
    return {
        "uncounted_log": np.log1p(best),
        "counted_exits": np.log1p(exits * counted),
        "counted_bounces": np.log1p(bounces * counted),
        "counted_exits_later": np.log1p(np.maximum(exits - bounces, 0) * counted),
        "counted_exit_denominator": np.log(found[0, rows, best]),
        "counted_bounce_denominator": np.log(found[1, rows, best]),
        "simpler_by": np.log(found[0].min(axis=1) / found[0, :, 0]),
    }


__all__ = ["MONTHS", "denominator", "shopper_features"]
