"""Customers who may leave in silence: BG/NBD for how often they order, Gamma-Gamma for how much an order is worth.

BG/NBD (Fader, Hardie & Lee 2005, "Counting your customers" the easy way): while alive a customer orders as a Poisson
process, the rates being gamma distributed (r, alpha); after each order he leaves for good with a probability of his
own, beta distributed (a, b). Gamma-Gamma (Fader & Hardie 2013): the orders of a customer are gamma distributed (p)
with a scale that is gamma distributed over customers (q, v).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln, hyp2f1

from features.errors import InputError
from training.intent.order_summaries import Summaries

Floats = NDArray[np.float64]

#: The papers' unit of time; it keeps parameters near one.
_WEEK_DAYS = 7.0
#: Logarithms of parameters are sought within this.
_BOUND = 8.0


class Money(StrEnum):
    """Which orders say what an order of a customer is worth."""

    REPEATS = "repeats"  # as published
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The fitted parameters; rates are per week and ``v`` is in cents.

    Attributes:
        money: Orders that Gamma-Gamma was fitted on.
    """

    r: float
    alpha: float
    a: float
    b: float
    p: float
    q: float
    v: float
    money: Money

    @classmethod
    def fit(cls, summaries: Summaries, money: Money = Money.REPEATS) -> Self:
        """By maximum likelihood, from customers as of an instant.

        Raises:
            InputError: Nobody has ordered twice, or no order that is counted has cost anything.
        """
        if not (summaries.repeats > 0).any():
            raise InputError("orders", "must hold customers who ordered again", 0, "take a longer history")
        rows = np.column_stack([summaries.repeats, summaries.recency_days, summaries.tenure_days])
        distinct, count = np.unique(rows, axis=0, return_counts=True)
        x, t_x, tenure = distinct[:, 0], distinct[:, 1] / _WEEK_DAYS, distinct[:, 2] / _WEEK_DAYS

        def orders(logs: Floats) -> float:
            return -float(count @ orders_log_likelihood(np.exp(logs), x, t_x, tenure)) / len(summaries)

        n, mean = _counted(summaries, money)
        paid = (n > 0) & (mean > 0)
        if not paid.any():
            raise InputError("cents", "must be above zero for somebody", 0)
        unit = float(np.median(mean[paid]))

        def worth(logs: Floats) -> float:
            return -float(worth_log_likelihood(np.exp(logs), n[paid], mean[paid] / unit).mean())

        r, alpha, a, b = _least(orders, [(0.3, 4.0, 0.8, 2.5), (1.0, 1.0, 1.0, 1.0)])
        p, q, v = _least(worth, [(6.0, 4.0, 0.5)])
        return cls(r, alpha, a, b, p, q, v * unit, Money(money))

    def alive(self, summaries: Summaries) -> Floats:
        """(m,) chances that a customer has not left; whoever ordered once cannot have left in this model."""
        x = summaries.repeats
        tenure, t_x = summaries.tenure_days / _WEEK_DAYS, summaries.recency_days / _WEEK_DAYS
        odds = np.log(self.a) - np.log(self.b + np.maximum(x, 1.0) - 1)
        odds += (self.r + x) * (np.log(self.alpha + tenure) - np.log(self.alpha + t_x))
        return np.where(x > 0, 1 / (1 + np.exp(np.minimum(odds, 700.0))), 1.0)

    def orders(self, summaries: Summaries, horizon_days: float, alive: Floats | None = None) -> Floats:
        """(m,) expected orders in the ``horizon_days`` after the instant (equation 10 of the paper).

        Args:
            alive: What ``alive`` says, where it is known already.
        """
        x, tenure, t = summaries.repeats, summaries.tenure_days / _WEEK_DAYS, horizon_days / _WEEK_DAYS
        # The formula is 0 / 0 at a = 1, and its limit is what it is beside it.
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6
        share = (self.alpha + tenure) / (self.alpha + tenure + t)
        series = hyp2f1(self.r + x, self.b + x, a + self.b + x - 1, 1 - share)
        lasting: Floats = (a + self.b + x - 1) / (a - 1) * (1 - share ** (self.r + x) * series)
        return np.maximum(lasting, 0.0) * (self.alive(summaries) if alive is None else alive)

    def order_cents(self, summaries: Summaries) -> Floats:
        """(m,) expected cents of an order; above the observed mean or below, by how little a customer has shown.

        ``p (v + n m) / (p n + q - 1)`` with n orders of mean m. Where q is at most 1 the population has no mean, and
        whoever has shown nothing is given that of q = 1.01.
        """
        n, mean = _counted(summaries, self.money)
        q = max(self.q, 1.01)
        return self.p * (self.v + n * mean) / (self.p * n + q - 1)

    def save(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """What ``save`` wrote.

        Raises:
            InputError: The file holds something else.
        """
        try:
            read = json.loads(path.read_text())
            return cls(**{**read, "money": Money(read["money"])})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(path.name, "must be a lifetime model", str(error), "save it again") from error


def orders_log_likelihood(parameters: Floats, x: Floats, t_x: Floats, tenure: Floats) -> Floats:
    """Of BG/NBD, per customer: equation 6 of Fader, Hardie & Lee (2005), without the data's own constant.

    Args:
        parameters: r, alpha, a, b.
        x: (m,) repeat orders.
        t_x: (m,) weeks from the first order to the last.
        tenure: (m,) weeks from the first order to the instant.
    """
    r, alpha, a, b = parameters
    rates = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    staying = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    alive = -(r + x) * np.log(alpha + tenure)
    gone = np.log(a) - np.log(b + np.maximum(x, 1.0) - 1) - (r + x) * np.log(alpha + t_x)
    return rates + staying + np.logaddexp(alive, np.where(x > 0, gone, -np.inf))


def worth_log_likelihood(parameters: Floats, n: Floats, mean: Floats) -> Floats:
    """Of Gamma-Gamma, per customer: equation 1a of Fader & Hardie (2013).

    Args:
        parameters: p, q, v.
        n: (m,) orders, at least one.
        mean: (m,) money per order, above zero.
    """
    p, q, v = parameters
    norm = gammaln(p * n + q) - gammaln(p * n) - gammaln(q)
    return norm + q * np.log(v) + (p * n - 1) * np.log(mean) + p * n * np.log(n) - (p * n + q) * np.log(v + n * mean)


def _counted(summaries: Summaries, money: Money) -> tuple[Floats, Floats]:
    """(m,) orders that count and (m,) their mean cents."""
    if money is Money.ALL:
        return summaries.repeats + 1, summaries.cents / (summaries.repeats + 1)
    later = summaries.cents - summaries.first_cents
    return summaries.repeats, later / np.maximum(summaries.repeats, 1.0)


def _least(negative: Callable[[Floats], float], starts: list[tuple[float, ...]]) -> list[float]:
    """Parameters where the negative log-likelihood is least, from the best of ``starts``."""
    bounds = [(-_BOUND, _BOUND)] * len(starts[0])
    found = [minimize(negative, np.log(start), method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(found, key=lambda end: float(end.fun))
    return [float(parameter) for parameter in np.exp(best.x)]


__all__ = ["Lifetime", "Money", "orders_log_likelihood", "worth_log_likelihood"]
