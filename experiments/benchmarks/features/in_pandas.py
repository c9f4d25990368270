"""A snapshot as somebody writes it in a notebook: plain pandas, feature by feature, everything in memory.

Every column of the user matrix and of the item matrix, the interactions and the sequences, as of an instant at the end
of a day, of data in which nobody has a history before a first listing, channels or merges. It is slow on purpose only
where plain pandas is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

DAY_MS = 86_400_000
WINDOWS = (1, 7, 30, 90)
INTERACTIONS = ["view", "add_to_cart", "purchase"]
POINTS = {"view": 1, "add_to_cart": 3, "purchase": 5}
PLURALS = {
    "view": "views",
    "add_to_cart": "carts",
    "purchase": "purchases",
    "refund": "refunds",
    "search": "searches",
    "remove_from_cart": "removals",
    "exit_intent": "exits",
    "visit": "visits",
    "message": "messages",
    "redemption": "redemptions",
}
BANDS = [0, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, np.inf]


def snapshot_in_pandas(dataset: Path, as_of_ms: int, out: Path) -> None:
    """Write the four products of a data set without impressions into the folder ``out``."""
    users = pd.read_parquet(dataset / "users.parquet").query("valid_from < @as_of_ms")
    items = pd.read_parquet(dataset / "items.parquet").query("valid_from < @as_of_ms").set_index("item_id")
    allowed = users["consents"].fillna("personalisation").str.split(",")
    users = users[allowed.map(lambda words: "personalisation" in words)].set_index("user_id").sort_index()
    searched = users["consents"].fillna("").str.contains("search_history")
    events = pd.read_parquet(dataset / "events").query("ts < @as_of_ms")
    events = events[events["user_id"].isin(users.index)]
    events = events[(events["event_type"] != "search") | events["user_id"].map(searched)]
    events["age"] = (as_of_ms - 1 - events["ts"]) // DAY_MS
    events["units"] = events["quantity"].fillna(1).astype("int64")
    events["cents"] = events["units"] * events["unit_price_cents"].fillna(0).astype("int64")
    about = items[["category", "brand", "price_cents"]].rename(columns={"price_cents": "list_cents"})
    events = events.merge(about, left_on="item_id", right_index=True, how="left")
    events = events.sort_values(["user_id", "ts"], kind="stable")
    out.mkdir(parents=True)
    _users(events, users, searched).to_parquet(out / "user_matrix.parquet")
    matrix = _items(events, items, as_of_ms)
    matrix.to_parquet(out / "item_matrix.parquet")
    _sequences(events[events["item_id"].notna()], users.index, matrix.index, out)


def _sequences(events: pd.DataFrame, users: pd.Index, items: pd.Index, out: Path) -> None:
    rows, columns = users.get_indexer(pd.Index(events["user_id"])), items.get_indexer(pd.Index(events["item_id"]))
    seen = events["event_type"].isin(INTERACTIONS).to_numpy()
    pairs = (np.ones(seen.sum(), np.int32), (rows[seen], columns[seen]))
    sparse.save_npz(out / "interactions.npz", sparse.csr_matrix(pairs, (len(users), len(items))), compressed=False)
    kinds = pd.Categorical(events["event_type"], categories=list(PLURALS)).codes
    np.savez(out / "sequences.npz", users=rows, items=columns, event_types=kinds, ts=events["ts"].to_numpy())


def _count(rows: pd.DataFrame, key: str, index: pd.Index) -> pd.Series:
    return rows.groupby(key).size().reindex(index, fill_value=0)


def _since(rows: pd.DataFrame, key: str, index: pd.Index, how: str = "min") -> pd.Series:
    return rows.groupby(key)["age"].agg(how).reindex(index)


def _share(top: pd.Series, bottom: pd.Series) -> pd.Series:
    return top / bottom.where(bottom != 0)


def _users(events: pd.DataFrame, users: pd.DataFrame, searched: pd.Series) -> pd.DataFrame:
    index, key = users.index, "user_id"
    of = {name: events[events["event_type"] == kind] for kind, name in PLURALS.items()}
    seen = events[events["event_type"].isin(INTERACTIONS)]
    bought = of["purchases"]
    gap = events.groupby(key)["ts"].diff()
    starts = events[gap.isna() | (gap >= 1_800_000)]
    named = bought.assign(order=bought["order_id"].fillna("@" + bought["ts"].astype(str)))
    orders = named.groupby([key, "order"])["age"].min().reset_index()
    m = users[["country", "gender", "age_band"]].fillna("missing").copy()
    m["recency_days"] = _since(seen, key, index)
    m["tenure_days"] = _since(events, key, index, "max")
    m["purchase_recency_days"] = _since(bought, key, index)
    m["frequency"] = _count(orders, key, index)
    m["monetary_cents"] = bought.groupby(key)["cents"].sum().reindex(index, fill_value=0)
    for score, column, good in (("recency", "purchase_recency_days", -1), ("frequency", "frequency", 1)):
        m[f"{score}_score"] = _score(m[column], good)
    m["monetary_score"] = _score(m["monetary_cents"], 1)
    m["distinct_items"] = seen.groupby(key)["item_id"].nunique().reindex(index, fill_value=0)
    for name in ("views", "carts", "purchases", "refunds", "searches"):
        for days in WINDOWS:
            m[f"{name}_{days}d"] = _count(of[name][of[name]["age"] < days], key, index)
    for name, rows in (("sessions", starts), ("orders", orders)):
        for days in WINDOWS:
            m[f"{name}_{days}d"] = _count(rows[rows["age"] < days], key, index)
    for days in WINDOWS:
        money = bought[bought["age"] < days].groupby(key)["cents"].sum()
        m[f"monetary_cents_{days}d"] = money.reindex(index, fill_value=0)
        m[f"impressions_{days}d"] = 0
    for name in ("removals", "exits", "visits", "messages", "redemptions"):
        m[f"{name}_30d"] = _count(of[name][of[name]["age"] < 30], key, index)
    m["interactions"] = _count(seen, key, index)
    m["units"] = bought.groupby(key)["units"].sum().reindex(index, fill_value=0)
    m["refunded_cents"] = of["refunds"].groupby(key)["cents"].sum().reindex(index, fill_value=0)
    m["average_order_cents"] = _share(m["monetary_cents"], m["frequency"])
    m["basket_units"] = _share(m["units"], m["frequency"])
    m["average_unit_cents"] = _share(m["monetary_cents"], m["units"])
    m["refund_share"] = _share(m["refunded_cents"], m["monetary_cents"])
    days_with = orders[[key, "age"]].drop_duplicates().sort_values([key, "age"])
    gaps = days_with.assign(gap=days_with.groupby(key)["age"].diff()).dropna().groupby(key)["gap"]
    m["order_gap_days"] = gaps.mean().reindex(index)
    variation = gaps.std(ddof=0) / gaps.mean()
    m["order_gap_variation"] = variation[gaps.size() > 1].reindex(index)
    listed = bought[bought["unit_price_cents"].notna() & bought["list_cents"].notna()]
    m["listed_purchases"] = _count(listed, key, index)
    m["discounted_purchases"] = _count(listed[listed["unit_price_cents"] < listed["list_cents"]], key, index)
    m["discount_share"] = _share(m["discounted_purchases"], m["listed_purchases"])
    hour = seen["ts"] % DAY_MS // 3_600_000
    parts = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
    for part, (first, last) in parts.items():
        m[f"{part}_interactions"] = _count(seen[(hour >= first) & (hour < last)], key, index)
        m[f"{part}_share"] = _share(m[f"{part}_interactions"], m["interactions"])
    weekend = pd.to_datetime(seen["ts"], unit="ms").dt.dayofweek >= 5
    m["weekend_interactions"] = _count(seen[weekend], key, index)
    m["weekend_share"] = _share(m["weekend_interactions"], m["interactions"])
    m["cart_share"] = _share(m["carts_90d"], m["views_90d"])
    m["buy_share"] = _share(m["purchases_90d"], m["carts_90d"])
    m["session_views"] = _share(m["views_90d"], m["sessions_90d"])
    m["funnel_stage"] = _stages(*(_since(of[name], key, index) for name in ("views", "carts", "purchases")))
    points = seen["event_type"].map(POINTS) * np.floor(2**20 * 0.5 ** (seen["age"] / 30) + 0.5).astype("int64")
    _affinities(m, seen.assign(label=seen["category"].str.split("/").str[0], points=points), "category", columns=True)
    _affinities(m, seen.assign(label=seen["brand"], points=points), "brand")
    price = seen["unit_price_cents"].fillna(seen["list_cents"])
    band = pd.cut(price, BANDS, right=False, labels=False)
    _affinities(m, seen.assign(label=band, points=points), "price_band")
    m.loc[~searched, [f"searches_{days}d" for days in WINDOWS]] = np.nan
    return m


def _score(values: pd.Series, good: int) -> pd.Series:
    known = values[values.notna() & (values > 0)] if good > 0 else values.dropna()
    cuts = np.quantile(known.astype(float), [0.2, 0.4, 0.6, 0.8], method="inverted_cdf")
    fifth = pd.Series(np.searchsorted(cuts, known.astype(float)), index=known.index)
    return (fifth + 1 if good > 0 else 5 - fifth).reindex(values.index)


def _stages(views: pd.Series, carts: pd.Series, purchases: pd.Series) -> np.ndarray:
    views, carts, purchases = (days.where(days < 30, np.inf).fillna(np.inf) for days in (views, carts, purchases))
    bought = (purchases < np.inf) & (purchases <= views)
    carted = (carts < np.inf) & (carts < purchases)
    return np.select([carted, bought, views < np.inf], ["cart", "purchase", "view"], "none")


def _affinities(m: pd.DataFrame, rows: pd.DataFrame, name: str, *, columns: bool = False) -> None:
    sums = rows.dropna(subset=["label"]).groupby(["user_id", "label"])["points"].sum()
    sums = sums[sums > 0]
    shares = sums / sums.groupby("user_id").transform("sum")
    ranked = sums.reset_index().sort_values(["user_id", "points", "label"], ascending=[True, False, True])
    best = ranked.drop_duplicates("user_id").set_index("user_id")["label"]
    m[f"top_{name}"] = best.reindex(m.index)
    m[f"top_{name}_share"] = shares.groupby("user_id").max().reindex(m.index)
    if columns:
        wide = shares.unstack().fillna(0.0).reindex(m.index)
        for label in wide.columns:
            m[f"affinity:{label}"] = wide[label]


def _items(events: pd.DataFrame, items: pd.DataFrame, as_of_ms: int) -> pd.DataFrame:
    items = items.sort_index()
    index, key = items.index, "item_id"
    events = events[events[key].notna()]
    of = {name: events[events["event_type"] == kind] for kind, name in PLURALS.items()}
    bought = of["purchases"]
    seen = events[events["event_type"].isin(INTERACTIONS)]
    m = items[["category", "brand", "price_cents", "available", "title"]].copy()
    m["first_seen_days"] = _since(seen, key, index, "max")
    m["last_viewed_days"] = _since(of["views"], key, index)
    m["last_bought_days"] = _since(bought, key, index)
    m["age_days"] = (as_of_ms - 1 - items["valid_from"]) // DAY_MS
    prices = items.groupby("category")["price_cents"]
    m["price_rank"] = (prices.rank(method="min") - 1) / prices.transform("count")
    m["buyers"] = bought.groupby(key)["user_id"].nunique().reindex(index, fill_value=0)
    m["buyers_90d"] = bought[bought["age"] < 90].groupby(key)["user_id"].nunique().reindex(index, fill_value=0)
    pairs = bought.groupby([key, "user_id"])["age"].nunique()
    m["repeat_buyers"] = pairs[pairs >= 2].groupby(key).size().reindex(index, fill_value=0)
    for name, kind in (("popularity", "purchases"), ("view_popularity", "views"), ("cart_popularity", "carts")):
        weights = np.floor(2**20 * 0.5 ** (of[kind]["age"] / 14) + 0.5).astype("int64")
        m[name] = weights.groupby(of[kind][key]).sum().reindex(index, fill_value=0)
    for name in ("views", "carts", "purchases", "refunds"):
        for days in WINDOWS:
            m[f"{name}_{days}d"] = _count(of[name][of[name]["age"] < days], key, index)
    for days in WINDOWS:
        m[f"impressions_{days}d"] = 0
    m["removals_30d"] = _count(of["removals"][of["removals"]["age"] < 30], key, index)
    revenue = bought[bought["age"] < 30].groupby(key)["cents"].sum()
    m["revenue_cents_30d"] = revenue.reindex(index, fill_value=0)
    m["purchases"], m["refunds"] = _count(bought, key, index), _count(of["refunds"], key, index)
    m["trend"] = (m["purchases_7d"] + 1) / (m["purchases_30d"] * 7 / 30 + 1)
    m["view_trend"] = (m["views_7d"] + 1) / (m["views_30d"] * 7 / 30 + 1)
    for days in WINDOWS:
        for name, top, bottom in (
            ("view_to_cart", "carts", "views"),
            ("cart_to_purchase", "purchases", "carts"),
            ("view_to_purchase", "purchases", "views"),
        ):
            m[f"{name}_{days}d"] = _rate(m, f"{top}_{days}d", f"{bottom}_{days}d")
    m["repeat_rate"] = _rate(m, "repeat_buyers", "buyers")
    m["refund_rate"] = _rate(m, "refunds", "purchases")
    month = pd.Timestamp(as_of_ms - 1, unit="ms").to_period("M").start_time.value // 1_000_000
    corpus = sorted(set(items.loc[items["valid_from"] < month, "title"].dropna()))
    words = TfidfVectorizer(max_features=5_000)
    space = TruncatedSVD(16, random_state=0).fit(words.fit_transform(corpus))
    vectors = space.transform(words.transform(m["title"].fillna("")))
    return pd.concat([m, pd.DataFrame(vectors, m.index, [f"title_{number}" for number in range(16)])], axis=1)


def _rate(m: pd.DataFrame, top: str, bottom: str) -> pd.Series:
    overall = m[top].sum() / m[bottom].sum() if m[bottom].sum() else np.nan
    tops, bottoms = (m.groupby("category")[column].transform("sum") for column in (top, bottom))
    parent = (tops + 20 * overall) / (bottoms + 20)
    return (m[top] + 20 * parent) / (m[bottom] + 20)


__all__ = ["snapshot_in_pandas"]
