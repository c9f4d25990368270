"""Columns as piecewise linear functions of themselves, for models that are linear in what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.intent.predictor import Matrix, Vector

#: Columns with at most so many different values get no pieces.
_FEW = 8
#: Deviations from the mean at which a straight line has bent to about 2/3.
_BEND = 3.0


@dataclass(frozen=True, slots=True)
class PiecewiseLinear:
    """Quantile pieces, a straight line that flattens, and a flag for missing; a missing value is 0 in the others.

    The piece between the quantiles ``a < b`` is ``min(max((x - a) / (b - a), 0), 1) - 1/2`` (Gorishniy et al. 2022, On
    embeddings for numerical features in tabular deep learning, eq. 1); the line is ``s / sqrt(1 + (s / 3) ** 2)``,
    ``s = (x - mean) / deviation`` (Holzmueller et al. 2024, Better by default, "smooth clipping").

    Attributes:
        low, high: (pieces,) float64: ``a`` and ``b``.
        piece_of: (pieces,) int64: the column of each piece.
        mean, deviation: (d,) float64, of the values that are there.
        flagged: (f,) int64: columns in which values were missing.
    """

    low: Vector
    high: Vector
    piece_of: NDArray[np.int64]
    mean: Vector
    deviation: Vector
    flagged: NDArray[np.int64]

    @classmethod
    def fit(cls, x: Matrix, pieces: int) -> Self:
        """Learn from (n, d); at most ``pieces`` pieces per column, none where ``pieces`` is 0."""
        low: list[float] = []
        high: list[float] = []
        piece_of: list[int] = []
        mean, deviation = np.zeros(x.shape[1]), np.ones(x.shape[1])
        for column in range(x.shape[1]):
            known = x[:, column].astype(np.float64)
            known = known[~np.isnan(known)]
            if not len(known):
                continue
            mean[column], spread = known.mean(), known.std()
            deviation[column] = spread if spread > 0 else 1.0
            if pieces and len(np.unique(known)) > _FEW:
                edges = np.unique(np.quantile(known, np.linspace(0, 1, pieces + 1)))
                low += edges[:-1].tolist()
                high += edges[1:].tolist()
                piece_of += [column] * (len(edges) - 1)
        flagged = np.flatnonzero(np.isnan(x).any(axis=0))
        return cls(np.array(low), np.array(high), np.array(piece_of, dtype=np.int64), mean, deviation, flagged)

    @property
    def source(self) -> NDArray[np.int64]:
        """(m,) int64: the column of each function."""
        return np.concatenate([self.piece_of, np.arange(len(self.mean)), self.flagged])

    def transform(self, x: Matrix) -> Matrix:
        """(n, m) float32 of (n, d)."""
        values = x.astype(np.float64)
        missing = np.isnan(values)
        pieces = np.clip((values[:, self.piece_of] - self.low) / (self.high - self.low), 0, 1) - 0.5
        standard = (values - self.mean) / self.deviation
        lines = standard / np.sqrt(1 + (standard / _BEND) ** 2)
        flags = missing[:, self.flagged].astype(np.float64)
        return np.nan_to_num(np.concatenate([pieces, lines, flags], axis=1)).astype(np.float32)

    def by_column(self, contributions: Vector) -> Vector:
        """(n, d) float64: (n, m) contributions of functions, added up by column."""
        total = np.zeros((len(contributions), len(self.mean)))
        np.add.at(total.T, self.source, contributions.T)
        return total

    def arrays(self) -> dict[str, NDArray]:
        """What ``np.savez`` takes, and the constructor."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


__all__ = ["PiecewiseLinear"]
