"""The numbers of a card against hand-written SQL, as content and as they stand in the page."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from features.card.card import data_card
from features.card.figures import figures, grouped
from features.card.page import card_html
from features.card.popularity import gini, popularity_curve, top_share
from features.card.tables import Tables
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.schema import DAY_MS

INTERACTION = "event_type IN ('view', 'add_to_cart', 'purchase')"

FIGURES = {
    "users": "SELECT count(DISTINCT user_id) FROM {users}",
    "items": "SELECT count(DISTINCT item_id) FROM {items}",
    "cold_users": "SELECT count(DISTINCT user_id) FROM {users} WHERE user_id NOT IN "
    f"(SELECT user_id FROM {{events}} WHERE {INTERACTION})",
    "cold_items": "SELECT count(DISTINCT item_id) FROM {items} WHERE item_id NOT IN "
    f"(SELECT item_id FROM {{events}} WHERE {INTERACTION} AND item_id IS NOT NULL)",
    "sparsity": "SELECT 1 - (SELECT count(*) FROM (SELECT DISTINCT user_id, item_id FROM {events} WHERE "
    f"{INTERACTION})) / ((SELECT count(DISTINCT user_id) FROM {{users}}) * (SELECT count(DISTINCT item_id) "
    "FROM {items}))",
    "events_per_user_median": "SELECT median(n) FROM (SELECT count(*) AS n FROM {events} GROUP BY user_id)",
    "span_days": "SELECT (max(ts) - min(ts)) / 86400000 FROM {events}",
    "users_with_repeat_orders_share": "SELECT avg(CASE WHEN n > 1 THEN 1.0 ELSE 0.0 END) FROM (SELECT count(DISTINCT "
    "coalesce(order_id, 'at ' || ts)) AS n FROM {events} WHERE event_type = 'purchase' GROUP BY user_id)",
    "popularity_gini": "SELECT sum((2 * i - total - 1) * n) / (max(total) * sum(n)) FROM (SELECT n, row_number() OVER "
    "(ORDER BY n) AS i, count(*) OVER () AS total FROM (SELECT count(e.item_id) AS n FROM (SELECT DISTINCT item_id "
    f"FROM {{items}}) i LEFT JOIN (SELECT item_id FROM {{events}} WHERE {INTERACTION}) e USING (item_id) "
    "GROUP BY item_id))",
}


def assert_equal_to_sql(card: dict[str, Any], page: Any, sql: Any) -> None:
    """Every figure, then every table of the page."""
    for name, query in FIGURES.items():
        expected = sql.one(query)
        assert card[name] == (None if expected is None else pytest.approx(expected, rel=1e-12)), name
    per_type = dict(sql.rows("SELECT event_type, count(*) FROM {events} GROUP BY 1"))
    assert card["events_by_type"] == per_type
    assert {row[0]: row[1] for row in page.table("types")} == {name: f"{n:,}" for name, n in per_type.items()}
    for name, table in card["tables"].items():
        columns = [row[0] for row in sql.rows(f"DESCRIBE SELECT * FROM {{{name}}}")]
        assert set(table["missing"]) == set(columns)
        missing = ", ".join(f'count(*) - count("{column}")' for column in columns)
        total, *counts = sql.rows(f"SELECT count(*), {missing} FROM {{{name}}}")[0]
        assert table["rows"] == total
        shown = {row[0]: row[2] for row in page.table("missing") if row[1] == name} if any(counts) else {}
        assert shown == {column: f"{n:,}" for column, n in zip(columns, counts, strict=True) if n}
    read = {row[0]: row[1:] for row in page.table("rows")}
    for name, table in card["tables"].items():
        assert read[name] == [f"{table[key]:,}" for key in ("rows_in", "rejected", "added", "rows")]
    per_user = [n for (n,) in sql.rows(f"SELECT count(*) FROM {{events}} WHERE {INTERACTION} GROUP BY user_id")]
    for group in card["users_by_interactions"][1:]:
        high = group["to"] if group["to"] is not None else max(per_user, default=0)
        assert group["users"] == sum(group["from"] <= n <= high for n in per_user)
    assert card["users_by_interactions"][0]["users"] == card["cold_users"]
    assert [row[1] for row in page.table("users")] == [f"{g['users']:,}" for g in card["users_by_interactions"]]
    ranked = sql.rows(f"SELECT count(*) AS n FROM {{events}} WHERE {INTERACTION} GROUP BY item_id ORDER BY n DESC")
    for point in card["popularity_curve"]:
        assert point["interactions"] == ranked[point["rank"] - 1][0]
    assert card["popularity_curve"][-1]["rank"] == len(ranked)
    assert page.table("popularity") == [[f"{p['rank']:,}", f"{p['interactions']:,}"] for p in card["popularity_curve"]]


def assert_days_equal_to_sql(card: dict[str, Any], page: Any, sql: Any) -> None:
    """The time line, whose bars are days."""
    assert card["timeline"]["bar_days"] == 1
    found = sql.rows(
        "SELECT strftime(make_timestamp_ms(ts), '%Y-%m-%d') AS day, count(*), count(DISTINCT user_id) "
        "FROM {events} GROUP BY day ORDER BY day"
    )
    bars = [(bar["from"], bar["events"], bar["users"]) for bar in card["timeline"]["bars"]]
    assert [bar for bar in bars if bar[1]] == found
    assert page.table("timeline") == [[day, f"{events:,}", f"{users:,}"] for day, events, users in bars]


def test_the_numbers_equal_sql(example: Any, read_page: Any, sql: Any) -> None:
    page, queries = read_page(example.html), sql(example.dataset.folder)
    assert_equal_to_sql(example.card, page, queries)
    assert_days_equal_to_sql(example.card, page, queries)


def test_as_of_counts_only_what_was_there(shop_data: Dataset, engine: Engine, sql: Any) -> None:
    as_of_ms = (shop_data.first_ms + shop_data.last_ms) // 2
    counted = figures(engine, shop_data, Tables.of(engine, shop_data, as_of_ms))
    queries = sql(shop_data.folder)
    assert counted["tables"]["events"]["rows"] == queries.one(f"SELECT count(*) FROM {{events}} WHERE ts < {as_of_ms}")
    assert counted["users"] == queries.one(
        f"SELECT count(*) FROM (SELECT user_id FROM {{users}} WHERE valid_from < {as_of_ms} UNION SELECT user_id "
        f"FROM {{events}} WHERE ts < {as_of_ms})"
    )
    assert counted["timeline"]["bars"][-1]["from"] == queries.one(
        f"SELECT strftime(make_timestamp_ms(max(ts)), '%Y-%m-%d') FROM {{events}} WHERE ts < {as_of_ms}"
    )


def test_as_of_before_everything_is_refused(shop_data: Dataset, engine: Engine) -> None:
    with pytest.raises(ConfigError, match="must be after the first event"):
        data_card(engine, shop_data, shop_data.first_ms)


def test_rejects_stand_in_the_page_by_reason(shop_card: Any, read_page: Any) -> None:
    account = {**shop_card["tables"]["events"], "rows_in": 200, "rejected": 3}
    account |= {"policy": {"no price": 2}, "contract": {"ts must not be in the future": 1}}
    card = {**shop_card, "tables": {**shop_card["tables"], "events": account}}
    assert read_page(card_html(card)).table("rejects") == [
        ["no price", "events", "policy", "2", "1 %"],
        ["ts must not be in the future", "events", "contract", "1", "0.5 %"],
    ]


def test_a_long_time_line_has_few_bars(make_dataset: Any, engine: Engine) -> None:
    ages = (1, 2, 20_000)
    events = [
        {"event_id": f"e{age}", "user_id": "u", "item_id": "i", "event_type": "view", "ts": age * DAY_MS + 5}
        for age in ages
    ]
    dataset = make_dataset({"events": events})
    timeline = figures(engine, dataset, Tables.of(engine, dataset))["timeline"]
    assert timeline["bar_days"] == 364
    assert [bar["events"] for bar in timeline["bars"]] == [2, *[0] * 53, 1]
    assert timeline["bars"][0] == {"from": "1970-01-02", "events": 2, "users": 1}


def test_gini_of_nothing_and_of_one() -> None:
    assert gini(np.zeros(3, dtype=np.int64)) is None
    assert gini(np.array([7])) == 0
    assert top_share(np.zeros(2, dtype=np.int64)) is None
    assert popularity_curve(np.zeros(2, dtype=np.int64)) == []


def test_gini_equals_the_mean_absolute_difference() -> None:
    counts = np.random.default_rng(0).zipf(1.7, 200)
    slow = sum(abs(a - b) for a in counts.tolist() for b in counts.tolist()) / (2 * len(counts) * counts.sum())
    assert gini(counts) == pytest.approx(slow)


def test_every_user_is_in_one_group() -> None:
    counts = np.arange(2_000)
    assert sum(group["users"] for group in grouped(counts)) == 2_000
    assert [group["users"] for group in grouped(counts)] == [1, 1, 1, 2, 5, 10, 30, 50, 900, 1_000]


def test_a_card_is_json(shop_card: Any) -> None:
    assert json.loads(json.dumps(shop_card, allow_nan=False)) == shop_card
