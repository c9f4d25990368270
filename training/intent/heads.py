"""Predicted chances of what users will do, one head per declared target, each with what may be said of its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import training.intent.zoo  # noqa: F401  # registers the predictors by name
from training.intent.contract import OVERALL
from training.intent.encoding import Encoder
from training.intent.judged import Chance, Chances, Judged
from training.intent.predictor import Matrix, Predictor, predictor_class
from training.intent.targets import Target

#: What separates a column from its value in the name of a segment.
IS = "="


@dataclass(frozen=True, slots=True)
class Moved:
    """What one column did to a chance: the log-odds that it added, and the value that did it."""

    column: str
    value: Any
    log_odds: float


@dataclass(frozen=True)
class Head:
    """A fitted predictor of one target, and what may be said of its numbers."""

    target: Target
    encoder: Encoder
    predictor: Predictor
    judged: Judged

    def chances(self, users: pd.DataFrame) -> Chances:
        """Of users as rows of a user matrix."""
        log_odds = self.predictor.log_odds(self.encoder.transform(users))
        return self.judged.chances(log_odds, lambda segment: members(users, segment))

    def moved_most(self, users: pd.DataFrame, most: int = 3) -> list[list[Moved]]:
        """Per user the columns that moved the chance most, the strongest first."""
        added, columns = self._added(self.encoder.transform(users))
        strongest = np.argsort(-np.abs(added), axis=1, kind="stable")[:, :most]
        return [
            [Moved(columns[at], _plain(users[columns[at]].iloc[row]), float(added[row, at])) for at in places]
            for row, places in enumerate(strongest)
        ]

    def answer(self, user: Mapping[str, Any], most: int = 3) -> tuple[Chance, list[Moved]]:
        """The same of one user, given as values by column as a fold gives them, fast enough for an endpoint."""
        log_odds, contributions = self.predictor.answer_one(self.encoder.transform_one(user))
        columns, number = self._sources
        added = np.bincount(number, contributions, len(columns))
        strongest = np.argsort(-np.abs(added), kind="stable")[:most].tolist()
        moved = [Moved(columns[at], _plain(user[columns[at]]), float(added[at])) for at in strongest]
        return self.judged.chance(log_odds, lambda segment: belongs(user, segment)), moved

    def prepare(self) -> None:
        """Make what answering needs, so that the first question is answered as soon as the others."""
        self.predictor.prepare()
        _ = self._sources

    def _added(self, x: Matrix) -> tuple[NDArray[np.float64], list[str]]:
        """(n, columns) log-odds that each column of the user matrix added, and the columns' names."""
        columns, number = self._sources
        added = np.zeros((len(columns), len(x)))
        np.add.at(added, number, self.predictor.explain(x).T)
        return added.T, columns

    @cached_property
    def _sources(self) -> tuple[list[str], NDArray[np.intp]]:
        """Names of the user matrix's columns, sorted, and (d,) which of them each encoded column comes from."""
        columns, number = np.unique(np.array(self.encoder.sources, dtype=object).astype(str), return_inverse=True)
        return columns.tolist(), number

    def save(self, folder: Path) -> None:
        """JSON, and what the predictor writes."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "target": self.target.model_dump(mode="json"),
            "encoder": self.encoder.to_json(),
            "predictor": self.predictor.name,
            **self.judged.to_json(),
        }
        (folder / "head.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        self.predictor.save(folder / "predictor")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        return cls(
            Target.model_validate(about["target"]),
            Encoder.from_json(about["encoder"]),
            predictor_class(about["predictor"]).load(folder / "predictor"),
            Judged.from_json(about),
        )


@dataclass(frozen=True, slots=True)
class UserIntent:
    """The heads of all targets, fitted as of one instant."""

    as_of_ms: int
    heads: Mapping[str, Head]

    def prepare(self) -> None:
        """``Head.prepare`` of all."""
        for head in self.heads.values():
            head.prepare()

    def save(self, folder: Path) -> None:
        """A folder per head."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, head in self.heads.items():
            head.save(folder / name)
        about = {"as_of_ms": self.as_of_ms, "heads": list(self.heads)}
        (folder / "intent.json").write_text(json.dumps(about, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "intent.json").read_text(encoding="utf-8"))
        return cls(about["as_of_ms"], {name: Head.load(folder / name) for name in about["heads"]})


def members(users: pd.DataFrame, segment: str) -> NDArray[np.bool_]:
    """(n,) who belongs to a segment: everybody to ``all``, else those of whom ``column=value`` is true."""
    if segment == OVERALL:
        return np.ones(len(users), dtype=bool)
    column, _, value = segment.partition(IS)
    return np.asarray(users[column].astype(object).to_numpy() == value, dtype=bool)


def belongs(user: Mapping[str, Any], segment: str) -> bool:
    """``members`` of one user, given as values by column."""
    column, _, value = segment.partition(IS)
    return segment == OVERALL or user[column] == value


def segments_of(users: pd.DataFrame, columns: Sequence[str], fewest: int) -> dict[str, NDArray[np.bool_]]:
    """Name to membership of every value of some text columns that at least ``fewest`` users have."""
    found = {}
    for column in columns:
        for value, count in users[column].value_counts().items():
            if count >= fewest:
                name = f"{column}{IS}{value}"
                found[name] = members(users, name)
    return found


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


__all__ = ["IS", "Head", "Moved", "UserIntent", "belongs", "members", "segments_of"]
