"""What users tell of themselves, as tokens: the words that models describe a user with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse

from features.sequences import Histories
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
        parts = [sparse.csr_array((len(users), 0), dtype=np.float32)]
        for name, values in self.values.items():
            told = users.attributes.get(name)
            codes = (
                np.full(len(users), -1) if told is None else pd.Index(values).get_indexer(pd.Index(told.astype(str)))
            )
            rows = np.flatnonzero(codes >= 0)
            cells = (np.ones(len(rows), dtype=np.float32), (rows, codes[rows]))
            parts.append(sparse.csr_array(cells, shape=(len(users), len(values))))
        told = sparse.csr_array(sparse.hstack(parts, format="csr", dtype=np.float32))
        length = np.sqrt(np.diff(told.indptr)).astype(np.float32)
        told.data /= np.repeat(length, np.diff(told.indptr))
        return told


__all__ = ["FEWEST_USERS", "UserTokens"]
