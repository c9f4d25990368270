"""Runs, registered bundles and the pages, on a real SQLite store of each test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest

from features.errors import ConfigError, NotFoundError
from features.home import home
from training import records, registry, tracking, tracking_ui

DIGEST = "5f" * 32


class TinyBundle:
    """Answers every user with the items of its file, in their order."""

    def __init__(self, items: list[str]) -> None:
        self.items = items

    @classmethod
    def load(cls, folder: Path) -> TinyBundle:
        return cls((folder / "items.txt").read_text().split())

    def recommend(self, user_ids: list[str], k: int) -> pd.DataFrame:
        rows = [(user, item, rank, 1 / rank) for user in user_ids for rank, item in enumerate(self.items[:k], start=1)]
        return pd.DataFrame(rows, columns=["user_id", "item_id", "rank", "score"])


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a tiny bundle, which is what the registered code loads."""
    module = types.ModuleType("training.bundle")
    module.Bundle = TinyBundle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "training.bundle", module)
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "items.txt").write_text("hat glove scarf")
    return folder


def register(bundle: Path, digest: str = DIGEST) -> int:
    with tracking.run("shop", "fit") as run:
        return registry.register_bundle(run, bundle, digest=digest, example_users=["u1"])


def test_importing_loads_no_mlflow_and_writes_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from training import records, registry, tracking, tracking_ui; from features.home import home;"
        "home(); tracking.store_uri(); sys.exit('mlflow' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(tracking.__file__).parents[1]), "STELLAR_HOME": str(tmp_path / "home")}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_home_is_the_working_directory_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STELLAR_HOME", raising=False)
    assert home() == tmp_path / ".stellar"
    monkeypatch.setenv("STELLAR_HOME", "named")
    assert home() == tmp_path / "named"


@pytest.mark.parametrize("name", ["ndcg@20", "recall@5", "loss", "train/loss", "at_bat"])
def test_names_survive_mlflow(name: str) -> None:
    assert "@" not in tracking.mlflow_name(name)
    assert tracking.own_name(tracking.mlflow_name(name)) == name


def test_a_run_reads_back_as_it_was_logged(store: Path) -> None:
    params = {"model": {"dim": 64, "layers": [1, 2], "none": None}, "cut@20": 0.5, "long": "x" * 2000}
    with tracking.run("shop", "fit", params=params, tags={"verdict": "ship"}) as run:
        for epoch in range(3):
            run.log_metrics({"loss": 1 / (epoch + 1), "ndcg@20": epoch / 10}, step=epoch)
        run.tag({"verdict": "hold", "arms": ["a", "b"]})
        run.log_dataset("shop", DIGEST, "simulated shop, seed 7", {"events": 12}, "training")
        run.log_dataset("labels", DIGEST[::-1], "simulated shop, seed 7", {"events": 3}, "test")
        run.log_dict({"ndcg@20": 0.2}, "report.json")

    record = records.read_run(run.id)
    assert (record.name, record.status, record.parent_id) == ("fit", "FINISHED", None)
    assert record.metrics == {"loss": pytest.approx(1 / 3), "ndcg@20": pytest.approx(0.2)}
    assert record.params.pop("long") == "x" * 499 + "…"
    assert record.params == {"model.dim": "64", "model.layers": "[1, 2]", "model.none": "null", "cut@20": "0.5"}
    assert record.datasets == {"shop": DIGEST, "labels": DIGEST[::-1]}
    assert records.run_tags(run.id)["verdict"] == "hold"
    assert record.tags["arms"] == '["a", "b"]'
    assert {"mlflow.user", "stellar_version", "mlflow.source.name"} <= set(record.tags)

    history = tracking.client().get_metric_history(run.id, "ndcg_at_20")
    assert [(each.step, each.value) for each in history] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert (store / "artifacts" / run.id / "artifacts" / "report.json").is_file()
    assert list(Path.cwd().iterdir()) == []


