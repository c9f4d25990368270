"""Ids are strings at the edge and dense int32 inside; a ``Vocabulary`` is the bridge."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

UNKNOWN = -1


class Vocabulary:
    """An immutable list of distinct string ids; an id's dense number is its position.

    >>> items = Vocabulary(["apple", "pear"])
    >>> items.encode(["pear", "plum"]).tolist()
    [1, -1]
    >>> items.decode(np.array([1, 0])).tolist()
    ['pear', 'apple']
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._index = pd.Index(list(ids), dtype=object)
        if not self._index.is_unique:
            raise ValueError("a vocabulary's ids must be distinct")

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, item: object) -> bool:
        return item in self._index

    @property
    def ids(self) -> NDArray[np.object_]:
        """(n,) object: the ids in dense order."""
        return self._index.to_numpy()

    def encode(self, ids: Iterable[str]) -> NDArray[np.int32]:
        """Dense numbers of ``ids``, -1 for the unknown ones."""
        # Iterating over an Arrow-backed column makes one Python object at a time.
        values = ids.to_numpy(dtype=object) if isinstance(ids, pd.Series | pd.Index) else list(ids)
        return self._index.get_indexer(pd.Index(values, dtype=object)).astype(np.int32)

    def encode_apart(self, ids: Iterable[str]) -> NDArray[np.int32]:
        """``encode``, but unknown ids have numbers below -1, equal ones the same.

        >>> Vocabulary(["apple"]).encode_apart(["plum", "apple", "fig", "plum"]).tolist()
        [-2, 0, -3, -2]
        """
        told = list(ids)
        codes = self.encode(told)
        strange = np.flatnonzero(codes == UNKNOWN)
        codes[strange] = UNKNOWN - 1 - pd.factorize(np.array([told[at] for at in strange], dtype=object))[0]
        return codes

    def code(self, one: str) -> int:
        """The dense number of one id, -1 if unknown; much faster than ``encode`` for a single one."""
        try:
            return int(self._index.get_loc(one))  # type: ignore[arg-type]  # the index is unique, so never a slice or mask
        except KeyError:
            return UNKNOWN

    def decode(self, codes: NDArray[np.int32]) -> NDArray[np.object_]:
        """The ids at positions ``codes``, which must all be known."""
        return self.ids[codes]

    def extended(self, ids: Iterable[str]) -> Vocabulary:
        """This vocabulary followed by those of ``ids`` that it lacks, sorted; known numbers stay as they are."""
        return Vocabulary([*self._index, *sorted(set(ids) - set(self._index))])


__all__ = ["UNKNOWN", "Vocabulary"]
