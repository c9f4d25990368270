"""What trees of few leaves say of one row, with Shapley values, read from tables made beforehand.

All that such a tree's answer depends on is the outcome of its at most seven splits: a pattern of seven bits. So the
exact TreeSHAP values of every pattern are worked out once (Yang 2021, Fast TreeSHAP, v2, does so leaf by leaf), and a
row costs one comparison per split and one look-up per tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from training.intent.predictor import Matrix, Vector

#: Splits of a tree at most: bits of a pattern.
SPLITS = 7

_PATTERNS, _LEAVES = 1 << SPLITS, SPLITS + 1

#: Trees whose tables are made at once.
_TREES_AT_ONCE = 100

#: Which version of a column a split reads, by LightGBM's words for what happens to missing values and whether they go
#: to the left, see ``_versions``.
_VERSIONS = {("NaN", True): 0, ("NaN", False): 1, ("None", True): 2, ("None", False): 2}


@dataclass(frozen=True)
class TreeTables:
    """Sets of trees; the answer is the mean over the sets.

    Attributes:
        base: Log-odds to which the contributions are added.
        n_columns: Of the rows, d.
        source: (trees, 8) int64: what each split compares, a place among the three versions of the row. The first of
            eight is no split, nor are the last where a tree has fewer than seven.
        threshold: (trees, 8) float64: up to here the outcome is true, and the way goes to the left.
        columns: (trees * 7,) int64: the columns that each tree asks about, and 0 where it asks about fewer.
        starts: (trees,) int64: where the table of each tree begins.
        values: (trees * 128, 7) float64: what each of these columns adds to the answer, by the pattern of outcomes.
    """

    base: float
    n_columns: int
    source: NDArray[np.int64]
    threshold: Vector
    columns: NDArray[np.int64]
    starts: NDArray[np.int64]
    values: Vector

    @classmethod
    def of(cls, members: Sequence[Mapping[str, Any]]) -> Self | None:
        """From what ``lightgbm.Booster.dump_model`` tells of each set.

        None if a tree has more than seven splits, or one that is not by a threshold with NaN, if anything, as missing.
        """
        trees = [_Tree.read(each["tree_structure"]) for member in members for each in member["tree_info"]]
        if not all(tree.is_simple for tree in trees):
            return None
        n_columns = int(members[0]["max_feature_idx"]) + 1
        source = np.zeros((len(trees), SPLITS + 1), dtype=np.int64)
        # Nothing is up to NaN: what is no split is false.
        threshold = np.full((len(trees), SPLITS + 1), np.nan)
        columns = np.zeros((len(trees), SPLITS), dtype=np.int64)
        for number, tree in enumerate(trees):
            for place, split in enumerate(tree.splits, start=1):
                version = _VERSIONS[split["missing_type"], split["default_left"]]
                source[number, place] = version * n_columns + split["split_feature"]
                threshold[number, place] = split["threshold"]
            columns[number, : len(tree.columns)] = tree.columns
        parts = [_shapley(trees[start : start + _TREES_AT_ONCE]) for start in range(0, len(trees), _TREES_AT_ONCE)]
        values = np.concatenate(parts) / len(members)
        base = sum(tree.mean for tree in trees) / len(members)
        return cls(base, n_columns, source, threshold, columns.ravel(), np.arange(len(trees)) * _PATTERNS, values)

    def explain_one(self, x: Matrix) -> Vector:
        """(d,) float64: what each column of the only row of (1, d) adds to ``base``; together, the log-odds."""
        patterns = np.packbits(_versions(x[0])[self.source] <= self.threshold)
        added = self.values.take(self.starts + patterns, axis=0)
        return np.bincount(self.columns, added.ravel(), self.n_columns).astype(np.float64, copy=False)


@dataclass
class _Leaf:
    """A leaf's value, and of each column on the way to it: the share of rows that go there whatever the column says,
    the bits of the splits that ask about it, and what they must be.
    """

    value: float
    count: int
    way: dict[int, tuple[float, int, int]]


@dataclass
class _Tree:
    """Splits, each before those below it, and leaves."""

    splits: list[Mapping[str, Any]] = field(default_factory=list)
    leaves: list[_Leaf] = field(default_factory=list)

    @classmethod
    def read(cls, root: Mapping[str, Any]) -> Self:
        """A tree as LightGBM tells it."""
        tree = cls()
        tree._walk(root, {})
        return tree

    def _walk(self, node: Mapping[str, Any], way: dict[int, tuple[float, int, int]]) -> None:
        if "split_feature" not in node:
            self.leaves.append(_Leaf(node["leaf_value"], _rows(node), way))
            return
        # Packed bits begin with the highest, which stands for no split.
        bit = 1 << (SPLITS - 1) >> len(self.splits)
        self.splits.append(node)
        column = int(node["split_feature"])
        share, asked, wanted = way.get(column, (1.0, 0, 0))
        for child, want in ((node["left_child"], bit), (node["right_child"], 0)):
            part = share * _rows(child) / _rows(node)
            self._walk(child, {**way, column: (part, asked | bit, wanted | want)})

    @property
    def is_simple(self) -> bool:
        """Whether tables of it can be made."""
        kinds = ((each["missing_type"], each["default_left"]) for each in self.splits)
        by_threshold = all(each["decision_type"] == "<=" for each in self.splits)
        return len(self.splits) <= SPLITS and by_threshold and all(kind in _VERSIONS for kind in kinds)

    @property
    def columns(self) -> list[int]:
        """Those that it asks about."""
        return sorted({int(each["split_feature"]) for each in self.splits})

    @property
    def mean(self) -> float:
        """Of the rows in training."""
        total = sum(leaf.count for leaf in self.leaves)
        return (
            sum(leaf.value * leaf.count for leaf in self.leaves) / total
            if len(self.leaves) > 1
            else (self.leaves[0].value)
        )


def _versions(x: NDArray[np.float32]) -> Vector:
    """(3 * d,) float64 of (d,): the row with missing values below all, then above all, then as 0."""
    missing = np.flatnonzero(np.isnan(x))
    values = np.concatenate([x, x, x], dtype=np.float64)
    for version, other in enumerate((-np.inf, np.inf, 0.0)):
        values[missing + version * len(x)] = other
    return values


def _rows(node: Mapping[str, Any]) -> int:
    """How many rows came to a node in training; of a tree without splits it is not told."""
    return int(node.get("internal_count", node.get("leaf_count", 0)))


def _shapley(trees: Sequence[_Tree]) -> Vector:
    """(trees * 128, 7) float64: TreeSHAP values of each tree's columns by pattern, 0 for columns that it has not.

    A leaf of value ``v`` whose way asks about the columns ``1 .. m``: column ``i`` holds (``o_i = 1``) or not, and
    ``w_i`` of the rows hold whatever it says. Its Shapley value is ``v (o_i - w_i)`` times the mean over all orders of
    the product of ``o_j`` of the columns before ``i`` and ``w_j`` of those behind (Lundberg et al. 2020, algorithm 2).
    With each column's place drawn uniformly from [0, 1] that mean is the integral over ``t`` of the product of
    ``t o_j + (1 - t) w_j``, a polynomial of degree 6 at most, for which four points of Gauss and Legendre are exact.
    """
    shape = (_LEAVES, SPLITS, len(trees), 1)
    value = np.zeros((_LEAVES, len(trees), 1))
    weight, asked, wanted = np.ones(shape), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for number, tree in enumerate(trees):
        places = {column: place for place, column in enumerate(tree.columns)}
        for leaf, told in enumerate(tree.leaves):
            value[leaf, number] = told.value
            for column, way in told.way.items():
                at = leaf, places[column], number
                weight[at], asked[at], wanted[at] = way
    points, weights = np.polynomial.legendre.leggauss(4)
    patterns = np.arange(_PATTERNS, dtype=np.uint8)
    values = np.zeros((SPLITS, len(trees), _PATTERNS))
    for leaf in range(_LEAVES):
        holds = ((patterns & asked[leaf]) == wanted[leaf]).astype(np.float64)
        mean = np.zeros_like(holds)
        for t, part in zip((points + 1) / 2, weights / 2, strict=True):
            factors = t * holds + (1 - t) * weight[leaf]
            mean += part * factors.prod(axis=0) / factors
        values += value[leaf] * (holds - weight[leaf]) * mean
    # Looking up a row of a table that lies column by column would copy all of it.
    return np.ascontiguousarray(values.transpose(1, 2, 0).reshape(-1, SPLITS))


__all__ = ["SPLITS", "TreeTables"]
