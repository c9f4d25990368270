"""How sure a difference between arms is: paired bootstrap over users, simultaneous over all arms.

Users are the unit of randomisation, so users are resampled, and each user's values under all arms stay together.
Intervals are studentised (bootstrap-t: Efron & Tibshirani 1993, chapter 12; Hall 1988), which suits skewed metrics that
are zero for most users. One critical value per side serves all arms: the quantile of the largest t over the arms in
each resample (single-step max-t: Westfall & Young 1993; Romano & Wolf 2005). Hence, at 95 % confidence, the chance that
any arm without an effect has an interval above zero is 2.5 %, however many arms there are and however correlated.

The sides have a critical value each rather than one for |t|: a verdict rests on one end of the interval, and where the
differences are skewed a symmetric interval is too short at one end and too long at the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.errors import ConfigError, InputError

Floats = NDArray[np.float64]

#: Beyond this many users, as many groups of users are resampled instead: 5,000,000 users then cost what 20,000 do.
_MOST_UNITS = 20_000
#: Weights counted at a time; few enough to stay in the processor's cache.
_BLOCK = 100_000


@dataclass(frozen=True, slots=True)
class Lift:
    """What an arm changes against the control, per user.

    Attributes:
        mean_control: Mean over users.
        mean_arm: Mean over the same users.
        difference: ``mean_arm - mean_control``.
        low: Lower end of the difference's interval.
        high: Upper end of the difference's interval.
        relative: ``difference / mean_control``; None where the control's mean is zero.
        relative_low: Lower end of the relative interval; None where the control's mean is not clearly above zero.
        relative_high: Upper end of it; None as above. The relative interval holds zero when the other one does.
        p_value: Two-sided and adjusted for the number of arms.
        n_users: Users compared.
        n_changed: Users with another value under the arm than under the control; only they tell the two apart.
    """

    mean_control: float
    mean_arm: float
    difference: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p_value: float
    n_users: int
    n_changed: int

    def as_json(self) -> dict[str, float | None]:
        """What a report says of it; an end that is not finite is None."""
        names = ("difference", "low", "high", "relative", "p_value")
        return {name: _finite(getattr(self, name)) for name in names}


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over users and the interval around it."""

    mean: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """The three numbers; an end that is not finite, as with a single user, is None."""
        return {name: _finite(getattr(self, name)) for name in ("mean", "low", "high")}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def paired_bootstrap(
    control: ArrayLike,
    arms: Mapping[str, ArrayLike],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int,
) -> dict[str, Lift]:
    """Lifts of all arms over one control, with simultaneous intervals.

    Args:
        control: (n,) one value per user, for example the user's NDCG.
        arms: Name to (n,) values of the same users in the same order.
        resamples: Bootstrap resamples; at least 200.
        confidence: Family-wise, over all arms; half of the rest lies on either side.
        seed: Same seed and values, same intervals.

    Returns:
        A lift per arm. A single user bounds nothing: its interval is infinite. Where nothing varies, it is a point.
    """
    base = _values("control", control)
    if not arms:
        return {}
    names = list(arms)
    values = np.column_stack([_values(f"arm {name}", arms[name], n=len(base)) for name in names])
    differences = values - base[:, None]
    t = _bootstrap_t(differences, resamples, confidence, seed)
    largest, smallest = t.max(axis=1), t.min(axis=1)
    upper, lower = _critical(largest, confidence), -_critical(-smallest, confidence)
    return {name: _lift(base, differences[:, i], upper, lower, largest, smallest) for i, name in enumerate(names)}


def mean_interval(values: ArrayLike, *, resamples: int = 2000, confidence: float = 0.95, seed: int) -> Interval:
    """The mean of (n,) values, one per user, with its studentised bootstrap interval."""
    column = _values("values", values)
    t = _bootstrap_t(column[:, None], resamples, confidence, seed)[:, 0]
    return Interval(float(column.mean()), *_ends(column, _critical(t, confidence), -_critical(-t, confidence)))


def _bootstrap_t(columns: Floats, resamples: int, confidence: float, seed: int) -> Floats:
    """(resamples, a) studentised means of (n, a) columns; zero for columns that do not vary."""
    if resamples < 200:
        raise ConfigError("resamples", "must be at least 200 for an interval to mean anything", resamples)
    if not 0 < confidence < 1:
        raise ConfigError("confidence", "must lie between 0 and 1", confidence, "write 0.95 for 95 %")
    generator = np.random.default_rng(seed)
    units = _units(columns - columns.mean(axis=0), generator)
    n, a = units.shape
    moments = np.hstack([units, units**2])
    drawn: Floats = np.vstack([weights @ moments for weights in _weights(n, resamples, generator)]) / n
    mean, variance = drawn[:, :a], drawn[:, a:] - drawn[:, :a] ** 2
    whole = np.mean(units**2, axis=0)
    # A resample may hold only users whose values are equal; its spread is then taken from all users.
    variance = np.where(variance > 1e-12 * whole, variance, whole)
    t: Floats = np.zeros_like(mean)
    np.divide(mean * math.sqrt(n), np.sqrt(variance), out=t, where=whole > 0)
    return t


