"""MovieLens 1M: films rated by users who told their gender, age band, occupation and zip code."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import Engine
from features.schema import Columns, EventType
from features.sources.made_times import END_MS
from features.sources.published import Kind, origin, read_columns

DESCRIPTION = "MovieLens 1M: ratings, users and films; files ratings.parquet, users.parquet, movies.parquet"

#: Between two ratings of a user whose order is known and whose times are not.
STEP_S = 60

POLICIES = {
    "ratings": "each is a purchase without a price: the film was watched, whatever was thought of it; the rating of 1 "
    "to 5 is kept in properties",
    "missing timestamps": "users whose ratings all lack one, but have sasrec_time_rank, get made-up times: in that "
    f"order, {STEP_S} seconds apart, the last one {STEP_S} seconds before the first real time in the file, so that "
    "they are history to every instant that is real, and in no label window; their hours and dates mean nothing",
    "no time": "a rating without a timestamp is rejected if it has no sasrec_time_rank either, or if other ratings of "
    "its user have one",
    "order inside a visit": "means nothing: half of the ratings share their second with another one of the user",
    "users": "attributes hold from just before the first rating; of the zip code only the first digit is kept, as "
    "region: all of it points at a person",
    "films": "hold from the beginning; the category is the first genre by alphabet, all of them are the attribute "
    "genres, the year in the title is the attribute released",
    "siren_test_fold, file_order": "are not read: they belong to papers' splits",
}
ORDER_WITHIN_SESSION = False

_AGES = {1: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56 and over"}


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Events, one per rating; users and films."""
    ratings = _timed(
        read_columns(
            engine,
            folder,
            "ratings.parquet",
            dict.fromkeys(("user_id", "movie_id", "rating", "timestamp", "sasrec_time_rank"), Kind.INTEGER),
        )
    )
    users = read_columns(
        engine,
        folder,
        "users.parquet",
        {"user_id": Kind.INTEGER, "gender": Kind.TEXT, "age": Kind.INTEGER, "occupation": Kind.INTEGER}
        | {"zip": Kind.TEXT},
    )
    movies = read_columns(
        engine, folder, "movies.parquet", {"movie_id": Kind.INTEGER, "title": Kind.TEXT, "genres": Kind.TEXT}
    )
    return {"events": _events(ratings), "items": _items(movies), "users": _users(users, ratings)}


def _timed(ratings: ibis.Table) -> ibis.Table:
    """Each rating with ``seconds``, its real or made-up time, or nothing."""
    rank, real = ratings["sasrec_time_rank"], ratings["timestamp"]
    of_user = ibis.window(group_by="user_id")
    # Where nothing has a time, any instant will do for all to come before.
    first = real.min().over(ibis.window()).fill_null(END_MS // 1000)
    made = first - (rank.max().over(of_user) - rank + 1).cast("int64") * STEP_S
    all_missing = real.count().over(of_user) == 0
    return ratings.mutate(real.fill_null(ibis.ifelse(all_missing, made, ibis.null("int64"))).name("seconds"))


def _events(ratings: ibis.Table) -> ibis.Table:
    user, movie = ratings["user_id"].cast("string"), ratings["movie_id"].cast("string")
    reject = ibis.ifelse(ratings["seconds"].isnull(), "no time", ibis.null("string"))
    return ratings.select(
        **{
            Columns.EVENT_ID: user + "-" + movie,
            Columns.USER_ID: user,
            Columns.ITEM_ID: movie,
            Columns.EVENT_TYPE: ibis.literal(EventType.PURCHASE.value),
            Columns.TS: ratings["seconds"] * 1000,
            Columns.QUANTITY: ibis.literal(1),
            Columns.PROPERTIES: '{"rating":' + ratings["rating"].cast("string") + "}",
        },
        **origin(ratings, reject),
    )


def _items(movies: ibis.Table) -> ibis.Table:
    first_genre = movies["genres"].split("|")[0]
    return movies.select(
        **{
            Columns.ITEM_ID: movies["movie_id"].cast("string"),
            Columns.VALID_FROM: ibis.literal(0, "int64"),
            Columns.CATEGORY: ibis.ifelse(first_genre == "", ibis.null("string"), first_genre).fill_null("unknown"),
            Columns.AVAILABLE: ibis.literal(True),
            Columns.TITLE: movies["title"],
        },
        genres=movies["genres"],
        released=movies["title"].re_extract(r"\(([0-9]{4})\)\s*$", 1),
        **origin(movies),
    )


def _users(users: ibis.Table, ratings: ibis.Table) -> ibis.Table:
    first = ratings.group_by("user_id").agg(first_s=ratings["seconds"].min())
    known = users.left_join(first, "user_id")
    return known.select(
        **{
            Columns.USER_ID: known["user_id"].cast("string"),
            Columns.VALID_FROM: (known["first_s"] * 1000 - 1).fill_null(0),
        },
        gender=known["gender"],
        age=known["age"].cases(*_AGES.items(), else_=known["age"].cast("string")),
        occupation=known["occupation"].cast("string"),
        region=known["zip"].left(1),
        **origin(known),
    )


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "STEP_S", "read"]
