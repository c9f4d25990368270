"""What tests of all layers share: the real data if it is there, and small shops that are made once per run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.compare import Comparison, compare
from experiments.experiment import Experiment, make_experiment
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.shop import Shop, ShopConfig
from training.blend import Blend
from training.bundle import Bundle, save_bundle

#: One arm per level and the blend of all; the network is small enough to be trained in seconds.
ARMS = {
    "popular": {"model": "bestsellers", "by": []},
    "bestsellers": {"model": "bestsellers"},
    "history": {"model": "history"},
    "cooccurrence": {"model": "cooccurrence"},
    "transformer": {"model": "transformer", "width": 32, "length": 50, "epochs": 6, "batch_size": 64},
    "live": {"model": "live"},
    "blend": {"model": "blend", "parts": ["bestsellers", "history", "cooccurrence", "transformer", "live"]},
}
INTENTS = [
    {"name": "buy_7d", "events": ["purchase"], "horizon_days": 7},
    {"name": "away_20d", "events": ["view", "purchase"], "horizon_days": 20, "absent": True},
]


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_written_outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Runs, bundles and state of tests go to a folder of their own."""
    os.environ["STELLAR_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is not set."""
    folder = os.environ.get("STELLAR_DATA")
    if not folder:
        pytest.skip("STELLAR_DATA is not set: real-data tests need the folder of public data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def shop() -> Shop:
    """A small simulated shop whose truth tests may ask for."""
    return Shop(ShopConfig(seed=7, events=30_000))


@pytest.fixture(scope="session")
def shop_files(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the small shop writes."""
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder)
    return folder


@pytest.fixture(scope="session")
def shop_data(shop_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small shop as a data set."""
    out = tmp_path_factory.mktemp("data") / "shop"
    ingest(shop_files, "tables", out)
    return Dataset.open(out)


@pytest.fixture(scope="session")
def shop_experiment(shop_data: Dataset) -> Experiment:
    """All levels of the small shop, judged although its buyers are few."""
    return make_experiment(
        name="small shop",
        data=shop_data.folder,
        horizon_days=14,
        control="popular",
        arms=ARMS,
        min_users=100,
        intents=INTENTS,
        predictors={"line": {"predictor": "logistic"}, "trees": {"predictor": "boosting"}},
    )


@pytest.fixture(scope="session")
def shop_comparison(shop_data: Dataset, shop_experiment: Experiment) -> Comparison:
    """The finished experiment on the small shop."""
    with Engine.duckdb() as engine:
        return compare(engine, shop_data, shop_experiment)


@pytest.fixture(scope="session")
def shop_bundle(shop_comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The blend of the small shop, as it is served."""
    blend, folder = shop_comparison.trained.models["blend"], tmp_path_factory.mktemp("bundle") / "blend"
    assert isinstance(blend, Blend)
    return save_bundle(folder, blend, shop_comparison.trained.snapshot, arm="blend", policy={})


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fail-on-skip``: for the gate, where everything that tests need is there."""
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test fails the run")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Turn a skip into a failure where the gate asks for it."""
    report = yield
    if report.skipped and item.config.getoption("--fail-on-skip"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which the gate does not allow: {report.longrepr}"
    return report