def _units(centred: Floats, generator: np.random.Generator) -> Floats:
    """What is resampled: users, or the sums of random groups of users if there are very many.

    The t of a mean of group sums has the distribution that it has for single users, up to the sampling error of the
    groups' spread, which is 0.5 % for 20,000 groups.
    """
    n = len(centred)
    if n <= _MOST_UNITS:
        return centred
    starts = np.linspace(0, n, _MOST_UNITS, endpoint=False).astype(np.intp)
    grouped: Floats = np.add.reduceat(centred[generator.permutation(n)], starts, axis=0)
    return grouped


def _weights(n: int, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    """How often each of n units is drawn, in blocks of rows; there are ``resamples`` rows in all."""
    block = max(1, _BLOCK // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _critical(t: Floats, confidence: float) -> float:
    """The value that one more such t exceeds with a chance of at most half the error, 1 in 40 at 95 % confidence."""
    rank = math.ceil((len(t) + 1) * (1 + confidence) / 2)
    return float(np.partition(t, rank - 1)[rank - 1]) if rank <= len(t) else math.inf


def _lift(base: Floats, difference: Floats, upper: float, lower: float, largest: Floats, smallest: Floats) -> Lift:
    mean_control, mean = float(base.mean()), float(difference.mean())
    low, high = _ends(difference, upper, lower)
    relative = _relative(base, difference, upper, lower) if len(base) > 1 else (None, None)
    return Lift(
        mean_control=mean_control,
        mean_arm=mean_control + mean,
        difference=mean,
        low=low,
        high=high,
        relative=mean / mean_control if mean_control else None,
        relative_low=relative[0],
        relative_high=relative[1],
        p_value=_p_value(mean, _standard_error(difference), largest, smallest),
        n_users=len(base),
        n_changed=int(np.count_nonzero(difference)),
    )


def _relative(base: Floats, difference: Floats, upper: float, lower: float) -> tuple[float | None, float | None]:
    """The ratio's interval (Fieller 1954): all r for which the mean of ``difference - r * base`` may be zero.

    At r = 0 that is the question which the interval of the difference answers, so both agree on the sign.
    """
    n = len(base)
    centred_d, centred_c = difference - difference.mean(), base - base.mean()
    d, c = float(difference.mean()), float(base.mean())
    dd, dc, cc = (float(np.mean(x)) / n for x in (centred_d**2, centred_d * centred_c, centred_c**2))
    ends: list[float] = []
    for critical, side in ((upper, -1.0), (lower, 1.0)):
        square = critical**2
        quadratic, linear, constant = c * c - square * cc, d * c - square * dc, d * d - square * dd
        if c <= 0 or quadratic <= 0:
            return None, None
        root = math.sqrt(max(linear * linear - quadratic * constant, 0.0))
        ends.append((linear + side * root) / quadratic)
    return ends[0], ends[1]


def _p_value(mean: float, error: float, largest: Floats, smallest: Floats) -> float:
    if error == math.inf:
        return 1.0
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    t = mean / error
    # One is added so that the p-value is never below what so many resamples can tell (Davison & Hinkley 1997, 4.11).
    above = (1 + int(np.count_nonzero(largest >= t))) / (1 + len(largest))
    below = (1 + int(np.count_nonzero(smallest <= t))) / (1 + len(smallest))
    return min(1.0, 2 * min(above, below))


def _standard_error(column: Floats) -> float:
    n = len(column)
    return math.inf if n == 1 else float(column.std() / math.sqrt(n))


def _ends(column: Floats, upper: float, lower: float) -> tuple[float, float]:
    """The interval of a column's mean; the large t bound it from below and the small ones from above."""
    mean, error = float(column.mean()), _standard_error(column)
    if error == math.inf:
        return -math.inf, math.inf
    return mean - upper * error, mean - lower * error


def _values(name: str, values: ArrayLike, n: int | None = None) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or len(column) == 0:
        raise InputError(name, "must be one number per user, for at least one user", f"shape {column.shape}")
    if n is not None and len(column) != n:
        raise InputError(name, f"must have the control's {n} users", len(column), "evaluate all arms on the same users")
    if not np.isfinite(column).all():
        raise InputError(name, "must be finite", f"{np.count_nonzero(~np.isfinite(column))} values that are not")
    return column


__all__ = ["Interval", "Lift", "mean_interval", "paired_bootstrap"]
