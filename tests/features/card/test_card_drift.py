"""The stability index against plain loops, planted drift and no drift at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.card.drift import by_chance, compare, drift, instants, psi
from features.schema import DAY_MS


def slow_psi(first: list[int], then: list[int]) -> float:
    total = 0.0
    for a, b in zip(first, then, strict=True):
        p = (a + 0.5) / (sum(first) + 0.5 * len(first))
        q = (b + 0.5) / (sum(then) + 0.5 * len(then))
        total += (q - p) * math.log(q / p)
    return total


def slow_bins(first: list[float | None], then: list[float | None]) -> dict[str, tuple[int, int]]:
    """Users per bin by plain loops: values where there are at most ten, else deciles of the first."""
    known = sorted(x for x in first if x is not None)
    values = sorted(set(known))

    def label(x: float | None) -> str:
        if x is None:
            return "missing"
        if len(values) <= 10:
            return f"{x:.15g}" if x in values else "other"
        # The smallest value that a k-th tenth of the users does not exceed.
        edges = sorted({known[math.ceil(k * len(known) / 10) - 1] for k in range(1, 10)})
        below = [edge for edge in edges if edge < x]
        if not below:
            return f"≤ {edges[0]:.6g}"
        if len(below) == len(edges):
            return f"> {edges[-1]:.6g}"
        return f"{below[-1]:.6g} to {edges[len(below)]:.6g}"

    counts: dict[str, tuple[int, int]] = {}
    for x in first:
        before, after = counts.get(label(x), (0, 0))
        counts[label(x)] = (before + 1, after)
    for x in then:
        before, after = counts.get(label(x), (0, 0))
        counts[label(x)] = (before, after + 1)
    return counts


numbers = st.lists(st.none() | st.integers(-30, 30), min_size=1, max_size=80)


@settings(max_examples=150, deadline=None)
@given(numbers, numbers)
def test_numbers_equal_plain_loops(first: list[int | None], then: list[int | None]) -> None:
    compared = compare("x", pd.Series(first, dtype="Int64"), pd.Series(then, dtype="Int64"))
    expected = slow_bins(list(first), list(then))
    assert {row["bin"]: (row["first"], row["then"]) for row in compared["bins"]} == expected
    pairs = list(expected.values())
    assert compared["psi"] == pytest.approx(slow_psi([a for a, _ in pairs], [b for _, b in pairs]))


def test_a_text_keeps_its_ten_most_frequent_values() -> None:
    first = pd.Series([c for i, c in enumerate("abcdefghijkl") for _ in range(20 - i)] + ["missing", None])
    compared = compare("country", first, pd.Series(["a", "l", "new", None]))
    rows = {row["bin"]: (row["first"], row["then"]) for row in compared["bins"]}
    assert list(rows)[:10] == list("abcdefghij")
    assert (rows["a"], rows["other"], rows["missing"]) == ((20, 1), (10 + 9, 2), (2, 1))


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([None, None], dtype="float64"),
        pd.Series([1.0, np.inf, -np.inf]),
        pd.Series([True, None], dtype="boolean"),
        pd.Series(["a", None], dtype="category"),
        pd.Series([[1], None]),
        pd.to_datetime(pd.Series(["2020-01-01", None])),
        pd.Series([], dtype="float64"),
    ],
)
def test_the_same_values_never_drift(values: pd.Series) -> None:
    compared = compare("x", values, values)
    assert (compared["psi"], compared["reading"]) == (0.0, "stable")


def test_what_is_missing_later_has_its_own_bin() -> None:
    values = np.arange(1_000.0)
    holes = np.where(values < 500, np.nan, values[::-1])
    compared = compare("x", pd.Series(values), pd.Series(holes))
    assert compared["bins"][-1] == {"bin": "missing", "first": 0, "then": 500}
    assert compared["reading"] == "large"


def test_the_bins_with_a_planted_shift() -> None:
    first = pd.Series(np.arange(1_000))
    compared = compare("x", first, first + 100)
    # One decile moves out at the bottom and on top of the last.
    assert [row["then"] for row in compared["bins"]] == [0, *[100] * 8, 200]
    assert compared["psi"] == pytest.approx(slow_psi([100] * 10, [0, *[100] * 8, 200]))


def test_without_drift_the_index_stays_under_its_bound_in_95_percent() -> None:
    random = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    n, m, runs = 3_000, 2_000, 2_000
    above = sum(
        psi(a := random.multinomial(n, shares), b := random.multinomial(m, shares)) > by_chance(a, b)
        for _ in range(runs)
    )
    # 5 % with a standard error of 0.5 %.
    assert 0.035 < above / runs < 0.065


def test_bounds_of_nothing() -> None:
    assert by_chance(np.array([0, 0]), np.array([1, 2])) is None
    assert by_chance(np.array([3]), np.array([5])) == 0.0


def test_columns_of_one_instant_are_named_not_compared() -> None:
    first = pd.DataFrame({"a": [1, 2], "affinity:old": [0.1, 0.9]})
    then = pd.DataFrame({"a": [1, 2, 3], "affinity:new": [0.1, 0.9, 0.3]})
    compared = drift(first, then, 1, 2)
    assert [feature["feature"] for feature in compared["features"]] == ["a"]
    assert (compared["only_first"], compared["only_then"]) == (["affinity:old"], ["affinity:new"])
    assert (compared["users_first"], compared["users_then"]) == (2, 3)


def test_the_two_instants() -> None:
    assert instants(0, 400 * DAY_MS) == (370 * DAY_MS, 400 * DAY_MS)
    assert instants(0, 40 * DAY_MS) == (30 * DAY_MS, 40 * DAY_MS)
    assert instants(5, 6) is None


def test_the_shops_drift_is_of_its_user_matrices(shop_card: Any, shop_data: Any) -> None:
    moved = shop_card["drift"]
    assert moved["then_ms"] == shop_data.last_ms + 1
    assert moved["first_ms"] == instants(shop_data.first_ms, shop_data.last_ms + 1)[0]
    for feature in moved["features"]:
        first, then = ([row[window] for row in feature["bins"]] for window in ("first", "then"))
        assert (sum(first), sum(then)) == (moved["users_first"], moved["users_then"])
        assert feature["psi"] == pytest.approx(slow_psi(first, then))
    indices = [feature["psi"] for feature in moved["features"]]
    assert indices == sorted(indices, reverse=True)
