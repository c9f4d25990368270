"""The simulated mailing: a coin, the planted effects, and rows that a model may read without seeing the truth."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConflictError, InputError
from features.ingest import ingest
from features.schema import DAY_MS, EventType
from features.shop import Shop
from features.shop.campaign import CONTROL, LEAST, MOST, WINDOW_DAYS, Campaign, CampaignConfig, run_campaign
from features.snapshot import build_snapshot
from training.uplift.trial import Trial, read_trial


@pytest.fixture(scope="module")
def campaign(shop: Shop, shop_files: Path) -> Campaign:
    return run_campaign(shop, shop_files, CampaignConfig(arms=("mailing", "voucher"), mailed=0.6))


def test_the_coin_decides_among_those_who_allow_email(shop: Shop, campaign: Campaign) -> None:
    allowed = shop.users.consents.str.split(",").map(lambda granted: "email" in granted)
    assert campaign.participants.user_id.tolist() == shop.users.user_id[allowed].tolist()
    assert campaign.propensity == pytest.approx({"mailing": 0.3, "voucher": 0.3, CONTROL: 0.4})
    n = len(campaign.participants)
    for arm, chance in campaign.propensity.items():
        assert abs((campaign.participants.arm == arm).mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / n)


def test_effects_are_as_large_as_in_real_tests_and_some_are_losses(campaign: Campaign) -> None:
    for uplift in campaign.uplift.values():
        assert uplift.min() >= LEAST and uplift.max() <= MOST
        assert 0.01 < uplift.mean() < 0.05 and 0.02 < uplift.std() < 0.06
        assert (uplift < -0.01).mean() > 0.02
        chance = campaign.visit_chance + uplift
        assert chance.min() > 0 and chance.max() < 1
        sure = campaign.visit_chance > 0.4
        assert np.abs(uplift[sure]).max(initial=0) < 0.08
    # This shop has 24 events per user, the benchmark's 10: there, 12 % visit without a message.
    assert 0.1 < campaign.visit_chance.mean() < 0.25


def test_outcomes_follow_the_planted_chances(campaign: Campaign) -> None:
    people = campaign.participants
    for arm, uplift in {**campaign.uplift, CONTROL: np.zeros(len(people))}.items():
        chance = (campaign.visit_chance + uplift)[people.arm == arm]
        visits = people.visit[people.arm == arm]
        assert abs(visits.mean() - chance.mean()) < 4 * np.sqrt((chance * (1 - chance)).sum()) / len(chance)
    assert not (people.purchase & ~people.visit).any()


def test_the_null_campaign_mails_the_same_people_and_changes_nothing(shop: Shop, shop_files: Path) -> None:
    one, null = (run_campaign(shop, shop_files, CampaignConfig(null=null)) for null in (False, True))
    pd.testing.assert_series_equal(one.participants.arm, null.participants.arm)
    assert not null.uplift["mailing"].any() and not null.purchase_uplift["mailing"].any()
    other = run_campaign(shop, shop_files, CampaignConfig(seed=1))
    assert (other.participants.arm != one.participants.arm).any()


def test_rows_after_the_mailing_are_read_back_and_none_of_them_is_a_feature(
    shop: Shop, shop_files: Path, campaign: Campaign, tmp_path: Path
) -> None:
    files, people = tmp_path / "files", campaign.participants.set_index("user_id")
    shutil.copytree(shop_files, files)
    before = len(pd.read_parquet(files / "events.parquet"))
    assert campaign.append(files) == before + len(campaign.events)
    with pytest.raises(ConflictError, match="as the shop wrote it"):
        campaign.append(files)
    late = campaign.events[campaign.events.event_type != EventType.MESSAGE.value]
    assert late.ts.between(campaign.mailed_ms + 1, campaign.mailed_ms + WINDOW_DAYS * DAY_MS).all()
    ingest(shop_files, "tables", tmp_path / "alone")
    ingest(files, "tables", tmp_path / "both")
    with Engine.duckdb() as engine:
        alone, both = (
            build_snapshot(engine, Dataset.open(tmp_path / name), campaign.mailed_ms).user_matrix
            for name in ("alone", "both")
        )
        pd.testing.assert_frame_equal(alone, both)
        rows = both[both.index.isin(people.index)]

        def read(name: str) -> Trial:
            return read_trial(
                engine,
                Dataset.open(tmp_path / name),
                rows,
                sent_ms=campaign.mailed_ms,
                outcome=EventType.VISIT,
                window_days=WINDOW_DAYS,
            )

        trial = read("both")
        with pytest.raises(InputError, match="sent_ms"):
            read("alone")
    assert trial.arms == ["mailing", "voucher"]
    took_part = people.loc[rows.index]
    assert [arm or CONTROL for arm in trial.arm] == took_part.arm.tolist()
    np.testing.assert_array_equal(trial.y, took_part.visit.to_numpy(np.float64))
    contrast = trial.against_control("voucher")
    kept = took_part.arm.isin(["voucher", CONTROL])
    assert contrast.user_ids.tolist() == took_part.index[kept].tolist()
    np.testing.assert_array_equal(contrast.treated, took_part.arm[kept] == "voucher")
    assert contrast.x.shape == (kept.sum(), len(contrast.names)) and contrast.x.dtype == np.float32
    with pytest.raises(InputError, match="mailing, voucher"):
        trial.against_control("letter")
