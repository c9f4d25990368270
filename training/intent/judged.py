"""What may be said of a predictor's numbers: calibrated chances where the contract held, else only their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from training.intent.calibration import Calibrator, fit_calibrator, log_losses
from training.intent.contract import Judgement, contract
from training.intent.predictor import Vector

#: Of the log-odds that were judged, kept to rank by.
QUANTILES = 1_001

#: Two numbers learned from all rows cost nothing; boosting with little to find is too sure of itself.
CALIBRATED_BY = "temperature"


@dataclass(frozen=True, slots=True)
class Chances:
    """Answers about n users or sessions.

    Attributes:
        probability: (n,) float64, NaN where the contract does not allow one.
        rank: (n,) float64, the share of those it was judged on who are less likely.
        refused: (n,) object, the segment that broke the contract, empty where none did.
    """

    probability: Vector
    rank: Vector
    refused: NDArray[np.object_]


class Chance(NamedTuple):
    """The answer about one, as in ``Chances``, with None for what is not there."""

    probability: float | None
    rank: float
    refused: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """How one target's log-odds become chances.

    Attributes:
        judgements: Of the calibration contract; all rows first.
        quantiles: (q,) ascending log-odds of the rows it was judged on.
        log_loss: Their mean, in nats.
    """

    calibrator: Calibrator
    judgements: tuple[Judgement, ...]
    quantiles: Vector
    log_loss: float

    @classmethod
    def of(
        cls,
        log_odds: Vector,
        outcome: Vector,
        half: NDArray[np.integer],
        segments: Mapping[str, NDArray[np.bool_]],
        judged: slice = slice(None),
        calibrated_by: str = CALIBRATED_BY,
    ) -> Self:
        """From (n,) log-odds of rows that the predictor has not learned from, and their (n,) outcomes of 0 or 1.

        Args:
            half: (n,) 0 or 1: each half is judged by a calibrator that has learned from the other.
            segments: Membership by name, of the rows that are judged.
            judged: The rows that are judged and ranked by; the calibrator learns from all.
            calibrated_by: Kind of calibrator, see ``fit_calibrator``.
        """
        p = expit(log_odds)
        crossed = np.empty(len(p))
        for side in (0, 1):
            mine = half == side
            crossed[mine] = fit_calibrator(p[~mine], outcome[~mine], calibrated_by).apply(p[mine])
        quantiles = np.quantile(log_odds[judged], np.linspace(0, 1, QUANTILES))
        judgements = tuple(contract(crossed[judged], outcome[judged], segments))
        log_loss = float(log_losses(crossed[judged], outcome[judged]).mean())
        return cls(fit_calibrator(p, outcome, calibrated_by), judgements, quantiles, log_loss)

    def chances(self, log_odds: Vector, members: Callable[[str], NDArray[np.bool_]]) -> Chances:
        """Of (n,) log-odds; ``members`` gives (n,) who is in a segment."""
        refused = np.full(len(log_odds), "", dtype=object)
        for judgement in self.judgements:
            if not judgement.probability:
                refused[members(judgement.segment) & (refused == "")] = judgement.segment
        probability = self.calibrator.apply(expit(log_odds))
        rank = np.searchsorted(self.quantiles, log_odds) / len(self.quantiles)
        return Chances(np.where(refused == "", probability, np.nan), rank, refused)

    def chance(self, log_odds: float, belongs: Callable[[str], bool]) -> Chance:
        """``chances`` of one; ``belongs`` says whether it is in a segment."""
        rank = float(np.searchsorted(self.quantiles, log_odds) / len(self.quantiles))
        for judgement in self.judgements:
            if not judgement.probability and belongs(judgement.segment):
                return Chance(None, rank, judgement.segment)
        return Chance(float(self.calibrator.apply(expit(np.array([log_odds])))[0]), rank, None)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return {
            "calibrator": self.calibrator.to_json(),
            "judgements": [asdict(judgement) for judgement in self.judgements],
            "quantiles": self.quantiles.tolist(),
            "log_loss": self.log_loss,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave."""
        judgements = (
            Judgement(**{**each, "mean": tuple(each["mean"]), "slope": tuple(each["slope"])})
            for each in stored["judgements"]
        )
        quantiles = np.array(stored["quantiles"])
        return cls(Calibrator.from_json(stored["calibrator"]), tuple(judgements), quantiles, stored["log_loss"])


__all__ = ["CALIBRATED_BY", "QUANTILES", "Chance", "Chances", "Judged"]