def test_files_and_pictures_are_kept_with_the_run(store: Path, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    with tracking.run("shop", "fit") as run:
        run.log_artifact(folder, "report")
        run.log_artifact(folder / "a.txt")
        run.log_figure(Figure(), "lifts.png")
    kept = store / "artifacts" / run.id / "artifacts"
    found = {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert found == {"report/a.txt", "a.txt", "lifts.png"}


def test_more_parameters_than_mlflow_takes_at_once(store: Path) -> None:
    with tracking.run("shop", "fit", params={f"p{i}": i for i in range(250)}) as run:
        run.log_metrics({f"m@{i}": i for i in range(1001)})
    record = records.read_run(run.id)
    assert len(record.params) == 250
    assert record.metrics["m@1000"] == 1000


def test_experiments_open_in_the_view_of_trained_models(store: Path) -> None:
    with tracking.run("shop", "fit") as run:
        pass
    assert (
        tracking.client().get_experiment(run.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"
    )


def test_children_hang_under_their_parent(store: Path) -> None:
    with tracking.run("shop", "compare") as parent:
        for arm in ("a", "b"):
            with tracking.run("shop", arm, parent_id=parent.id, tags={"arm": arm}) as child:
                child.log_metrics({"ndcg@20": 0.1})
    assert {each.name for each in records.find_runs("shop")} == {"compare", "a", "b"}
    assert {each.name for each in records.find_runs("shop", parent=parent.id)} == {"a", "b"}
    assert [each.name for each in records.find_runs("shop", tags={"arm": "a"})] == ["a"]
    assert records.find_runs("shop", tags={"arm": "it's"}) == []


@pytest.mark.parametrize(
    ("raised", "status", "error"), [(ValueError, "FAILED", "ValueError"), (KeyboardInterrupt, "KILLED", None)]
)
def test_a_run_that_breaks_says_so(store: Path, raised: type[BaseException], status: str, error: str | None) -> None:
    with pytest.raises(raised), tracking.run("shop", "fit") as run:
        raise raised
    record = records.read_run(run.id)
    assert record.status == status
    assert record.tags.get("error") == error


def test_unknown_runs_and_experiments_are_not_found(store: Path) -> None:
    with pytest.raises(NotFoundError, match="experiment must exist"):
        records.find_runs("nowhere")
    with pytest.raises(NotFoundError, match="run must exist"):
        records.read_run("0" * 32)


def test_another_store_by_address(
    store: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.db"
    shutil.copy(empty_store, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    with tracking.run("shop", "fit") as run:
        pass
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(NotFoundError):
        records.read_run(run.id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    assert records.read_run(run.id).status == "FINISHED"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "nosuch://user:secret@server"])
def test_a_store_that_does_not_answer(store: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ConfigError, match="MLflow store") as caught:
        tracking.client()
    assert "secret" not in str(caught.value)


def test_a_registered_bundle_answers_without_any_pickle(store: Path, bundle: Path) -> None:
    version = register(bundle)
    registry.set_alias("champion", version)
    model = tracking.mlflow().pyfunc.load_model(f"models:/{registry.POLICY}@champion")
    answer = model.predict(pd.DataFrame({"user_id": ["u1", "u2", "u3"], "k": [2, 1, 2]}))
    assert answer[["user_id", "item_id", "rank"]].to_numpy().tolist() == [
        ["u1", "hat", 1],
        ["u1", "glove", 2],
        ["u3", "hat", 1],
        ["u3", "glove", 2],
        ["u2", "hat", 1],
    ]
    assert model.metadata.signature.inputs.input_names() == ["user_id", "k"]
    assert model.input_example.to_dict("list") == {"user_id": ["u1"], "k": [10]}
    endings = {path.suffix for path in (store / "artifacts").rglob("*") if path.is_file()}
    assert endings <= {"", ".json", ".yaml", ".txt", ".py"}


def test_aliases_move_and_the_champion_is_the_stores_own_folder(store: Path, bundle: Path) -> None:
    first, second = register(bundle), register(bundle, digest="ab" * 32)
    assert (first, second) == (1, 2)
    registry.set_alias("champion", first)
    registry.set_alias("challenger", second)
    assert registry.alias_version("champion").digest == DIGEST
    assert registry.alias_version("challenger").digest == "ab" * 32
    assert (registry.champion_folder() / "items.txt").read_text() == "hat glove scarf"
    assert registry.champion_folder().is_relative_to(store)
    registry.set_alias("champion", second)
    assert registry.alias_version("champion").number == 2
    assert [each.number for each in registry.versions()] == [2, 1]
    assert records.read_run(registry.get_version(1).run_id).name == "fit"


def test_without_a_champion_the_error_says_what_to_run(store: Path, bundle: Path) -> None:
    with pytest.raises(NotFoundError, match=r"stellar compare.*stellar promote"):
        registry.champion_folder()
    register(bundle)
    with pytest.raises(NotFoundError, match="champion is not set"):
        registry.champion_folder()
    with pytest.raises(NotFoundError, match="received 7"):
        registry.set_alias("champion", 7)


def test_a_bundle_must_be_there(store: Path, tmp_path: Path) -> None:
    with tracking.run("shop", "fit") as run, pytest.raises(NotFoundError, match="must be a folder"):
        registry.register_bundle(run, tmp_path / "absent", digest=DIGEST, example_users=["u1"])
    assert registry.versions() == []


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_pages_need_a_free_port(store: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="must be free"), tracking_ui.serve_pages(port=port):
            pass


def test_the_pages_of_a_server_elsewhere_are_its_own(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example/")
    with tracking_ui.serve_pages() as pages:
        assert pages.address.startswith("https://mlflow.example/#/experiments")
        assert pages.server is None


def test_a_server_that_cannot_start_is_quoted(store: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "raise SystemExit('no such option')"]
    monkeypatch.setattr(tracking_ui, "_command", lambda *_: failing)
    quoted = pytest.raises(ConfigError, match=r"no such option; read .*mlflow-ui\.log")
    with quoted, tracking_ui.serve_pages(port=free_port):
        pass


SLOW_SERVER = """
import http.server, sys, time
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
time.sleep(0.5)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


def test_the_pages_answer_inside_the_block_and_end_with_it(
    store: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_ui, "_command", lambda *_: [sys.executable, "-c", SLOW_SERVER, str(free_port)])
    waited: list[float] = []
    with tracking_ui.serve_pages(port=free_port, waiting=waited.append) as pages:
        assert pages.address.startswith(f"http://127.0.0.1:{free_port}/")
        assert pages.server is not None and pages.server.poll() is None
        assert waited == sorted(waited) and waited
    assert pages.server.poll() is not None
