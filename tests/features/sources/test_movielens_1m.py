"""MovieLens 1M: real times stay, made-up times come before them, and nothing is guessed without an order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.sources import source

_USERS = [
    {"user_id": 1, "gender": "F", "age": 1, "occupation": 10, "zip": "48067"},
    {"user_id": 2, "gender": "M", "age": 56, "occupation": 0, "zip": "98107-2117"},
    {"user_id": 3, "gender": "M", "age": 99, "occupation": 20, "zip": None},
]
_MOVIES = [
    {"movie_id": 10, "title": "Toy Story (1995)", "genres": "Animation|Children's|Comedy"},
    {"movie_id": 11, "title": "2001 (of 1968)", "genres": ""},
]


def _rating(user: int, movie: int, seconds: int | None, rank: int | None) -> dict[str, Any]:
    return {"user_id": user, "movie_id": movie, "rating": 4, "timestamp": seconds, "sasrec_time_rank": rank}


@pytest.fixture
def films(tmp_path: Path, lay: Any) -> Path:
    ratings = [
        _rating(1, 10, 5_000, 1),
        _rating(1, 11, 4_000, None),  # a rare film: no rank, but a time
        _rating(1, 12, None, 0),  # no time beside timed ratings
        _rating(2, 10, None, 1),
        _rating(2, 11, None, 0),
        _rating(2, 12, None, None),  # neither time nor order
    ]
    lay(tmp_path, "ratings.parquet", ratings)
    lay(tmp_path, "users.parquet", _USERS)
    lay(tmp_path, "movies.parquet", _MOVIES)
    return tmp_path


def test_ratings(films: Path, read: Any) -> None:
    events = read("movielens_1m", films, "events")
    assert events[0] == {
        "event_id": "1-10",
        "user_id": "1",
        "item_id": "10",
        "event_type": "purchase",
        "ts": 5_000_000,
        "quantity": 1,
        "properties": '{"rating":4}',
    }
    assert [(event.get("ts"), event.get("reject")) for event in events] == [
        (5_000_000, None),
        (4_000_000, None),
        (None, "no time"),
        (4_000_000 - 60_000, None),
        (4_000_000 - 120_000, None),
        (None, "no time"),
    ]
    assert not source("movielens_1m").order_within_session


def test_without_any_time_the_order_is_all_there_is(films: Path, read: Any) -> None:
    ratings = {"user_id": [2, 2], "movie_id": [10, 11], "rating": [3, 5], "timestamp": [None, None]}
    columns = {name: pa.array(values, pa.int64()) for name, values in {**ratings, "sasrec_time_rank": [0, 1]}.items()}
    pq.write_table(pa.table(columns), films / "ratings.parquet")
    first, second = (event["ts"] for event in read("movielens_1m", films, "events"))
    assert second - first == 60_000
    assert second < 1_577_836_800_000


def test_users_hold_from_just_before_their_first_rating(films: Path, read: Any) -> None:
    assert read("movielens_1m", films, "users") == [
        {"user_id": "1", "valid_from": 3_999_999, "gender": "F", "age": "under 18", "occupation": "10", "region": "4"},
        {
            "user_id": "2",
            "valid_from": 3_879_999,
            "gender": "M",
            "age": "56 and over",
            "occupation": "0",
            "region": "9",
        },
        {"user_id": "3", "valid_from": 0, "gender": "M", "age": "99", "occupation": "20"},
    ]


def test_films(films: Path, read: Any) -> None:
    same = {"valid_from": 0, "available": True}
    assert read("movielens_1m", films, "items") == [
        {"item_id": "10", "category": "Animation", "title": "Toy Story (1995)", "genres": _MOVIES[0]["genres"]}
        | {"released": "1995", **same},
        {"item_id": "11", "category": "unknown", "title": "2001 (of 1968)", "genres": "", "released": "", **same},
    ]
