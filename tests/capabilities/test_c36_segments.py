"""C36: segments by declared features and the shop's own properties; one event changes who belongs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from experiments.compare import compare
from experiments.experiment import read_experiment
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.remember import Served
from features.schema import DAY_MS, MISSING
from features.segments.columns import schema_of
from features.segments.definitions import Segments, make_segments, read_segments
from features.segments.membership import member_of, memberships
from features.segments.rfm import NO_PURCHASE, RFM_SEGMENTS, rfm_segments
from features.segments.transitions import transitions
from features.snapshot import Snapshot, build_snapshot
from serving.state import State
from tests.capabilities.served import ATTRIBUTES, NOW, PEOPLE, VISITOR, Service, next_snapshot, shop, trained
from tests.features.by_hand import write
from training.blend import Blend
from training.bundle import Bundle, save_bundle

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
    one, other = (rfm_segments(users) for users in matrices)
    assert set(one) <= set(RFM_SEGMENTS) and len(set(one)) > 8
    assert (one == NO_PURCHASE).tolist() == matrices[0]["purchase_recency_days"].isna().tolist()
    counts = transitions(one, other, RFM_SEGMENTS)
    sizes = one.value_counts()
    for name in RFM_SEGMENTS:
        assert counts.loc[name].sum() == sizes.get(name, 0)
    entered = counts.iloc[-1]
    assert entered.sum() == len(matrices[1].index.difference(matrices[0].index)) > 0
    assert counts.loc[NO_PURCHASE].drop([NO_PURCHASE]).sum() > 0  # who bought for the first time in between


# A rule of each kind: sums in windows, days since, what was told, text features, and a part of another segment.
LIVE_RULES: list[dict[str, Any]] = [
    {"name": "looking", "where": "views_1d >= 3 and carts_30d = 0"},
    {"name": "buyers", "where": "purchase_recency_days is not missing"},
    {"name": "buyers today", "parent": "buyers", "where": "purchase_recency_days < 1"},
    {"name": "big spenders", "parent": "buyers", "where": "monetary_cents / frequency > 2000"},
    {"name": "gold who came back", "where": 'tier = "gold" and sessions_1d > 0'},
    {"name": "fond of c1", "where": 'top_category = "c1" and top_category_share > 0.4'},
    {"name": "silent", "where": "recency_days > 0 or recency_days is missing"},
]
INNER = {str(rule["name"]) for rule in LIVE_RULES if "parent" in rule}
BY_SEGMENT: dict[str, dict[str, Any]] = {
    "groups": {"model": "bestsellers", "by": ["segment"], "minimum_sales": 1, "minimum_buyers": 1}
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Snapshot]:
    """An experiment's model that groups by segment, in a bundle that was read from disk."""
    return trained(tmp_path_factory.mktemp("shop"), shop(), BY_SEGMENT, LIVE_RULES)


@pytest.fixture
def service(served: tuple[Bundle, Snapshot], tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(served[0], state)
    state.close()


def groups(service: Service, user: str) -> list[str]:
    found: list[str] = service.profile(user)["segments"]["member_of"]
    return found


def test_membership_changes_within_one_event(service: Service) -> None:
    service.post("view", "new", "i0", before_s=3)
    service.post("view", "new", "i3", before_s=2)
    assert groups(service, "new") == []
    service.post("view", "new", "i6")
    assert groups(service, "new") == ["looking"]
    service.post("add_to_cart", "new", "i1", before_s=1)
    assert "looking" not in groups(service, "new")

    before = set(groups(service, "ann"))
    assert "buyers" in before and not before & {"buyers today", "gold who came back"} and "silent" in before
    service.post("purchase", "ann", "i1", order_id="now", unit_price_cents=100)
    assert set(groups(service, "ann")) - before == {"buyers today", "gold who came back"}
    assert before - set(groups(service, "ann")) >= {"silent"}


def test_members_online_are_those_of_the_next_snapshot(service: Service, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        kind = ("view", "view", "add_to_cart", "purchase", "visit")[rng.integers(5)]
        who = (*PEOPLE[:6], VISITOR, "new")[rng.integers(8)]
        item = None if kind == "visit" else f"i{rng.integers(9)}"
        price = (
            {"unit_price_cents": int(rng.integers(9_000)), "order_id": f"p{number // 4}"} if kind == "purchase" else {}
        )
        service.post(kind, who, item, before_s=int(rng.integers(1, 3_000)), **price)
    for before_s in (30, 20, 10):
        service.post("view", "looker", "i0", before_s=before_s)
    snapshot = next_snapshot(tmp_path / "next", shop(), service.state, NOW + DAY_MS)
    users = snapshot.user_matrix.assign(rfm_segment=rfm_segments(snapshot.user_matrix))
    with Engine.duckdb(threads=1) as engine:
        batch = memberships(engine, users, make_segments(LIVE_RULES, schema_of(users)))
    assert (batch.sum() > 0).all() and (batch.sum() < len(batch)).all()
    for user in batch.index:
        assert groups(service, str(user)) == list(batch.columns[batch.loc[user]]), user


def test_what_the_bundle_keeps_says_of_everybody_what_the_snapshot_said(served: tuple[Bundle, Snapshot]) -> None:
    bundle, snapshot = served
    assert isinstance(snapshot, Served)
    assert bundle.segments.names == tuple(str(rule["name"]) for rule in LIVE_RULES)
    for record in snapshot.user_matrix.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        rfm, names = bundle.segments_of(row)
        assert rfm == row["rfm_segment"]
        assert row["segment"] == (next((name for name in names if name not in INNER), MISSING))


def test_a_model_groups_by_the_segments_and_reads_them_from_the_snapshot(
    service: Service, served: tuple[Bundle, Snapshot]
) -> None:
    """L2 reads what the snapshot knew, as it was measured; who has moved since is asked about the group of then."""
    _, snapshot = served
    groups_then = snapshot.user_matrix["segment"]
    before = service.recommend("ann", k=3)["items"]
    assert {item["reason"] for item in before} == {f"bestseller in {groups_then['ann']}"}
    assert {item["level"] for item in before} == {"L2"}
    for item in ("i0", "i3", "i6"):
        service.post("view", "new", item)
    assert groups(service, "new") == ["looking"]
    assert {item["level"] for item in service.recommend("new", k=3)["items"]} == {"popular"}


def test_an_experiment_declares_them(tmp_path: Path) -> None:
    """From YAML to the service: the file, the comparison, the bundle."""
    write(tmp_path / "data", [shop()], ATTRIBUTES)
    (tmp_path / "segments.yaml").write_text(yaml.safe_dump({"segments": LIVE_RULES}))
    fields = {
        "name": "by segment",
        "data": "data",
        "segments": "segments.yaml",
        "control": "popular",
        "arms": {"popular": {"model": "bestsellers", "by": []}, **BY_SEGMENT},
        "horizon_days": 10,
        "resamples": 200,
        "min_users": 1,
    }
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(fields))
    experiment = read_experiment(tmp_path / "experiment.yaml")
    with Engine.duckdb(threads=1) as engine:
        found = compare(engine, Dataset.open(tmp_path / "data"), experiment)
    assert "segment" in found.trained.early.sequences.attributes
    snapshot, model = found.trained.snapshot, found.trained.models["groups"]
    bundle = save_bundle(
        tmp_path / "bundle", Blend.of_one("groups", model, snapshot), snapshot, arm="groups", policy={}
    )
    assert bundle.segments.names == tuple(str(rule["name"]) for rule in LIVE_RULES)
