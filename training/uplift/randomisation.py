"""Whether a log was randomised as it says: without that, no difference between arms is an effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, norm

from features.errors import InputError
from training.uplift.effects import Doubles, propensities
from training.uplift.learner import Matrix

#: A log that was randomised is refused once in so many times.
REFUSED_BY_CHANCE = 0.001

#: Nobody's chance of either arm may be smaller: one user would stand for more than a hundred.
LEAST_CHANCE = 0.01

#: Fewer users tell nothing of a value: the test's distribution holds for sums over many.
_FEWEST = 20
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Balance:
    """How well what was known before tells the arms apart.

    Attributes:
        statistic: The score test's; about chi-square with ``columns`` degrees of freedom if the log was randomised.
        columns: Independent columns compared.
        p_value: The share of randomised logs that look as unbalanced.
        apart: The covariates that differ most: name, score in standard errors and adjusted p-value.
    """

    statistic: float
    columns: int
    p_value: float
    apart: tuple[tuple[str, float, float], ...]


def balance(x: Matrix, treated: ArrayLike, propensity: ArrayLike | None = None, *, names: Sequence[str]) -> Balance:
    """The score test of a logistic regression of the arm on the covariates, against the stated propensities.

    ``S' V^-1 S`` with ``S = sum (t - e) c`` over users' covariates c, their squares and which are missing, and V the
    covariance of S; chi-square with the rank of V as degrees of freedom if the log was randomised (Rao 1948). Those
    named have the largest ``|S_j| / sqrt(V_jj)``, with p-values adjusted for their number (Bonferroni).

    Args:
        x: (n, d) what was known before; NaN for a missing number.
        treated: (n,) bool.
        propensity: Stated chance of treatment, one or (n,); the treated share if absent.
        names: (d,) of the columns.
    """
    chance = propensities(treated, propensity)
    arm = np.asarray(treated, dtype=bool)
    if len(names) != x.shape[1] or len(arm) != len(x):
        raise InputError("names and treated", f"must fit x of shape {x.shape}", f"{len(names)} and {len(arm)}")
    columns, owner = _compared(x)
    frequent = (
        np.array([len(column) - np.unique(column, return_counts=True)[1].max() for column in columns.T]) >= _FEWEST
    )
    columns, owner = columns[:, frequent], owner[frequent]
    noise = chance * (1 - chance)
    columns -= (noise @ columns) / noise.sum()
    scale = np.sqrt(noise @ columns**2)
    kept = scale > 1e-9
    columns, owner = columns[:, kept] / scale[kept], owner[kept]
    # Directions along which covariates vary at all; the statistic is the length of S along them.
    values, vectors = np.linalg.eigh(columns.T @ (noise[:, None] * columns))
    whitened = vectors[:, values > 1e-6] / np.sqrt(values[values > 1e-6])
    score = (arm - chance) @ columns
    statistic, rank = float(((score @ whitened) ** 2).sum()), whitened.shape[1]
    p_value = float(chi2.sf(statistic, rank)) if rank else 1.0
    return Balance(statistic, rank, p_value, _apart(score, owner, names))


def check_randomised(
    x: Matrix, treated: ArrayLike, propensity: ArrayLike | None = None, *, names: Sequence[str]
) -> Balance:
    """Refuse a log whose arms differ in what was known before by more than chance and the propensities explain.

    Raises:
        InputError: The arms can be told apart, or somebody's chance of an arm is below ``LEAST_CHANCE``.
    """
    chance = propensities(treated, propensity)
    least = float(np.minimum(chance, 1 - chance).min())
    if least < LEAST_CHANCE:
        rule = f"must lie between {LEAST_CHANCE:g} and {1 - LEAST_CHANCE:g} for every user: both arms must overlap"
        mend = "leave out users who could hardly have been in both arms"
        raise InputError("propensity", rule, f"{chance.min():g} to {chance.max():g}", mend)
    found = balance(x, treated, propensity, names=names)
    if found.p_value > REFUSED_BY_CHANCE:
        return found
    told = ", ".join(f"{name} ({score:+.1f} standard errors)" for name, score, _ in found.apart)
    if propensity is None:
        rule = "must be randomised: what was known before tells the arms apart"
        mend = "give each user's propensity, or use a log in which a coin decided"
    else:
        rule = "must be randomised by the propensities given: what was known before tells more of the arms"
        mend = "give the propensities that the arms were drawn with"
    raise InputError("treated", rule, f"differences in {told}, p {found.p_value:.2g}", mend)


def _compared(x: Matrix) -> tuple[Doubles, NDArray[np.intp]]:
    """(n, D) columns without gaps, and (D,) the covariate that each comes from: places, their squares, gaps."""
    made: list[Doubles] = []
    owner: list[int] = []
    for column in range(x.shape[1]):
        value = x[:, column].astype(np.float64)
        known = np.isfinite(value)
        if known.any():
            low, high = np.quantile(value[known], [0.005, 0.995])
            clipped = np.clip(value, low, high) if high > low else value
            spread = float(clipped[known].std())
            place = np.where(known, (clipped - clipped[known].mean()) / (spread or 1.0), 0.0)
            made += [place, np.where(known, place**2 - 1, 0.0)] if len(np.unique(place)) > 3 else [place]
        made.append((~known).astype(np.float64))
        owner += [column] * (len(made) - len(owner))
    return (np.column_stack(made) if made else np.empty((len(x), 0))), np.array(owner, dtype=np.intp)


def _apart(score: Doubles, owner: NDArray[np.intp], names: Sequence[str]) -> tuple[tuple[str, float, float], ...]:
    """The covariates whose scores are largest, each once."""
    found: dict[str, tuple[str, float, float]] = {}
    for column in np.argsort(-np.abs(score), kind="stable"):
        name = str(names[owner[column]])
        adjusted = min(1.0, len(score) * float(2 * norm.sf(abs(score[column]))))
        found.setdefault(name, (name, float(score[column]), adjusted))
        if len(found) == _NAMED:
            break
    return tuple(found.values())


__all__ = ["LEAST_CHANCE", "REFUSED_BY_CHANCE", "Balance", "balance", "check_randomised"]
