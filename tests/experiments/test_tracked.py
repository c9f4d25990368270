"""A comparison in MLflow, and the way from its verdicts to the champion."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.compare import Comparison
from experiments.experiment import Experiment
from experiments.promote import promote
from experiments.tracked import track
from features.dataset import Dataset
from features.errors import ConflictError
from features.home import home
from serving.policy import Request, decide
from training.bundle import Bundle
from training.registry import alias_version, champion_folder, get_version
from training.tracking import PARENT_TAG, client


@pytest.fixture(scope="module")
def tracked(
    shop_comparison: Comparison,
    shop_data: Dataset,
    shop_experiment: Experiment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """The small shop's comparison, recorded in a store of its own, with a second arm registered that does not ship."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STELLAR_HOME", str(tmp_path_factory.mktemp("home")))
        experiment = shop_experiment.model_copy(update={"register_": ("popular", "blend")})
        yield track(shop_comparison, shop_data, experiment)


def test_one_parent_and_a_nested_run_per_arm(
    tracked: dict[str, Any], shop_comparison: Comparison, shop_data: Dataset
) -> None:
    report, parent = shop_comparison.report, client().get_run(tracked["run_id"])
    runs = client().search_runs([parent.info.experiment_id])
    nested = {run.data.tags["arm"]: run for run in runs if run.data.tags.get(PARENT_TAG) == tracked["run_id"]}
    assert set(nested) == set(report["arms"])
    assert len(runs) == len(nested) + 1 and {run.info.status for run in runs} == {"FINISHED"}
    assert nested["popular"].data.tags["verdict"] == "control"
    for name, run in nested.items():
        arm = report["arms"][name]
        if name != "popular":
            assert run.data.tags["verdict"] == arm["verdict"] == parent.data.tags[f"verdict.{name}"]
        interval = arm["ndcg@20"]
        logged = [run.data.metrics[key] for key in ("ndcg_at_20", "ndcg_at_20_low", "ndcg_at_20_high")]
        assert logged == [interval["mean"], interval["low"], interval["high"]]
        digests = {each.dataset.digest for each in run.inputs.dataset_inputs}
        assert digests == {shop_data.digest[:36], report["snapshot_digest"][:36]}
    assert nested["transformer"].data.params["width"] == "32"
    assert "blend" in parent.data.tags["ships"]
    pictures = {each.path for each in client().list_artifacts(tracked["run_id"])}
    assert {"lifts.png", "report.json", "reliability.png", "reliability.svg"} <= pictures
    told = report["intents"]["buy_7d"]
    assert parent.data.tags["intent.buy_7d"] == told["chosen"]
    for predictor, found in told["predictors"].items():
        logged = [parent.data.metrics[f"intent/buy_7d/{predictor}/{name}"] for name in ("roc_auc", "ece", "brier")]
        assert logged == [found[name] for name in ("roc_auc", "ece", "brier")]
    for segment, found in told["segments"].items():
        assert parent.data.metrics[f"intent/buy_7d/{segment.replace('=', '_')}/ece"] == found["ece"]
    assert not any("away_20d" in name for name in parent.data.metrics)
    curve = client().get_metric_history(nested["transformer"].info.run_id, "loss")
    fitted = shop_comparison.trained.curves["transformer"]
    assert [point.value for point in curve] == fitted.loss and len(curve) > 1
    assert not client().get_metric_history(nested["history"].info.run_id, "loss")


def test_the_best_registered_arm_is_challenger_and_promoted_on_ship_only(
    tracked: dict[str, Any], shop_comparison: Comparison
) -> None:
    assert set(tracked["versions"]) == {"popular", "blend"}
    challenger = alias_version("challenger")
    assert (challenger.number, challenger.tags["arm"]) == (tracked["versions"]["blend"], "blend")
    control = tracked["versions"]["popular"]
    with pytest.raises(ConflictError, match="must have the verdict ship to be promoted, received 'control'"):
        promote(control)
    forced = promote(control, force=True)
    assert forced.forced and alias_version("champion").number == control
    assert get_version(control).tags["forced"] == "true" and get_version(control).tags["forced_by"]
    promotion = promote()
    assert (promotion.version.number, promotion.verdict, promotion.forced) == (challenger.number, "ship", False)
    assert "forced" not in get_version(challenger.number).tags

    bundle = Bundle.load(champion_folder())
    bundle.check_recorded()
    assert (bundle.digest, bundle.arm) == (challenger.digest, "blend")
    answered = shop_comparison.replays["blend"].ids
    for row, user_id in list(enumerate(shop_comparison.asked.histories.user_ids))[::40]:
        slate = decide(Request(str(user_id), 20, now_ms=bundle.as_of_ms), [], bundle)
        assert [item.item_id for item in slate.items] == list(bundle.items.decode(answered[row]))


def test_the_champion_lies_under_the_home(tracked: dict[str, Any]) -> None:
    assert champion_folder().is_relative_to(home())
