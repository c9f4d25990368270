"""C36: segments by declared features and the shop's own properties; one event changes who belongs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.schema import DAY_MS
from features.segments.columns import schema_of
from features.segments.definitions import Segments, read_segments
from features.segments.membership import member_of, memberships
from features.segments.rfm import NO_PURCHASE, RFM_SEGMENTS, fit_rfm
from features.segments.transitions import transitions
from features.snapshot import Snapshot, build_snapshot

#: ``tier`` is the shop's own property, which stellar knows nothing about.
WRITTEN = """
segments:
  - name: buyers
    where: purchase_recency_days is not missing
  - name: lapsed buyers
    parent: buyers
    where: purchase_recency_days >= 30 and monetary_cents / frequency > 2000
  - name: bought this week
    parent: buyers
    where: purchase_recency_days < 7
  - name: gold but silent
    where: tier = "gold" and not (sessions_7d > 0)
  - name: from Germany or France
    where: country in ("DE", "FR")
"""


@dataclass(frozen=True)
class Known:
    """What is known at the instant: the features of all users, the segments, and who belongs to them."""

    dataset: Dataset
    snapshot: Snapshot
    segments: Segments
    members: pd.DataFrame


def ingested(events: pd.DataFrame, shop_files: Path, folder: Path) -> Dataset:
    """The shop with these events and its own property."""
    folder.mkdir()
    events.to_parquet(folder / "events.parquet", index=False)
    pd.read_parquet(shop_files / "items.parquet").to_parquet(folder / "items.parquet", index=False)
    users = pd.read_parquet(shop_files / "users.parquet")
    users["tier"] = np.where(users["user_id"].str.endswith(("3", "7")), "gold", "basic")
    users.to_parquet(folder / "users.parquet", index=False)
    ingest(folder, "tables", folder / "out")
    (folder / "out" / "segments.yaml").write_text(WRITTEN)
    return Dataset.open(folder / "out")


def known(dataset: Dataset, as_of_ms: int) -> Known:
    with Engine.duckdb(threads=1) as engine:
        snapshot = build_snapshot(engine, dataset, as_of_ms)
        segments = read_segments(dataset.folder / "segments.yaml", schema_of(snapshot.user_matrix))
        return Known(dataset, snapshot, segments, memberships(engine, snapshot.user_matrix, segments))


@pytest.fixture(scope="module")
def as_of_ms(shop_data: Dataset) -> int:
    return shop_data.first_ms // DAY_MS * DAY_MS + 80 * DAY_MS


@pytest.fixture(scope="module")
def before(shop_files: Path, tmp_path_factory: pytest.TempPathFactory, as_of_ms: int) -> Known:
    events = pd.read_parquet(shop_files / "events.parquet")
    return known(ingested(events, shop_files, tmp_path_factory.mktemp("c36") / "before"), as_of_ms)


def test_each_segment_is_who_its_rule_says(before: Known) -> None:
    users, members = before.snapshot.user_matrix, before.members
    bought = users["purchase_recency_days"].notna()
    expected = {
        "buyers": bought,
        "lapsed buyers": bought
        & (users["purchase_recency_days"].fillna(0) >= 30)
        & (users["monetary_cents"] > 2000 * users["frequency"]),
        "bought this week": bought & (users["purchase_recency_days"].fillna(99) < 7),
        "gold but silent": (users["tier"] == "gold") & (users["sessions_7d"] == 0),
        "from Germany or France": users["country"].isin(["DE", "FR"]),
    }
    assert list(members.columns) == list(expected)
    for name, rows in expected.items():
        assert 0 < rows.sum() < len(users)
        np.testing.assert_array_equal(members[name].to_numpy(), rows.to_numpy(bool), err_msg=name)


def test_one_user_online_is_told_what_the_batch_says(before: Known) -> None:
    online = member_of(before.segments)
    rows = before.snapshot.user_matrix.to_dict("records")
    for row, batch in zip(rows, before.members.to_numpy(), strict=True):
        assert online(row) == set(before.members.columns[batch])


def test_one_event_changes_who_belongs_and_nobody_else(
    before: Known, shop_files: Path, as_of_ms: int, tmp_path: Path
) -> None:
    silent = before.members["lapsed buyers"] & before.members["gold but silent"]
    user_id = str(before.members.index[silent][0])
    events = pd.read_parquet(shop_files / "events.parquet")
    purchase = events[(events["event_type"] == "purchase") & (events["ts"] < as_of_ms)].iloc[:1]
    bought = purchase.assign(event_id="the one event", user_id=user_id, order_id="new", ts=as_of_ms - 1)
    after = known(ingested(pd.concat([events, bought]), shop_files, tmp_path / "after"), as_of_ms)
    row = after.snapshot.user_matrix.loc[user_id].to_dict()
    kept = {"from Germany or France"} & member_of(before.segments)(before.snapshot.user_matrix.loc[user_id].to_dict())
    assert member_of(after.segments)(row) == {"buyers", "bought this week"} | kept
    changed = (after.members != before.members).any(axis=1)
    assert list(after.members.index[changed]) == [user_id]


def test_recency_frequency_and_value_have_names_and_users_move_between_them(before: Known, as_of_ms: int) -> None:
    with Engine.duckdb(threads=1) as engine:
        later = build_snapshot(engine, before.dataset, as_of_ms + 14 * DAY_MS)
    matrices = [before.snapshot.user_matrix, later.user_matrix]
    one, other = (fit_rfm(users).segments(users) for users in matrices)
    assert set(one) <= set(RFM_SEGMENTS) and len(set(one)) > 8
    assert (one == NO_PURCHASE).tolist() == matrices[0]["purchase_recency_days"].isna().tolist()
    counts = transitions(one, other, RFM_SEGMENTS)
    sizes = one.value_counts()
    for name in RFM_SEGMENTS:
        assert counts.loc[name].sum() == sizes.get(name, 0)
    entered = counts.iloc[-1]
    assert entered.sum() == len(matrices[1].index.difference(matrices[0].index)) > 0
    assert counts.loc[NO_PURCHASE].drop([NO_PURCHASE]).sum() > 0  # who bought for the first time in between
