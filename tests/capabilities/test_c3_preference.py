"""C3: predicted preference beats popularity on a global-time split, with a paired interval that excludes zero."""

from __future__ import annotations

import numpy as np

from experiments.compare import Comparison
from experiments.statistics import paired_bootstrap
from training.metrics import ranking_metrics


def test_the_network_beats_popularity_and_a_shuffled_network_does_not(shop_comparison: Comparison) -> None:
    hot = shop_comparison.asked.groups == "hot"
    popular, network = (shop_comparison.replays[name].metrics["ndcg@20"][hot] for name in ("popular", "transformer"))
    lift = paired_bootstrap(popular, {"transformer": network}, seed=0)["transformer"]
    assert lift.low > 0
    arm = shop_comparison.report["arms"]["transformer"]
    assert (arm["lift"]["low"], arm["verdict"]) == (shop_comparison.lifts["transformer"].low, "ship")

    # What the lift rests on: each user's own list. Given to somebody else it is worth less.
    ids = shop_comparison.replays["transformer"].ids
    swapped = ids[np.roll(np.arange(len(ids)), 1)]
    elsewhere = ranking_metrics(swapped, shop_comparison.asked.labels)["ndcg@20"][hot]
    assert paired_bootstrap(elsewhere, {"transformer": network}, seed=0)["transformer"].low > 0
