"""Why a customer is expected to be worth so much: what each side of their buying did, against the middle customer.

Exact Shapley values of the logarithm of the expected money over four groups of what is known: the mean, over all orders
in which the groups may be told, of what each one changes where those not told yet are the middle customer's (Baseline
Shapley; Sundararajan & Najmi 2020, The many Shapley values for model explanation, after Shapley 1953). The sixteen
customers who are half one and half the other are asked in one batch, and the parts add up to the difference.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from training.intent.order_summaries import FEATURES, Summaries

Floats = NDArray[np.float64]

#: Which features belong to which side. Number of orders and time since the first go with frequency, time since the last
#: with recency, the mean cents of an order with amounts.
GROUPS: dict[str, tuple[str, ...]] = {
    "recency": ("recency_share", "log_days_since_last"),
    "frequency": (
        "log_repeats",
        "log_tenure",
        "log_orders_30",
        "log_orders_60",
        "log_orders_90",
        "log_orders_180",
        "log_decayed_30",
        "log_decayed_90",
        "no_repeat",
        "one_repeat",
    ),
    "spacing": ("log_last_gap", "log_mean_gap", "gap_irregularity", "log_overdue"),
    "amounts": ("mean_log_cents", "log_last_cents", "log_most_cents", "log_first_cents"),
}

_NAMES = tuple(GROUPS)
_OWN = np.array([[bool(told >> group & 1) for group in range(len(_NAMES))] for told in range(2 ** len(_NAMES))])
_COLUMNS = np.array([next(at for at, names in enumerate(GROUPS.values()) if name in names) for name in FEATURES])
#: (16, 20) whether a feature of the mixed customer is their own.
_FEATURES_OWN = _OWN[:, _COLUMNS]


def middle_customer(summaries: Summaries) -> Summaries:
    """One customer, number 0, with the median of everything that is known of customers."""
    orders = summaries.repeats + 1
    repeats, tenure = np.median(summaries.repeats), np.median(summaries.tenure_days)
    since = np.median(summaries.tenure_days - summaries.recency_days)
    cents = np.median(summaries.cents / orders)
    return Summaries(
        customer=np.zeros(1, dtype=np.int64),
        repeats=np.array([repeats]),
        recency_days=np.maximum(np.array([tenure - since]), 0.0),
        tenure_days=np.array([tenure]),
        cents=np.array([cents * (repeats + 1)]),
        first_cents=np.array([cents]),
        features=np.median(summaries.features, axis=0)[None, :],
    )


def mixed(one: Summaries, middle: Summaries) -> Summaries:
    """The 16 customers who are partly ``one`` and for the rest ``middle``; bit g of a row says group g is one's own.

    The last of them is ``one``, the first is ``middle``. Where one's time since the last order is longer than the
    other's since the first, the last order is the first.
    """
    recency, frequency, amounts = _OWN[:, 0], _OWN[:, 1], _OWN[:, 3]
    repeats = np.where(frequency, one.repeats[0], middle.repeats[0])
    tenure = np.where(frequency, one.tenure_days[0], middle.tenure_days[0])
    last = [part.tenure_days[0] - part.recency_days[0] for part in (one, middle)]
    mean = np.where(amounts, *(part.cents[0] / (part.repeats[0] + 1) for part in (one, middle)))
    span = np.maximum(tenure - np.where(recency, *last), 0.0)
    return Summaries(
        customer=np.arange(len(_OWN)),
        repeats=repeats,
        recency_days=span,
        tenure_days=tenure,
        cents=mean * (repeats + 1),
        first_cents=np.where(amounts, one.first_cents[0], middle.first_cents[0]),
        features=np.where(_FEATURES_OWN, one.features, middle.features),
    )


def _weights() -> Floats:
    """(4, 16): Shapley values of the groups are these times the 16 customers' values."""
    n = len(_NAMES)
    weights = np.zeros((n, 2**n))
    for group in range(n):
        others = [other for other in range(n) if other != group]
        for size in range(n):
            share = factorial(size) * factorial(n - size - 1) / factorial(n)
            for told in combinations(others, size):
                row = sum(1 << other for other in told)
                weights[group, row | 1 << group] += share
                weights[group, row] -= share
    return weights


_WEIGHTS = _weights()


def shapley(log_values: Floats) -> dict[str, float]:
    """What each group added, from the (16,) logarithms of what the ``mixed`` customers are expected to spend."""
    return dict(zip(_NAMES, (_WEIGHTS @ log_values).tolist(), strict=True))


def shown(one: Summaries) -> dict[str, float | int | None]:
    """What says it best of each group: days since the last order, orders, mean days between them, mean cents."""
    orders, days = int(one.repeats[0]) + 1, float(one.recency_days[0])
    return {
        "recency": float(one.tenure_days[0]) - days,
        "frequency": orders,
        "spacing": days / (orders - 1) if orders > 1 else None,
        "amounts": float(one.cents[0]) / orders,
    }


__all__ = ["GROUPS", "middle_customer", "mixed", "shapley", "shown"]
