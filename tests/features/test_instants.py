"""Instants as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.instants import default_as_of, iso, parse_instant
from features.schema import DAY_MS

FIRST = 1_320_796_800_000  # 2011-11-09


@pytest.fixture(scope="module")
def hundred(make_dataset: Callable[[dict[str, Any]], Dataset]) -> Dataset:
    """A hundred events, one an hour, from midnight on, in no order."""
    times = [FIRST + (number * 37 % 100) * 3_600_000 for number in range(100)]
    event = {"user_id": "u", "item_id": "i", "event_type": "view"}
    return make_dataset({"events": [{**event, "event_id": f"e{ts}", "ts": ts} for ts in times]})


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2011-11-10", 24),
        ("2011-11-09T12:30", 12.5),
        ("2011-11-09T12:30:00Z", 12.5),
        ("2011-11-09T12:30+01:00", 11.5),
        ("2011-11-13T03:00:00.001", 99 + 1 / 3_600_000),
    ],
)
def test_dates(hundred: Dataset, engine: Engine, text: str, hours: float) -> None:
    assert parse_instant(text, hundred, engine) == FIRST + round(hours * 3_600_000)


@pytest.mark.parametrize("percent", [1, 7, 28, 29, 57, 58, 80, 99])
def test_a_share_cuts_the_events_in_time(hundred: Dataset, engine: Engine, percent: int) -> None:
    instant = parse_instant(f"{percent}%", hundred, engine)
    assert sum(FIRST + hour * 3_600_000 < instant for hour in range(100)) == percent


def test_a_share_of_events_at_one_instant_is_never_exceeded(
    engine: Engine, make_dataset: Callable[[dict[str, Any]], Dataset]
) -> None:
    times = [10, 20, 20, 20, 20, 20, 20, 30, 40, 50]
    event = {"user_id": "u", "item_id": "i", "event_type": "view"}
    data = make_dataset({"events": [{**event, "event_id": f"e{n}", "ts": ts} for n, ts in enumerate(times)]})
    assert [parse_instant(f"{share}%", data, engine) for share in (10, 50, 69.9, 70, 75)] == [20, 20, 20, 30, 30]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yesterday", "must be an instant"),
        ("", "must be an instant"),
        ("2011-13-01", "must be an instant"),
        ("many%", "must be an instant"),
        ("nan%", "must be an instant"),
        ("0%", "between 0% and 100%"),
        ("100%", "between 0% and 100%"),
        ("-5%", "between 0% and 100%"),
        ("inf%", "between 0% and 100%"),
        ("2011-11-09", "must be inside the data"),
        ("2011-11-13T03:00:00.002", "use one after 2011-11-09 and at most 2011-11-13T03:00:00Z"),
        ("2031-01-01", "must be inside the data"),
    ],
)
def test_errors_name_the_field(hundred: Dataset, engine: Engine, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^until ") as raised:
        parse_instant(text, hundred, engine, field="until")
    assert words in str(raised.value)


def test_iso() -> None:
    assert [iso(FIRST), iso(FIRST + 1_000)] == ["2011-11-09", "2011-11-09T00:00:01Z"]


@pytest.mark.parametrize(("days", "whole"), [(1, 3), (2.5, 1.5)])
def test_default_leaves_a_whole_label_window(hundred: Dataset, days: float, whole: float) -> None:
    assert default_as_of(hundred, days) == FIRST + whole * DAY_MS
