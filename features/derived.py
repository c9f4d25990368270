"""Features that follow from other features, for many rows at once or for one, by the same code.

What they need to know about everybody else (quantiles, rates of categories, prices) is the *population*: learned from a
matrix as of its instant, and kept with it, so that one user's row can be computed online.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.declarations import Declaration, Rate, Ratio, Score, Trend

#: How long somebody is remembered to have come some way towards a purchase.
FUNNEL_DAYS = 30

Values = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]


@dataclass
class Population:
    """What single rows are compared with.

    Attributes:
        cuts: Score to the four values that part the fifths.
        rates: Rate to the rate of everything, under "", and of each category.
        prices: Category to its items' prices, sorted.
        labels: Affinity to the labels that have a column, sorted.
    """

    cuts: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    prices: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write JSON; a rate that nobody knows is null."""
        rates = {
            name: {category: None if np.isnan(rate) else rate for category, rate in known.items()}
            for name, known in self.rates.items()
        }
        prices = {category: values.tolist() for category, values in self.prices.items()}
        content = {"cuts": self.cuts, "rates": rates, "prices": prices, "labels": self.labels}
        path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Population:
        """Read what ``save`` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        rates = {
            name: {category: float("nan") if rate is None else rate for category, rate in known.items()}
            for name, known in content["rates"].items()
        }
        prices = {category: np.array(values, dtype=np.int64) for category, values in content["prices"].items()}
        return cls(content["cuts"], rates, prices, content["labels"])


def derive(
    declarations: Sequence[Declaration],
    values: Values,
    population: Population,
    categories: NDArray[np.object_] | None = None,
    *,
    learn: bool,
) -> None:
    """Add the derived ones of ``declarations`` to ``values``, in their order.

    Args:
        values: Name to (n,) numbers; what is missing is NaN.
        population: Filled if ``learn``, else read.
        categories: (n,) the category of each item, for rates.
    """
    codes, names = pd.factorize(np.zeros(0, dtype=object) if categories is None else categories)
    for declared in declarations:
        if isinstance(declared, Ratio):
            values[declared.name] = ratio(values[declared.numerator], values[declared.denominator])
        elif isinstance(declared, Trend):
            values[declared.name] = _trend(declared, values)
        elif isinstance(declared, Score):
            if learn:
                population.cuts[declared.name] = fifths(declared, values[declared.feature])
            values[declared.name] = _score(declared, values[declared.feature], population.cuts[declared.name])
        elif isinstance(declared, Rate):
            top, bottom = values[declared.numerator], values[declared.denominator]
            if learn:
                population.rates[declared.name] = _rates(top, bottom, codes, names, declared.strength)
            rates = population.rates[declared.name]
            parent = np.array([rates.get(name, rates[""]) for name in names], dtype=np.float64)[codes]
            values[declared.name] = (top + declared.strength * parent) / (bottom + declared.strength)


def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> Floats:
    """``top / bottom``, missing where ``bottom`` is 0."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom != 0)


def _trend(trend: Trend, values: Values) -> Floats:
    per_day = trend.recent_days / trend.base_days
    return (values[trend.recent] + trend.strength) / (values[trend.base] * per_day + trend.strength)


def scored(score: Score, values: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) who has a score: whoever never bought has none."""
    known = ~np.isnan(values.astype(np.float64))
    return known & (values > 0) if score.high_is_good else known


def fifths(score: Score, values: NDArray[Any]) -> list[float]:
    """The largest values of the four lower fifths of all that are scored."""
    known = np.sort(values[scored(score, values)])
    if not len(known):
        return [0.0] * 4
    last = np.ceil(len(known) * np.array([0.2, 0.4, 0.6, 0.8])).astype(np.int64) - 1
    return [float(value) for value in known[last]]


def _score(score: Score, values: NDArray[Any], cuts: Sequence[float]) -> Floats:
    fifth = np.searchsorted(np.array(cuts), values.astype(np.float64), side="left").astype(np.float64)
    return np.where(scored(score, values), fifth + 1 if score.high_is_good else 5 - fifth, np.nan)


def _rates(
    top: NDArray[Any], bottom: NDArray[Any], codes: NDArray[np.int64], names: NDArray[np.object_], strength: int
) -> dict[str, float]:
    """The rate of all, under "", and of each category shrunk to it."""
    total = int(bottom.sum())
    overall = int(top.sum()) / total if total else float("nan")
    tops, bottoms = (np.bincount(codes, part, len(names)) for part in (top, bottom))
    shrunk = (tops + strength * overall) / (bottoms + strength)
    return {"": overall, **dict(zip(names.tolist(), shrunk.tolist(), strict=True))}


def price_ranks(prices: Floats, categories: NDArray[np.object_], population: Population, *, learn: bool) -> Floats:
    """(n,) the share of the priced items of the same category that cost less; missing without a price."""
    priced = ~np.isnan(prices)
    if learn:
        groups = pd.Series(prices[priced]).groupby(categories[priced], sort=True)
        population.prices = {str(name): np.sort(group.to_numpy()).astype(np.int64) for name, group in groups}
    ranks = np.full(len(prices), np.nan)
    codes, names = pd.factorize(categories)
    for code, name in enumerate(names):
        others = population.prices.get(name)
        if others is not None:
            rows = np.flatnonzero((codes == code) & priced)
            ranks[rows] = np.searchsorted(others, prices[rows], side="left") / len(others)
    return ranks


def funnel_stages(
    views: Floats, carts: Floats, purchases: Floats, within_days: int = FUNNEL_DAYS
) -> NDArray[np.object_]:
    """(n,) how far somebody has come since their last purchase: none, view, cart or purchase.

    Args:
        views, carts, purchases: Whole days since the last one, NaN if there was none.
        within_days: What is older has been forgotten.
    """
    views, carts, purchases = (np.where(days < within_days, days, np.inf) for days in (views, carts, purchases))
    stages = np.full(len(views), "none", dtype=object)
    stages[views < np.inf] = "view"
    # A view on the day of the purchase led to it; only a later day begins anew.
    stages[(purchases < np.inf) & (purchases <= views)] = "purchase"
    stages[(carts < np.inf) & (carts < purchases)] = "cart"
    return stages


__all__ = [
    "FUNNEL_DAYS",
    "Floats",
    "Population",
    "Values",
    "derive",
    "fifths",
    "funnel_stages",
    "price_ranks",
    "ratio",
    "scored",
]
