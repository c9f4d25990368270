"""C5: every decision names its level, a report gives each level's share, and L1 and L4 are turned off by force only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.compare import Comparison
from experiments.experiment import make_experiment
from features.dataset import Dataset
from features.errors import ConfigError
from serving.policy import Request, decide
from training.bundle import Bundle


def test_the_report_gives_the_shares_of_levels_in_decisions_and_outcomes(shop_comparison: Comparison) -> None:
    levels = shop_comparison.report["arms"]["blend"]["levels"]
    assert set(levels) <= {"popular", "L1", "L2", "L3", "L4"} and {"L1", "L2"} <= set(levels)
    for share in ("shown", "caught"):
        assert sum(level[share] for level in levels.values()) == pytest.approx(1)


def test_every_decision_names_its_level_and_a_level_that_is_off_answers_nothing(shop_bundle: Bundle) -> None:
    off = replace(shop_bundle, policy={"off": ["L2", "L3"]})
    before: set[str] = set()
    for user_id in shop_bundle.users.ids[::100]:
        request = Request(str(user_id), 10, now_ms=shop_bundle.as_of_ms + 1)
        before |= {item.level for item in decide(request, [], shop_bundle).items}
        assert {item.level for item in decide(request, [], off).items} <= {"L1", "popular"}
    assert "L2" in before


@pytest.mark.parametrize("level", ["L1", "L4"])
def test_the_ends_are_turned_off_by_force_only(shop_bundle: Bundle, shop_data: Dataset, level: str) -> None:
    arms = {"popular": {"model": "bestsellers"}, "history": {"model": "history"}}
    fields = {"name": "x", "data": shop_data.folder, "control": "popular", "arms": arms}
    request = Request("ann", 3, now_ms=shop_bundle.as_of_ms)
    with pytest.raises(ConfigError, match="force: true"):
        make_experiment(**fields, policy={"off": [level]})
    with pytest.raises(ConfigError, match="force: true"):
        decide(request, [], replace(shop_bundle, policy={"off": [level]}))
    make_experiment(**fields, policy={"off": [level], "force": True})
    forced = decide(request, [], replace(shop_bundle, policy={"off": [level], "force": True}))
    assert level not in {item.level for item in forced.items}
