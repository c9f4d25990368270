"""What a randomised log says of one user's effect: noisy alone, right on average over any group."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.errors import InputError

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


def propensities(treated: ArrayLike, propensity: ArrayLike | None) -> Doubles:
    """(n,) each user's chance of treatment: as given, for one number or one per user, or the share that was treated.

    Raises:
        InputError: A chance is not strictly between 0 and 1, or one arm is empty, or there is not one chance per user.
    """
    arm = np.asarray(treated, dtype=bool)
    if arm.ndim != 1 or not 0 < arm.sum() < len(arm):
        raise InputError("treated", "must hold users of both arms", f"{int(arm.sum())} of {arm.size} treated")
    chance = np.asarray(arm.mean() if propensity is None else propensity, dtype=np.float64)
    if chance.shape not in ((), arm.shape):
        raise InputError("propensity", f"must be one number, or one for each of {len(arm)} users", chance.shape)
    if not ((chance > 0) & (chance < 1)).all():
        rule = "must lie strictly between 0 and 1 for every user"
        mend = "leave out users who could not have been in both arms"
        raise InputError("propensity", rule, f"{chance.min():g} to {chance.max():g}", mend)
    whole: Doubles = np.broadcast_to(chance, arm.shape).copy()
    return whole


def pseudo_outcomes(
    treated: ArrayLike, y: ArrayLike, propensity: ArrayLike | None = None, expected: ArrayLike | None = None
) -> Doubles:
    """(n,) float64 ``(t - e) / (e (1 - e)) * (y - m)``, plus the mean effect if no ``expected`` is given.

    Given what is known of a user, its expectation is that user's effect, whatever ``m`` is: the transformed outcome of
    Athey & Imbens (2016) for m = 0, and the doubly robust score for ``m = (1 - e) mu_1(x) + e mu_0(x)`` (Robins et al.
    1994; Kennedy 2020). Without ``expected``, m is made of the arms' weighted means (Hajek 1971); the mean of all users
    then is the difference of these means.

    Args:
        treated: (n,) bool.
        y: (n,) outcomes.
        propensity: See ``propensities``.
        expected: (n,) the m of each user; it must not have been learned from that user's outcome.

    Raises:
        InputError: Propensities or outcomes cannot be used.
    """
    chance = propensities(treated, propensity)
    arm, outcome = np.asarray(treated, dtype=bool), np.asarray(y, dtype=np.float64)
    if outcome.shape != arm.shape or not np.isfinite(outcome).all():
        raise InputError("y", f"must be one finite outcome for each of {len(arm)} users", outcome.shape)
    weight = np.where(arm, 1 / chance, -1 / (1 - chance))
    if expected is not None:
        score: Doubles = weight * (outcome - np.asarray(expected, dtype=np.float64))
        return score
    mean = {side: np.average(outcome[arm == side], weights=np.abs(weight[arm == side])) for side in (True, False)}
    middle = np.where(arm, mean[True], mean[False])
    centred: Doubles = mean[True] - mean[False] + weight * (outcome - middle)
    return centred


__all__ = ["Bools", "Doubles", "propensities", "pseudo_outcomes"]
