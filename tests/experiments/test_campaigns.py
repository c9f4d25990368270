"""The benchmark of coupon redemptions: nothing is known before its time, and its figures are those of plain loops."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from experiments.benchmarks.campaigns.arms import BASELINE, MODELS
from experiments.benchmarks.campaigns.judged import auc_of, auc_terms
from experiments.benchmarks.campaigns.pairs import HISTORY, Campaign, Sent, as_shares, history, read_campaigns
from experiments.benchmarks.campaigns.report import render_campaigns
from experiments.benchmarks.campaigns.rolling import benchmark_campaigns, ended_before
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.ingest import ingest
from features.schema import DAY_MS

START = date(2017, 1, 1)
HOUSEHOLDS = 120
#: Campaign to its first day and its length.
CAMPAIGNS = {"1": (30, 20), "2": (55, 20), "3": (65, 25), "4": (95, 20), "5": (120, 20), "6": (170, 100)}
TABLES = ("transactions", "products", "demographics", "campaigns", "campaign_descriptions", "coupon_redemptions")


def journey(folder: Path) -> Path:
    """Households that buy often or seldom; some redeem whatever they get. The last campaign outlives the log."""
    random = np.random.default_rng(0)
    keen = random.random(HOUSEHOLDS) < 0.3
    lines, sent, used = [], [], []
    for household in range(HOUSEHOLDS):
        for day in np.flatnonzero(random.random(200) < random.uniform(0.03, 0.2)):
            at = datetime.combine(START, datetime.min.time()) + timedelta(days=int(day), hours=12)
            basket = f"{household}-{day}"
            line = {"household_id": str(household), "store_id": "1", "basket_id": basket, "product_id": "ice"}
            money = {"quantity": 1.0, "sales_value": float(random.integers(1, 9)), "retail_disc": 0.0}
            lines.append(line | money | {"coupon_disc": 0.0, "coupon_match_disc": 0.0, "transaction_timestamp": at})
        for name, (first, length) in CAMPAIGNS.items():
            sent.append({"campaign_id": name, "household_id": str(household)})
            if random.random() < (0.8 if keen[household] else 0.05):
                day = START + timedelta(days=first + int(random.integers(0, min(length, 25))))
                used.append(
                    {"household_id": str(household), "coupon_upc": "1", "campaign_id": name, "redemption_date": day}
                )
    product = {"product_id": "ice", "manufacturer_id": "2", "department": "GROCERY", "brand": "National"}
    product |= {"product_category": "ICE", "product_type": "ICE", "package_size": "1"}
    about = dict.fromkeys(("age", "income", "household_size", "household_comp", "kids_count"), "x")
    about |= {"marital_status": "x", "home_ownership": "x"}
    described = [
        {
            "campaign_id": name,
            "campaign_type": "Type A",
            "start_date": START + timedelta(days=first),
            "end_date": START + timedelta(days=first + length),
        }
        for name, (first, length) in CAMPAIGNS.items()
    ]
    rows = (lines, [product], [{"household_id": "1"} | about], sent, described, used)
    for name, table in zip(TABLES, rows, strict=True):
        pd.DataFrame(table).to_parquet(folder / f"{name}.parquet")
    return folder


def read(folder: Path, out: Path) -> list[Campaign]:
    ingest(folder, "complete_journey", out)
    with Engine.duckdb() as engine:
        return read_campaigns(engine, Dataset.open(out))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return journey(tmp_path_factory.mktemp("journey"))


@pytest.fixture(scope="module")
def campaigns(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Campaign]:
    return read(folder, tmp_path_factory.mktemp("read") / "data")


def test_what_happens_after_the_start_changes_no_row(folder: Path, campaigns: list[Campaign], tmp_path: Path) -> None:
    """Campaign 4 begins on day 95: everything from that day on is another, and campaigns up to 4 know the same."""
    border = START + timedelta(days=95)
    for name in TABLES:
        pd.read_parquet(folder / f"{name}.parquet").to_parquet(tmp_path / f"{name}.parquet")
    lines = pd.read_parquet(tmp_path / "transactions.parquet")
    late = lines["transaction_timestamp"] >= pd.Timestamp(border)
    lines.loc[late, "sales_value"] += 90
    lines[~late | (lines["household_id"].astype(int) % 2 == 0)].to_parquet(tmp_path / "transactions.parquet")
    used = pd.read_parquet(tmp_path / "coupon_redemptions.parquet")
    after = pd.to_datetime(used["redemption_date"]).dt.date >= border
    used[~after].to_parquet(tmp_path / "coupon_redemptions.parquet")
    changed = {one.name: one for one in read(tmp_path, tmp_path / "data")}
    for one in campaigns[:4]:
        pd.testing.assert_frame_equal(changed[one.name].rows, one.rows)
    assert not changed["5"].rows.equals(campaigns[4].rows)
    assert changed["4"].redeemed.sum() == 0 < campaigns[3].redeemed.sum()


def test_outcomes_are_learned_from_when_the_campaign_has_ended(campaigns: list[Campaign]) -> None:
    assert [one.name for one in campaigns] == ["1", "2", "3", "4", "5"]  # 6 ends after the log
    past = {one.name: [earlier.name for earlier in ended_before(campaigns, one)] for one in campaigns}
    # 2 ends on day 75 and 3 on day 90; 4 ends on day 115.
    assert past == {"1": [], "2": ["1"], "3": ["1"], "4": ["1", "2", "3"], "5": ["1", "2", "3", "4"]}


def test_redeemers_are_those_of_the_file(folder: Path, campaigns: list[Campaign]) -> None:
    used = pd.read_parquet(folder / "coupon_redemptions.parquet")
    for one in campaigns:
        want = set(used.loc[used["campaign_id"] == one.name, "household_id"])
        assert set(one.rows.index[one.redeemed == 1]) == want
        assert len(one.rows) == HOUSEHOLDS


def test_history_by_hand() -> None:
    messages = pd.DataFrame(
        [("a", 0, "1", "A", 9), ("a", 10, "2", "A", 19), ("b", 10, "2", "A", 19), ("a", 30, "3", "A", 39)],
        columns=["user_id", "ts", "campaign_id", "campaign_type", "end_ms"],
    )
    used = [("a", 5 * DAY_MS, "1"), ("a", 6 * DAY_MS, "1"), ("b", 31 * DAY_MS, "2")]
    redemptions = pd.DataFrame(used, columns=["user_id", "ts", "campaign_id"])
    messages["ts"] *= DAY_MS
    found = pd.DataFrame(history(Sent(messages, redemptions, 0, 99), ["a", "b", "c"], 30 * DAY_MS))
    assert tuple(found) == HISTORY
    np.testing.assert_array_equal(
        found.to_numpy(), [[2, 1, 0.5, 2, 24], [1, 0, 0, 0, np.nan], [0, 0, np.nan, 0, np.nan]]
    )


def test_shares_keep_texts_and_what_is_missing() -> None:
    frame = pd.DataFrame({"n": pd.array([3, None, 1], dtype="Int64"), "t": ["x", None, "y"]})
    shares = as_shares(frame)
    np.testing.assert_array_equal(shares["n"].to_numpy(), [1.0, np.nan, 0.5])
    assert shares["t"].equals(frame["t"])


def by_loops(scores: np.ndarray, y: np.ndarray) -> float:
    won = [
        1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
        for i in np.flatnonzero(y == 1)
        for j in np.flatnonzero(y == 0)
    ]
    return float(np.mean(won))


def test_the_mean_of_terms_is_the_share_of_comparisons_that_are_right() -> None:
    random = np.random.default_rng(1)
    sizes = (30, 12, 7)
    scores = [random.integers(0, 5, n).astype(float) for n in sizes]
    outcomes = [(random.random(n) < 0.4).astype(float) for n in sizes]
    outcomes[2][:] = 0.0
    households = [np.array([f"h{i}" for i in random.permutation(40)[:n]], dtype=object) for n in sizes]
    ids, terms = auc_terms(scores, outcomes, households)
    assert set(ids) == set(np.concatenate(households)) and len(ids) == len(terms)
    comparisons = np.array([y.sum() * (1 - y).sum() for y in outcomes])
    want = [by_loops(s, y) for s, y in zip(scores[:2], outcomes[:2], strict=True)]
    assert terms.mean() == pytest.approx(np.average(want, weights=comparisons[:2]), abs=1e-12)
    assert auc_of(scores[0], outcomes[0])[0] == pytest.approx(want[0], abs=1e-12)


def test_the_spread_of_terms_is_that_of_households_drawn_anew() -> None:
    """300 households in two campaigns each, with scores of their own: drawn anew, the AUC varies as its terms say."""

    def drawn(seed: int) -> tuple[float, float]:
        random = np.random.default_rng(seed)
        trait = random.normal(size=300)
        scores = [trait + random.normal(size=300) for _ in range(2)]
        outcomes = [(trait + random.normal(size=300) > 1).astype(float) for _ in range(2)]
        ids = np.array([f"{i:03d}" for i in range(300)], dtype=object)
        terms = auc_terms(scores, outcomes, [ids, ids])[1]
        return float(terms.mean()), float(terms.std() / np.sqrt(300))

    found = np.array([drawn(seed) for seed in range(400)])
    # The deviation of 400 draws is known to 1 / sqrt(800) of itself.
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=3.5 / np.sqrt(800))


def test_who_redeemed_before_is_found_and_the_baseline_cannot(folder: Path) -> None:
    told: list[str] = []
    result = benchmark_campaigns(folder, [0], lambda stage, *_: told.append(stage))
    result = json.loads(json.dumps(result, allow_nan=False))
    assert [(one["campaign"], one["used_for"]) for one in result["campaigns"]] == [
        ("2", "choice"),
        ("3", "choice"),
        ("4", "report"),
        ("5", "report"),
    ]
    assert result["passed_over"] == [] and told
    rows = {row["model"]: row for row in result["rows"]}
    assert tuple(rows) == MODELS
    for name, row in rows.items():
        assert set(row["metrics"]) == {"roc_auc", "pr_auc", "brier", "ece", "ece_by_chance"}
        assert row["n"] == 2 * HOUSEHOLDS and row["seconds"] > 0 and row["peak_mb"] > 0
        assert ("over_rfm" in row) == (name != BASELINE)
    assert rows[BASELINE]["metrics"]["roc_auc"] < 0.65 and result["chosen"]["over_rfm"]["low"] > 0
    assert result["chosen"]["model"] == max(set(MODELS) - {BASELINE}, key=lambda name: result["validation"][name])
    console = Console(width=200, record=True)
    console.print(render_campaigns(result))
    assert all(name in console.export_text(clear=False) for name in MODELS)


def test_campaigns_that_are_too_few_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in TABLES:
        table = pd.read_parquet(folder / f"{name}.parquet")
        kept = table[table["campaign_id"] == "1"] if "campaign_id" in table else table
        kept.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match="campaigns must be enough"):
        benchmark_campaigns(tmp_path, [0], lambda *_: None)


def test_real_campaigns(real_data: Path, tmp_path: Path) -> None:
    """Households of the large campaigns of February, May and August, and a small one between."""
    kept = ("27", "8", "10", "13")
    source = real_data / "complete_journey"
    campaigns = pd.read_parquet(source / "campaigns.parquet")
    households = set(campaigns.loc[campaigns["campaign_id"] == "27", "household_id"])
    lines = pd.read_parquet(source / "transactions.parquet", columns=["household_id", "product_id"])
    bought = set(lines.loc[lines["household_id"].isin(households), "product_id"])
    for name in TABLES:
        table = pd.read_parquet(source / f"{name}.parquet")
        if "campaign_id" in table:
            table = table[table["campaign_id"].isin(kept)]
        if "household_id" in table:
            table = table[table["household_id"].isin(households)]
        if name == "products":
            table = table[table["product_id"].isin(bought)]
        table.to_parquet(tmp_path / f"{name}.parquet")
    result = benchmark_campaigns(tmp_path, [0], lambda *_: None)
    used = pd.read_parquet(tmp_path / "coupon_redemptions.parquet").groupby("campaign_id")["household_id"].nunique()
    assert {one["campaign"]: one["redeemed"] for one in result["campaigns"]} == {n: used[n] for n in ("8", "10", "13")}
    assert [one["learned_redeemed"] for one in result["campaigns"]] == [36, 36 + used["8"], 36 + used["8"] + used["10"]]
    assert result["chosen"]["roc_auc"] > 0.6
