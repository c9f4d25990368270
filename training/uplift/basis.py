"""Numbers of any scale, with gaps, as inputs of a network: their place among the users learned from, bent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.uplift.learner import Matrix

#: Values between which a place is interpolated, and where lines may bend.
_KNOTS = 50
_BENDS = (-0.5, 0.0, 0.5)

#: Columns with fewer knots are not bent; fewer gaps than this share are not told.
_FEWEST_KNOTS = 9
_FEWEST_GAPS = 0.002


@dataclass(frozen=True, slots=True)
class Basis:
    """From (n, d) with gaps to (n, D) without.

    Attributes:
        knots: (d, _KNOTS) float64, quantiles of each column; equal ones count once.
        gaps: Columns whose gaps have a column of their own, (g,) int64.
        centre: (D,) float64, the mean of each column; a gap is put there.
        kept: (D,) int64, which columns vary.
    """

    knots: NDArray[np.float64]
    gaps: NDArray[np.int64]
    centre: NDArray[np.float64]
    kept: NDArray[np.int64]

    @classmethod
    def of(cls, x: Matrix) -> Self:
        """Learn places from (n, d) float32."""
        known = np.isfinite(x)
        knots = np.zeros((x.shape[1], _KNOTS))
        seen: set[bytes] = set()
        gaps = []
        for column in range(x.shape[1]):
            values = x[known[:, column], column]
            if len(values):
                knots[column] = np.quantile(values.astype(np.float64), np.linspace(0, 1, _KNOTS))
            pattern = np.packbits(known[:, column]).tobytes()
            if (~known[:, column]).mean() >= _FEWEST_GAPS and pattern not in seen:
                seen.add(pattern)
                gaps.append(column)
        rough = cls(knots, np.array(gaps, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64))
        whole = rough._columns(x)
        centre = np.nanmean(np.where(np.isnan(whole).all(axis=0), 0.0, whole), axis=0)
        kept = np.flatnonzero(np.nanstd(np.where(np.isnan(whole).all(axis=0), 0.0, whole), axis=0) > 1e-6)
        return cls(knots, rough.gaps, centre[kept], kept)

    def transform(self, x: Matrix) -> Matrix:
        """(n, D) float32, centred, from -1 to 1 before that."""
        columns = self._columns(x)[:, self.kept] - self.centre
        whole: Matrix = np.where(np.isnan(columns), 0.0, columns).astype(np.float32)
        return whole

    def _columns(self, x: Matrix) -> NDArray[np.float64]:
        made = []
        for column, knots in enumerate(self.knots):
            steps = np.unique(knots)
            value = x[:, column].astype(np.float64)
            value[~np.isfinite(value)] = np.nan
            if len(steps) < 2:
                made.append(np.where(np.isnan(value), np.nan, 0.0))
                continue
            place = np.interp(value, steps, np.linspace(-1, 1, len(steps)))
            made.append(place)
            if len(steps) >= _FEWEST_KNOTS:
                made += [np.maximum(place - bend, 0.0) for bend in _BENDS]
        made += [np.isnan(x[:, column]).astype(np.float64) for column in self.gaps]
        return np.column_stack(made) if made else np.empty((len(x), 0))


__all__ = ["Basis"]
