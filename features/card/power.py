"""How small an effect a sample can show: minimal detectable effects at 5 % two-sided error and 80 % power.

Source: Kohavi, Tang & Xu, *Trustworthy Online Controlled Experiments*, Cambridge 2020, chapter 17: two groups of ``n``
show a difference of ``sqrt(2) z s / sqrt(n)`` with ``z = 1.960 + 0.842``, the often quoted ``n = 16 s^2 / d^2``.
"""

from __future__ import annotations

import math

#: Standard normal quantiles of 97.5 % and 80 %, added.
Z = 1.959964 + 0.841621


def detectable_lift(users: int, rate: float) -> float | None:
    """The smallest relative lift of a conversion rate that ``users`` halved into two groups show; None if unknown.

    The difference of two proportions, both with the variance of ``rate``.

    >>> round(detectable_lift(20_000, 0.1), 3)
    0.119
    >>> detectable_lift(20_000, 1.0) is None
    True
    """
    if users < 2 or not 0 < rate < 1:
        return None
    return Z * math.sqrt(2 * (1 - rate) / (rate * users / 2))


def detectable_difference(users: int, sd: float) -> float | None:
    """The smallest mean difference of paired values with standard deviation ``sd`` that ``users`` show.

    >>> round(detectable_difference(3_140, 0.2), 4)
    0.01
    """
    return Z * sd / math.sqrt(users) if users else None


def users_for_difference(difference: float, sd: float) -> int:
    """The fewest users whose paired values show ``difference``.

    >>> users_for_difference(0.01, 0.2)
    3140
    """
    return math.ceil((Z * sd / difference) ** 2)


__all__ = ["Z", "detectable_difference", "detectable_lift", "users_for_difference"]
