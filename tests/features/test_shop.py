"""The simulated shop: its log keeps the contract, its effects are planted where it says, and its truth stays hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2_contingency

from features.errors import ConfigError, InputError
from features.schema import DAY_MS, SESSION_GAP_S, EventType
from features.shop import Shop, ShopConfig
from features.shop.log import SCHEMA

EVENTS = 60_000


class Made:
    """A shop together with what it wrote."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.shop = Shop(ShopConfig.of(**config))
        self.folder = folder
        self.counts = self.shop.write(folder)
        self.events = pd.read_parquet(folder / "events.parquet")
        self.item = self.events.item_id.map(pd.Series(range(self.counts["items"]), self.shop.items.item_id))
        self.user = self.events.user_id.map(pd.Series(range(self.counts["users"]), self.shop.users.user_id))

    def of(self, event_type: EventType) -> pd.Series:
        return self.events.event_type == event_type


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("shop"), events=EVENTS, seed=3)


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("null"), events=EVENTS, seed=3, null=True)


def test_one_seed_is_one_log_whatever_the_blocks(tmp_path: Path) -> None:
    logs = []
    for name, seed, block in (("a", 5, 700), ("b", 5, 10**9), ("c", 6, 10**9)):
        Shop(ShopConfig(seed=seed, events=5_000)).write(tmp_path / name, block_events=block)
        logs.append(pq.read_table(tmp_path / name / "events.parquet"))
    assert pq.ParquetFile(tmp_path / "a" / "events.parquet").num_row_groups > 3
    assert logs[0].equals(logs[1])
    assert not logs[0].equals(logs[2])


@pytest.mark.parametrize(
    ("events", "days", "users"),
    [(1_000, 120, None), (1_000, 1, None), (30_000, 3, None), (20_000, 60, 200), (100_000, 120, None)],
)
@pytest.mark.parametrize("null", [False, True])
def test_the_log_is_about_as_long_as_asked_for(
    tmp_path: Path, events: int, days: int, users: int | None, null: bool
) -> None:
    config = ShopConfig(events=events, days=days, users=users, null=null)
    calls: list[tuple[int, int]] = []
    counts = Shop(config).write(tmp_path, lambda done, of: calls.append((done, of)))
    assert counts["events"] == pytest.approx(events, rel=0.1)
    assert calls[-1] == (counts["events"], events)
    assert users is None or counts["users"] == users


def test_tables_keep_the_contract(made: Made) -> None:
    assert pq.read_schema(made.folder / "events.parquet").equals(SCHEMA)
    events, items, users = made.events, made.shop.items, made.shop.users
    assert events.event_id.is_unique and items.item_id.is_unique and users.user_id.is_unique
    assert events.ts.is_monotonic_increasing
    assert events.ts.between(made.shop.config.start_ms, made.shop.config.end_ms, inclusive="left").all()
    # Nobody writes to the users of this shop, or meets them under two names.
    assert set(events.event_type) == {kind.value for kind in EventType if kind.code <= EventType.EXIT_INTENT.code}
    itemless = made.of(EventType.SEARCH) | made.of(EventType.EXIT_INTENT)
    assert (events.item_id.isna() == itemless).all()
    assert (events["query"].notna() == made.of(EventType.SEARCH)).all()
    sold = made.of(EventType.PURCHASE) | made.of(EventType.REFUND)
    assert (events.order_id.notna() == sold).all()
    assert (items.price_cents > 0).all() and items.price_cents.dtype == np.int64
    assert items.category.str.count("/").eq(2).all()
    pd.testing.assert_frame_equal(pd.read_parquet(made.folder / "items.parquet"), items, check_dtype=False)
    for attribute in ("country", "gender", "age_band"):
        assert 0.05 < users[attribute].isna().mean() < 0.11


def test_nothing_happens_before_user_and_item_exist(made: Made) -> None:
    known = made.item.notna()
    launched = made.shop.items.valid_from.to_numpy()[made.item[known].astype(int)]
    registered = made.shop.users.valid_from.to_numpy()[made.user]
    assert (made.events.ts[known] >= launched).all()
    assert (made.events.ts >= registered).all()
    assert made.user.notna().all()
    assert (made.shop.items.valid_from > made.shop.config.start_ms).any()


