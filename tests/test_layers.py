"""The import rule: data flows one way, and each outside thing has one seam."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("features", "training", "serving", "experiments", "commands")
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))

#: Outside library -> the only files that may import it.
SEAMS = {
    # The query by hand is what the pipeline is measured against.
    "duckdb": {"features/engine_duckdb.py", "experiments/benchmarks/features/by_hand.py"},
    "mlflow": {"training/tracking.py", "training/pyfunc_model.py"},
    "bentoml": {"serving/service.py"},
    # Optuna lets its errors through.
    "sqlalchemy": {"serving/state.py", "training/tune.py"},
    "typer": {path.relative_to(ROOT).as_posix() for path in FILES if path.parent.name == "commands"},
    "optuna": {"training/tune.py"},
    "faiss": {"training/nearest.py"},
    "pyspark": {"features/engine_spark.py"},
    "py4j": {"features/engine_spark.py"},
    # A peer that training is measured against runs in an environment of its own.
    "rectools": {"experiments/benchmarks/training/peer.py"},
    "pytorch_lightning": {"experiments/benchmarks/training/peer.py"},
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


@cache
def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_its_own_layer_or_one_to_the_left(path: Path) -> None:
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    to_the_right = set(LAYERS[own + 1 :]) | {"stellar", "tests"}
    assert not {name for name in imports(path) if name.split(".")[0] in to_the_right}


def test_there_are_no_cycles() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    graph = {name: imports(path) & set(modules) - {name} for name, path in modules.items()}
    done: set[str] = set()
    while len(done) < len(graph):
        # A package's face re-exports its own modules, which import their siblings, never the face.
        ready = {name for name, needs in graph.items() if name not in done and needs <= done}
        assert ready, f"cycle among {sorted(set(graph) - done)}"
        done |= ready


@pytest.mark.parametrize("library", SEAMS)
def test_an_outside_thing_has_one_seam(library: str) -> None:
    users = {path.relative_to(ROOT).as_posix() for path in FILES if library in {n.split(".")[0] for n in imports(path)}}
    assert users <= SEAMS[library]


def test_query_expressions_stay_in_the_feature_pipeline() -> None:
    users = {path.relative_to(ROOT).parts[0] for path in FILES if "ibis" in {n.split(".")[0] for n in imports(path)}}
    assert users == {"features"}


def test_no_drawer_for_odds_and_ends() -> None:
    assert not [path for path in FILES if FORBIDDEN_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)]


def test_files_are_short() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_importing_the_service_loads_no_tuner_no_cluster_and_no_tracking_server(tmp_path: Path) -> None:
    heavy = "{'optuna', 'pyspark', 'mlflow', 'faiss'}"
    code = f"import serving.service, sys; print(sorted({heavy} & set(sys.modules)))"
    environment = {**os.environ, "STELLAR_HOME": str(tmp_path / "home"), "BENTOML_HOME": str(tmp_path / "bentoml")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "home").exists()


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'pandas', 'numpy', 'torch', 'mlflow', 'ibis', 'bentoml', 'pydantic'}"
    code = f"import stellar, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_project_stands_alone() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    here = Path(__file__).relative_to(ROOT).as_posix()
    named = [
        name
        for name in tracked
        if name not in (".ci/run", here) and name.endswith((".py", ".md", ".toml", ".yaml", "Makefile"))
        if "../shared" in (ROOT / name).read_text(encoding="utf-8")
    ]
    assert named == []
