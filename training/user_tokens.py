"""What users tell of themselves, as tokens: the words that models describe a user with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from features.ids import Vocabulary
from features.sequences import Histories
from training.item_to_item import incidence
from training.item_tokens import UNTOLD

#: Tokens of fewer users say nothing about any other user.
FEWEST_USERS = 2


@dataclass(frozen=True, slots=True)
class UserTokens:
    """Which values of which attributes are tokens.

    Attributes:
        values: Attribute to its values, sorted; tokens are numbered through all of them in this order.
    """

    values: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, users: Histories, attributes: tuple[str, ...]) -> Self:
        """Every value that at least ``FEWEST_USERS`` told for one of ``attributes``."""
        values = {}
        for name in attributes:
            told, counts = np.unique(users.attributes[name].astype(str), return_counts=True)
            values[name] = tuple(
                str(value)
                for value, count in zip(told, counts, strict=True)
                if count >= FEWEST_USERS and value.strip().lower() not in UNTOLD
            )
        return cls(values)

    @property
    def details(self) -> list[str]:
        """The value that each token stands for."""
        return [value for values in self.values.values() for value in values]

    def matrix(self, users: Histories) -> sparse.csr_array:
        """(n, tokens) float32: rows of length one, or zeros of who told nothing."""
        rows, tokens, first = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], 0
        for name, values in self.values.items():
            if name in users.attributes:
                codes = Vocabulary(values).encode(users.attributes[name].astype(str))
                known = np.flatnonzero(codes >= 0)
                rows.append(known)
                tokens.append(first + codes[known])
            first += len(values)
        told = incidence(np.concatenate(rows), np.concatenate(tokens), len(users), first)
        length = np.sqrt(np.diff(told.indptr)).astype(np.float32)
        told.data /= np.repeat(length, np.diff(told.indptr))
        return told


__all__ = ["FEWEST_USERS", "UserTokens"]
