"""From an experiment that declares customers' values to the service that answers with the registered version."""

from __future__ import annotations

import pytest

from experiments.compare import compare
from experiments.experiment import make_experiment
from experiments.promote import promote
from experiments.standard import VALUES, standard_experiment
from experiments.tracked import track
from features.dataset import Dataset
from features.engine import Engine
from features.orders import read_orders
from serving.service import Backend
from training.bundle import Bundle
from training.intent.fit_values import order_log
from training.intent.order_summaries import summarise
from training.registry import champion


def test_declared_values_are_served_under_the_version_that_is_promoted(
    shop_data: Dataset, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STELLAR_HOME", str(tmp_path_factory.mktemp("home")))
    experiment = make_experiment(
        name="values",
        data=shop_data.folder,
        horizon_days=14,
        control="popular",
        arms={"popular": {"model": "bestsellers", "by": []}, "history": {"model": "history"}},
        values=VALUES[None],
    )
    assert experiment.values == standard_experiment("standard", shop_data.folder, None, seed=0).values != ()
    with Engine.duckdb(threads=1) as engine:
        comparison = compare(engine, shop_data, experiment)
        assert comparison.trained.seconds["fit_values"] > 0
        version = track(comparison, shop_data, experiment)["versions"]["history"]
        promote(version, force=True)
        backend = Backend.from_environment()
        log, ids = order_log(read_orders(engine, shop_data, comparison.trained.snapshot.as_of_ms))
    bundle = backend.champion()
    assert isinstance(bundle, Bundle) and bundle.values is not None and backend.version == version
    assert list(bundle.values.heads) == ["value_30d"] and bundle.values.heads["value_30d"].judgements
    summaries = summarise(log, bundle.as_of_ms)
    known = bundle.values.model.predict(summaries, 30)
    assert bundle.values.model.as_of_ms == bundle.as_of_ms and len(known.cents) > 500
    fitted = comparison.trained.values
    assert fitted is not None
    assert fitted.model.predict(summaries, 30).cents.tolist() == known.cents.tolist()
    assert ids.isin(comparison.trained.snapshot.users.ids).all()
    backend.state.close()
    # ``stellar serve`` finds the champion itself and tells its workers.
    monkeypatch.setenv("STELLAR_BUNDLE", str(champion()[0]))
    for number, told in (("", None), (str(version), version)):
        monkeypatch.setenv("STELLAR_VERSION", number)
        again = Backend.from_environment()
        assert again.version == told
        again.state.close()