def test_sessions_are_what_the_session_gap_says(made: Made) -> None:
    ordered = made.events.assign(refund=made.of(EventType.REFUND)).sort_values(["user_id", "ts"], kind="stable")
    gap_ms = ordered.groupby("user_id").ts.diff()
    same = ordered.session_id.eq(ordered.groupby("user_id").session_id.shift()) & ordered.session_id.notna()
    assert gap_ms[same].between(1_000, 300_000).all()
    assert (gap_ms[~same].dropna() > 1_000 * SESSION_GAP_S).all()
    assert (ordered.session_id.isna() == ordered.refund).all()
    assert (ordered.dropna(subset="session_id").groupby("session_id").user_id.nunique() == 1).all()


def test_the_funnel_runs_from_view_over_cart_to_one_order(made: Made) -> None:
    visits = made.events.dropna(subset=["session_id", "item_id"])
    first = visits.pivot_table(index=["session_id", "item_id"], columns="event_type", values="ts", aggfunc="min")
    bought = first.dropna(subset="purchase")
    assert (bought["view"] < bought.add_to_cart).all() and (bought.add_to_cart < bought.purchase).all()
    assert first.dropna(subset="remove_from_cart").add_to_cart.notna().all()
    purchases = made.events[made.of(EventType.PURCHASE)]
    assert (purchases.groupby("session_id").order_id.nunique() == 1).all()
    assert 0.05 < len(purchases) / len(made.events) < 0.1
    refunds = made.events[made.of(EventType.REFUND)].merge(
        purchases, on=["order_id", "item_id", "user_id", "quantity", "unit_price_cents"], suffixes=("", "_bought")
    )
    assert len(refunds) == made.of(EventType.REFUND).sum()
    assert (refunds.ts > refunds.ts_bought + DAY_MS).all()


@pytest.mark.parametrize("attribute", ["country", "gender", "age_band"])
def test_groups_differ_in_the_shop_and_not_in_the_null_shop(made: Made, null: Made, attribute: str) -> None:
    def p_value(log: Made) -> float:
        bought = log.of(EventType.PURCHASE)
        leaf = log.shop.items.category.to_numpy()[log.item[bought].astype(int)]
        top = pd.Series(leaf).str.split("/").str[0]
        group = log.shop.users[attribute].to_numpy()[log.user[bought]]
        return float(chi2_contingency(pd.crosstab(top, group)).pvalue)

    assert p_value(made) < 1e-6
    assert p_value(null) > 0.001


def test_the_null_shop_knows_popularity_alone(null: Made) -> None:
    users = np.arange(200)
    end_ms = null.shop.config.end_ms
    rates = null.shop.purchase_rate(users, end_ms - 14 * DAY_MS, end_ms)
    share = rates / rates.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(share, np.broadcast_to(share[0], share.shape), rtol=1e-5)
    assert share[0].max() > 5 * share[0].mean()


def test_liked_items_sell_more_than_disliked_ones(made: Made) -> None:
    shop, users = made.shop, np.arange(2_000)
    now_ms = np.full(len(users), shop.config.start_ms + 50 * DAY_MS)
    order = np.argsort(shop.purchase_rate(users, int(now_ms[0]), int(now_ms[0]) + DAY_MS), axis=1)
    answers = {}
    for name, slates in (("liked", order[:, -8:]), ("disliked", order[:, :8])):
        answers[name] = shop.respond(users, slates, now_ms, np.random.default_rng(1))
    assert answers["liked"].purchased.sum() > 10 * answers["disliked"].purchased.sum()
    for answer in answers.values():
        assert not (answer.purchased & ~answer.carted).any() and not (answer.carted & ~answer.viewed).any()


def test_attention_falls_with_the_rank(made: Made) -> None:
    shop, rng = made.shop, np.random.default_rng(2)
    users = rng.integers(0, len(shop.users), 60_000)
    slates = rng.integers(0, len(shop.items), (len(users), 4))
    viewed = shop.respond(users, slates, np.full(len(users), shop.config.start_ms), rng).viewed.mean(axis=0)
    expected = np.arange(1, 5) ** -0.35
    standard_error = np.sqrt(viewed / len(users))
    assert (np.abs(viewed / viewed[0] - expected) < 4 * standard_error * np.sqrt(2) / viewed[0]).all()
    assert (np.diff(viewed) < 0).all()


def test_only_one_of_the_substitutes_in_a_slate_is_bought_and_empty_places_never(made: Made) -> None:
    shop = made.shop
    leaf = shop.items.category == shop.items.category.iloc[0]
    slate = np.append(np.flatnonzero(leaf)[:6], [-1, -1])
    users = np.arange(len(shop.users))
    answer = shop.respond(
        users, np.tile(slate, (len(users), 1)), np.full(len(users), shop.config.start_ms), np.random.default_rng(0)
    )
    assert answer.purchased.sum(axis=1).max() == 1
    assert answer.carted.sum(axis=1).max() > 1
    assert not answer.viewed[:, 6:].any()


