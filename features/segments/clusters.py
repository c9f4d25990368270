"""Behaviour clusters: centres among users' standardised features, kept without pickle, assigned in batch and online."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.errors import InputError, NotFoundError
from features.segments.columns import Row, number

Floats = NDArray[np.float64]

_ABOUT, _ARRAYS = "clusters.json", "clusters.npz"


@dataclass(frozen=True)
class Clusters:
    """k groups of users who behave alike; a user belongs to the nearest centre, the lowest number if two are as near.

    A feature x counts as ``(sign(x) log(1 + |x|) - mean) / scale``, and as 0, the average, where it is missing.

    Attributes:
        columns: (d,) names of the features.
        means: (d,) float64, of the logarithms in the sample that was clustered.
        scales: (d,) float64, their standard deviations, above 0.
        centres: (k, d) float64 in standard deviations; the cluster with most of the sample comes first.
        shares: (k,) float64, of the sample.
        silhouettes: Number of clusters that was tried to its mean silhouette; the highest was chosen.
    """

    columns: tuple[str, ...]
    means: Floats
    scales: Floats
    centres: Floats
    shares: Floats
    silhouettes: Mapping[int, float]

    def assign(self, users: pd.DataFrame) -> pd.Series:
        """(n users) int64: the cluster of each row, 0 to k - 1.

        Raises:
            InputError: A column is missing, or holds no numbers.
        """
        found = self._nearest(feature_values(users, self.columns))
        return pd.Series(found, index=users.index, name="cluster")

    def assign_row(self, row: Row) -> int:
        """The cluster of one user, as ``assign`` would say; a feature that the row does not have is missing.

        Raises:
            InputError: A value is no number.
        """
        values = [number(column, row.get(column)) for column in self.columns]
        known = np.array([[np.nan if value is None else value for value in values]], dtype=np.float64)
        return int(self._nearest(known)[0])

    def describe(self, top: int = 3) -> list[str]:
        """(k,) one phrase each: the ``top`` features in which the centre is furthest from the average, in deviations.

        For example ``high orders_90d (+2.1), high views_30d (+1.8), low recency_days (-1.0)``.
        """
        return [
            ", ".join(
                f"{'high' if centre[at] > 0 else 'low'} {self.columns[at]} ({centre[at]:+.1f})"
                for at in np.argsort(-np.abs(centre), kind="stable")[:top]
            )
            for centre in self.centres
        ]

    def save(self, folder: Path) -> None:
        """Write JSON and npz into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"columns": list(self.columns), "silhouettes": {str(k): s for k, s in self.silhouettes.items()}}
        (folder / _ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")
        np.savez_compressed(
            folder / _ARRAYS, means=self.means, scales=self.scales, centres=self.centres, shares=self.shares
        )

    @classmethod
    def load(cls, folder: Path) -> Clusters:
        """Read what ``save`` wrote.

        Raises:
            NotFoundError: There are no clusters.
            InputError: They are damaged.
        """
        if not (folder / _ABOUT).is_file():
            raise NotFoundError(str(folder), "must hold behaviour clusters", f"a folder without {_ABOUT}")
        try:
            return _read(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
            raise InputError(str(folder), "must hold readable clusters", str(error), "fit them again") from None

    def _nearest(self, values: Floats) -> NDArray[np.int64]:
        standardised = standardise(values, self.means, self.scales)
        # Feature by feature: a sum in one call may be rounded in another order for many rows than for one.
        distances = np.zeros((len(values), len(self.centres)))
        for feature, centres in zip(np.ascontiguousarray(standardised.T), self.centres.T, strict=True):
            distances += (feature[:, None] - centres[None, :]) ** 2
        return distances.argmin(axis=1)


def feature_values(users: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """(n users, d) float64, NaN where a value is missing or infinite.

    Raises:
        InputError: A column is missing, or holds no numbers.
    """
    values = np.full((len(users), len(columns)), np.nan)
    for at, column in enumerate(columns):
        if column not in users.columns:
            raise InputError(f"user_matrix: column {column!r}", "is missing", mend="build the snapshot with it")
        try:
            values[:, at] = users[column].to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError):
            raise InputError(f"user_matrix: column {column!r}", "must hold numbers", users[column].dtype) from None
    values[np.isinf(values)] = np.nan
    return values


def standardisation(values: Floats) -> tuple[Floats, Floats]:
    """(d,) means and (d,) standard deviations of the logarithms; 0 where nothing is known or nothing differs."""
    logs = _log(values)
    known = ~np.isnan(logs)
    n = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, logs, 0.0).sum(axis=0) / n
    squares = np.where(known, logs - means, 0.0) ** 2
    return means, np.sqrt(squares.sum(axis=0) / n)


def standardise(values: Floats, means: Floats, scales: Floats) -> Floats:
    """(n, d) logarithms in deviations from the mean, 0 where a value is missing."""
    return np.nan_to_num((_log(values) - means) / scales, nan=0.0)


def _log(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def _read(folder: Path) -> Clusters:
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
        means, scales, centres, shares = (arrays[name] for name in ("means", "scales", "centres", "shares"))
    columns = tuple(about["columns"])
    if not (means.shape == scales.shape == (len(columns),) and centres.shape == (len(shares), len(columns))):
        raise ValueError("the shapes of the arrays do not fit the columns")
    silhouettes = {int(k): float(silhouette) for k, silhouette in about["silhouettes"].items()}
    return Clusters(columns, means, scales, centres, shares, silhouettes)


__all__ = ["Clusters", "feature_values", "standardisation", "standardise"]
