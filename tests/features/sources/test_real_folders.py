"""The real folders: every row is accounted for as pandas counts it, and what was taken in makes a snapshot."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.snapshot import build_snapshot
from features.sources import SOURCES, source

FOLDERS = {
    "benchmark_beauty": "benchmark_sequences",
    "benchmark_gowalla": "benchmark_split",
    "benchmark_ml1m": "benchmark_sequences",
    "cdnow": "cdnow",
    "complete_journey": "complete_journey",
    "hillstrom": "hillstrom",
    "movielens_1m": "movielens_1m",
    "online_retail": "online_retail",
    "online_shoppers": "online_shoppers",
    "open_bandit": "open_bandit",
    "retailrocket": "retailrocket",
    "session_diginetica": "session_lists",
    "session_retailrocket": "session_lists",
}

#: Files that are cut to their first rows, so that taking them in takes seconds.
ROWS = {
    "train.parquet": 2_000,
    "ratings.parquet": 3_000,
    "transactions.parquet": 1_000,
    "products.parquet": 2_000,
    "hillstrom.parquet": 2_000,
    "online_shoppers.parquet": 2_000,
    "random_women.parquet": 2_000,
    "bts_women.parquet": 2_000,
}

Counts = dict[str, Counter[str]]


def _counts(engine: Engine, folder: Path, name: str) -> Counts:
    """Table to event type, or reason of the reject, to number of rows; items and users have no type."""
    counts = {}
    for table, rows in source(name).read(engine, folder).items():
        kind = rows["event_type"] if table == "events" else rows["source_file"]
        told = rows.select(kind=rows["reject"].fill_null(kind)).group_by("kind").agg(n=lambda t: t.count())
        counts[table] = Counter({row["kind"]: row["n"] for row in engine.to_arrow(told).to_pylist()})
    return counts


def test_beauty(engine: Engine, real_data: Path) -> None:
    lists = pd.read_parquet(real_data / "benchmark_beauty" / "sequences.parquet")["items"]
    counts = _counts(engine, real_data / "benchmark_beauty", "benchmark_sequences")
    assert counts["events"] == {"purchase": lists.str.len().sum()}
    assert counts["items"] == {"item2attributes.parquet": 12_101}
    events = source("benchmark_sequences").read(engine, real_data / "benchmark_beauty")["events"]
    last = events.filter(events["ts"] == events["ts"].max()).order_by("source_row")
    assert engine.to_arrow(last)["item_id"].to_pylist() == [str(items[-1]) for items in lists]


def test_sequences_of_movielens(engine: Engine, real_data: Path) -> None:
    lists = pd.read_parquet(real_data / "benchmark_ml1m" / "sequences.parquet")["items"]
    tables = source("benchmark_sequences").read(engine, real_data / "benchmark_ml1m")
    assert set(tables) == {"events"}
    assert engine.value(tables["events"].count()) == lists.str.len().sum() == 999_611


@pytest.mark.parametrize("name", ["session_diginetica", "session_retailrocket"])
def test_sessions(engine: Engine, real_data: Path, name: str) -> None:
    lists = pd.read_parquet(real_data / name / "train_sequences.parquet")["items"]
    assert _counts(engine, real_data / name, "session_lists") == {"events": {"view": lists.str.len().sum()}}


def test_gowalla(engine: Engine, real_data: Path) -> None:
    assert _counts(engine, real_data / "benchmark_gowalla", "benchmark_split") == {"events": {"purchase": 810_128}}


def test_movielens(engine: Engine, real_data: Path) -> None:
    ratings = pd.read_parquet(real_data / "movielens_1m" / "ratings.parquet")
    lost = ratings["timestamp"].isna() & ratings["sasrec_time_rank"].isna()
    counts = _counts(engine, real_data / "movielens_1m", "movielens_1m")
    assert counts["events"] == {"purchase": (~lost).sum(), "no time": lost.sum()}
    assert (counts["users"].total(), counts["items"].total()) == (6_040, 3_883)
    events = source("movielens_1m").read(engine, real_data / "movielens_1m")["events"]
    made = ratings.loc[ratings["timestamp"].isna() & ~lost, "user_id"].astype(str).unique().tolist()
    latest = events.filter(events["user_id"].isin(made))["ts"].max()
    assert engine.value(latest) == (ratings["timestamp"].min() - 60) * 1000


def test_cdnow(engine: Engine, real_data: Path) -> None:
    orders = pd.read_parquet(real_data / "cdnow" / "cdnow_master.parquet")
    assert _counts(engine, real_data / "cdnow", "cdnow")["events"] == {"purchase": len(orders)}
    events = source("cdnow").read(engine, real_data / "cdnow")["events"]
    exact = events["properties"].re_extract(r"([0-9]+)\}", 1).cast("int64").sum()
    assert engine.value(exact) == (orders["order_amount"] * 100).round().sum()
    off = engine.value((events["quantity"] * events["unit_price_cents"]).sum()) / engine.value(exact) - 1
    assert abs(off) < 1e-3
    assert engine.value(events["event_id"].nunique()) == len(orders)


def test_complete_journey(engine: Engine, real_data: Path) -> None:
    tables = {path.stem: pd.read_parquet(path) for path in (real_data / "complete_journey").glob("*.parquet")}
    lines = tables["transactions"].merge(tables["products"], "left", "product_id")
    coupon, empty = lines["department"] == "COUPON", lines["quantity"] == 0
    counts = _counts(engine, real_data / "complete_journey", "complete_journey")
    assert counts["events"] == {
        "not a product": coupon.sum(),
        "no quantity": (empty & ~coupon).sum(),
        "purchase": (~coupon & ~empty).sum(),
        "message": len(tables["campaigns"]),
        "redemption": len(tables["coupon_redemptions"]),
    }
    assert counts["users"].total() == 801
    assert counts["items"]["not a product"] == (tables["products"]["department"] == "COUPON").sum()
    assert counts["items"]["products.parquet"] + counts["items"]["not a product"] == len(tables["products"])
    # A price per change of the shelf price, by a loop in time order; halves of a cent are rounded up.
    priced = lines["department"].notna() & ~lines["product_type"].str.startswith("GASOLINE", na=False)
    goods = lines[~coupon & ~empty & priced]
    prices: dict[str, int] = {}
    changes, seen = 0, set()
    shelf = (goods["sales_value"] + goods["retail_disc"] + goods["coupon_match_disc"]) / goods["quantity"]
    goods = goods.assign(cents=(shelf * 100 + 0.5).astype(int)).sort_values("transaction_timestamp", kind="stable")
    for product, at, cents in goods[["product_id", "transaction_timestamp", "cents"]].itertuples(index=False):
        if (product, at) not in seen:
            changes += prices.get(product) != cents
            prices[product] = cents
            seen.add((product, at))
    assert counts["items"]["transactions.parquet"] == changes


def test_hillstrom(engine: Engine, real_data: Path) -> None:
    trial = pd.read_parquet(real_data / "hillstrom" / "hillstrom.parquet")
    counts = _counts(engine, real_data / "hillstrom", "hillstrom")
    assert counts["events"] == {
        "message": (trial["segment"] != "No E-Mail").sum(),
        "visit": trial["visit"].sum(),
        "purchase": trial["conversion"].sum(),
    }
    assert counts["users"].total() == len(trial) == 31_924
    events = source("hillstrom").read(engine, real_data / "hillstrom")["events"]
    assert engine.value(events["unit_price_cents"].sum()) == round(trial["spend"].sum() * 100)


def test_online_shoppers(engine: Engine, real_data: Path) -> None:
    sessions = pd.read_parquet(real_data / "online_shoppers" / "online_shoppers.parquet")
    counts = _counts(engine, real_data / "online_shoppers", "online_shoppers")
    assert counts["events"] == {"visit": len(sessions), "purchase": sessions["Revenue"].sum()}
    assert counts["users"].total() == len(sessions) == 8_670


def test_open_bandit(engine: Engine, real_data: Path) -> None:
    folder = real_data / "open_bandit"
    logs = {arm: pd.read_parquet(folder / f"{arm}_women.parquet") for arm in ("random", "bts")}
    counts = _counts(engine, folder, "open_bandit")
    assert counts["events"] == {"view": sum(log["click"].sum() for log in logs.values())}
    assert counts["impressions"] == {f"{arm}_women.parquet": len(log) for arm, log in logs.items()}
    shown = source("open_bandit").read(engine, folder)["impressions"]
    times = engine.to_arrow(shown.filter(shown["arm"] == "random").order_by("source_row"))["ts"].to_pylist()
    assert times == [round(pd.Timestamp(text).value // 1_000_000) for text in logs["random"]["timestamp"]]


def test_every_real_folder_has_a_source(real_data: Path) -> None:
    assert sorted(FOLDERS) == sorted(path.name for path in real_data.iterdir() if path.is_dir())
    assert {*FOLDERS.values(), "tables"} == set(SOURCES)


# Those with attributes, odd times or impressions; what is left has none of these.
@pytest.mark.parametrize(
    "name",
    ["benchmark_gowalla", "complete_journey", "hillstrom", "movielens_1m", "online_shoppers", "open_bandit"],
)
def test_what_was_taken_in_makes_a_snapshot(engine: Engine, real_data: Path, tmp_path: Path, name: str) -> None:
    report = ingest(_cut(real_data / name, tmp_path / name), FOLDERS[name], tmp_path / "out")
    for table in report.tables.values():
        assert table.rows_in == table.accepted + table.rejected
        assert table.contract == {}
    dataset = Dataset.open(report.out)
    snapshot = build_snapshot(engine, dataset, dataset.last_ms + 1)
    known = engine.to_pandas(dataset.events(engine)[["user_id"]].distinct())["user_id"]
    assert set(known) <= set(snapshot.user_matrix.index)
    assert snapshot.attributes == dataset.attributes


def _cut(folder: Path, copy: Path) -> Path:
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    for file in copy.iterdir():
        if file.name in ROWS:
            pq.write_table(pq.read_table(file).slice(0, ROWS[file.name]), file)
    return copy