def test_the_visit_aims_at_its_category_and_at_buying(made: Made) -> None:
    shop, rng = made.shop, np.random.default_rng(4)
    users = rng.integers(0, len(shop.users), 20_000)
    now_ms = np.full(len(users), shop.config.start_ms)
    intents = shop.intents(users, now_ms, rng)
    leaves = pd.factorize(shop.items.category)[0]
    slates = rng.integers(0, len(shop.items), (len(users), 8))
    answer = shop.respond(users, slates, now_ms, rng, intents)
    assert answer.purchased[intents.buys].mean() > 3 * answer.purchased[~intents.buys].mean()
    visits = made.events[made.of(EventType.VIEW)].assign(leaf=leaves[made.item[made.of(EventType.VIEW)].astype(int)])
    first_two = visits.groupby("session_id").leaf.agg(lambda leaf: leaf.iloc[0] == leaf.iloc[min(1, len(leaf) - 1)])
    assert first_two[visits.groupby("session_id").size() > 1].mean() > 0.5


def test_the_truth_ranks_better_than_popularity_and_adds_up(made: Made) -> None:
    as_of_ms = made.shop.config.end_ms - 14 * DAY_MS
    bought = made.of(EventType.PURCHASE)
    before, after = bought & (made.events.ts < as_of_ms), bought & (made.events.ts >= as_of_ms)
    rates = made.shop.purchase_rate(np.arange(made.counts["users"]), as_of_ms, made.shop.config.end_ms)
    assert rates.dtype == np.float32 and (rates >= 0).all()
    assert rates.sum() == pytest.approx(after.sum(), rel=0.15)
    popular = np.bincount(made.item[before].astype(int), minlength=made.counts["items"])
    users, items = made.user[after].to_numpy(), made.item[after].astype(int).to_numpy()
    hits = {
        "truth": (rates[users] > rates[users, items][:, None]).sum(axis=1) < 20,
        "popular": (popular > popular[items][:, None]).sum(axis=1) < 20,
    }
    assert hits["truth"].mean() > 2 * hits["popular"].mean()


def test_consumables_are_bought_again(made: Made, null: Made) -> None:
    def again(log: Made) -> float:
        bought = log.of(EventType.PURCHASE)
        pairs = pd.DataFrame({"user": log.user[bought], "item": log.item[bought]})
        return float(pairs.duplicated().mean())

    assert again(made) > 3 * again(null)


def test_the_truth_is_not_on_disk(made: Made) -> None:
    assert sorted(path.name for path in made.folder.iterdir()) == ["events.parquet", "items.parquet", "users.parquet"]
    columns = {name: pq.read_schema(made.folder / f"{name}.parquet").names for name in ("items", "users")}
    assert columns["items"] == ["item_id", "valid_from", "category", "brand", "price_cents", "available", "title"]
    assert columns["users"] == ["user_id", "valid_from", "country", "gender", "age_band", "consents"]


def test_dense_indices_tell_nothing(made: Made) -> None:
    views = np.bincount(made.item[made.of(EventType.VIEW)].astype(int), minlength=made.counts["items"])
    row = np.arange(made.counts["items"])
    limit = 4 / np.sqrt(len(row))
    assert abs(np.corrcoef(row, np.log1p(views))[0, 1]) < limit
    assert abs(np.corrcoef(row, made.shop.items.valid_from)[0, 1]) < limit


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"events": 10}, "events"),
        ({"events": "many"}, "events"),
        ({"colour": "red"}, "colour"),
        ({"events": 50_000_000, "days": 3}, "size"),
        ({"events": 100_000, "days": 10, "users": 20}, "size"),
    ],
)
def test_an_impossible_shop_is_refused_by_name(values: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=f"shop: {field}"):
        ShopConfig.of(**values)


def test_questions_out_of_shape_or_time_are_refused(made: Made) -> None:
    shop = made.shop
    with pytest.raises(InputError, match="shapes"):
        shop.respond(
            np.arange(3), np.zeros((2, 4), dtype=np.int64), np.zeros(3, dtype=np.int64), np.random.default_rng(0)
        )
    with pytest.raises(InputError, match="window"):
        shop.purchase_rate(np.arange(3), shop.config.end_ms, shop.config.end_ms + DAY_MS)
