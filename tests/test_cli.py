"""The command line: help of every verb, and one line with exit status 2 for whatever a caller does wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import stellar
from features.dataset import Dataset
from tests.capabilities.served import bundle_as_of

ROOT = Path(__file__).resolve().parents[1]
VERBS = [
    "data ingest",
    "data append",
    "data describe",
    "data simulate",
    "features build",
    "features list",
    "train",
    "tune",
    "compare",
    "backtest",
    "evaluate",
    "promote",
    "recommend",
    "related",
    "serve",
    "ui",
    "demo",
    "benchmark",
]
YEAR_2100_MS = 4_102_444_800_000

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``stellar`` with these arguments in this process: exit status, standard output, standard error."""

    def stellar_with(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stellar", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as left:
            stellar.main()
        told = capsys.readouterr()
        return int(left.value.code or 0), told.out, told.err

    return stellar_with


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run ``stellar``, which must refuse in one line; that line."""

    def refusal(*arguments: object) -> str:
        status, _, told = run(*arguments)
        assert status == 2, told
        assert "Traceback" not in told
        assert told.startswith("stellar: ") and told.count("\n") == 1 and told.endswith("\n"), told
        return told.removeprefix("stellar: ").strip()

    return refusal


def has(line: str, *parts: str) -> None:
    """The line names field, rule, what was received and how to mend it."""
    missing = [part for part in parts if part not in line]
    assert not missing, f"{missing} not in {line!r}"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(run: Run, verb: str) -> None:
    status, told, complaint = run(*verb.split(), "--help")
    assert (status, complaint) == (0, "")
    assert f"Usage: stellar {verb}" in told


def test_the_list_of_verbs_is_complete(run: Run) -> None:
    known = {command.name or command.callback.__name__ for command in stellar.app.registered_commands}
    for group in stellar.app.registered_groups:
        known |= {f"{group.name} {command.name}" for command in group.typer_instance.registered_commands}
    assert known == set(VERBS)
    status, told, _ = run("--help")
    assert status == 0
    assert all(verb.split()[0] in told for verb in VERBS)


@pytest.mark.parametrize("arguments", [[], ["data"], ["features"]])
def test_without_a_verb_there_is_help(run: Run, arguments: list[str]) -> None:
    status, _, told = run(*arguments)
    assert status == 2
    assert told.startswith("Usage: stellar") and "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nope"], ["No such command 'nope'", "`stellar --help`"]),
        (["recommend"], ["Missing option '--out'", "`stellar recommend --help`"]),
        (["recommend", "--outt", "x"], ["No such option: --outt", "`stellar recommend --help`"]),
        (["recommend", "--out", "x", "--k", "0"], ["'--k'", "at least", "'0'"]),
        (["recommend", "--out", "x", "--k", str(10**9)], ["'--k'", "500", "'1000000000'"]),
        (["recommend", "--out", "x", "--k", "ten"], ["'--k'", "integer", "'ten'"]),
        (["related"], ["Missing argument 'anchors'", "`stellar related --help`"]),
        (["related", "x", "--kind", "similar"], ["kind must be one of", "'complements'", "'similar'"]),
        (["evaluate", "--recommendations", "x", "--data", "x", "--k", "0"], ["'--k'", "'0'", "`stellar evaluate"]),
        (["evaluate", "--recommendations", "x", "--data", "x", "--k", str(10**9)], ["'--k'", "1000", "'1000000000'"]),
        (["demo", "--events", "10"], ["'--events'", "1000", "'10'"]),
        (["serve", "--port", "70000"], ["'--port'", "65535", "'70000'"]),
        (["benchmark", "training"], ["--data is required", "name the folder"]),
        (["benchmark", "training", "--data", ".", "--minutes", "0"], ["minutes must be above 0", "0.0"]),
        (["benchmark", "nope"], ["benchmark must be a known one", "'nope'", "choose one of simulated-shop"]),
    ],
)
def test_wrong_arguments(refused: Callable[..., str], arguments: list[str], parts: list[str]) -> None:
    line = refused(*arguments)
    has(line.replace("greater than or equal to 1", "at least 1"), *parts)


def test_nothing_to_ingest(refused: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = refused("data", "ingest", tmp_path / "no-such", "--out", out)
    has(line, "no-such", "must be a folder", "give the folder")
    (tmp_path / "empty").mkdir()
    has(refused("data", "ingest", tmp_path / "empty", "--out", out), "events.parquet", "an empty folder", "add the")
    line = refused("data", "ingest", tmp_path / "empty", "--out", out, "--source", "amazon")
    has(line, "source must be a known source", "'amazon'", "retailrocket", "tables")
    line = refused("data", "ingest", tmp_path / "empty", "--out", out, "--source", "online_retail")
    has(line, str(tmp_path / "empty"))
    assert not out.exists()


GOOD = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": 1_735_700_000_000}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"ts": None}, ["events.ts", "must not be empty", "nothing"]),
        ({"ts": "yesterday"}, ["events.ts", "must be an integer", "yesterday", "milliseconds"]),
        ({"ts": YEAR_2100_MS}, ["events.ts", "must not be in the future", str(YEAR_2100_MS), "clock"]),
        ({"quantity": "two"}, ["events.quantity", "must be an integer", "two"]),
        ({"unit_price_cents": -5}, ["events.unit_price_cents", "must be at least 0", "-5", "whole cents"]),
        ({"event_type": "gaze"}, ["events.event_type", "must be one of", "gaze"]),
        ({"item_id": None}, ["events.item_id", "must be given for"]),
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_bad_value(refused: Callable[..., str], tmp_path: Path, form: str, change: dict, parts: list[str]) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    frame = pd.DataFrame([GOOD, {**GOOD, "event_id": "e2", **change}])
    if form == "parquet":
        text = [name for name in change if isinstance(change[name], str)]
        frame.astype(dict.fromkeys(text, "str")).to_parquet(folder / "events.parquet")
    else:
        frame.to_csv(folder / "events.csv", index=False)
    line = refused("data", "ingest", folder, "--out", tmp_path / "out")
    has(line, *parts, f"events.{form} row 2", "1 of 2 rows", "--max-reject-share 0.5")


def test_bad_files(refused: Callable[..., str], tmp_path: Path) -> None:
    def ingest(name: str, content: bytes) -> str:
        folder = tmp_path / f"files{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        return refused("data", "ingest", folder, "--out", tmp_path / "out")

    has(ingest("events.csv", b"event_id,user_id,item_id,ts\ne1,u1,i1,5\n"), "column 'event_type'", "missing")
    has(ingest("events.csv", b""), "events.csv", "empty")
    has(ingest("events.csv", b"event_id,user_id,item_id,event_type,ts\n"), "events", "row")
    has(ingest("events.parquet", b""), "events.parquet")
    whole = tmp_path / "whole.parquet"
    pd.DataFrame([GOOD] * 1_000).to_parquet(whole)
    has(ingest("events.parquet", whole.read_bytes()[:-200]), "events.parquet", "Parquet")
    has(ingest("events.csv", bytes(range(256)) * 10), "events.csv")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_data_set(refused: Callable[..., str], tmp_path: Path) -> None:
    for verb in (["train", "history", "--data", tmp_path], ["data", "describe", tmp_path]):
        has(refused(*verb), str(tmp_path), "must be a data set", "dataset.json", "stellar data ingest")
    line = refused("features", "build", tmp_path / "no-such", "--out", tmp_path / "out")
    has(line, "no-such", "must be a data set")


@pytest.mark.parametrize(
    ("as_of", "parts"),
    [
        ("1999-01-01", ["as_of", "must be inside the data", "'1999-01-01'", "use one after 2025-01-01"]),
        ("2999-01-01", ["as_of", "must be inside the data", "at most 2025-04-30"]),
        ("soon", ["as_of", "must be an instant", "'soon'", "80%"]),
        ("120%", ["as_of", "must be between 0% and 100%", "'120%'"]),
        ("nan%", ["as_of", "'nan%'"]),
        ("2025-01-02", ["as_of", "leave a label window", "2025-01-02", "later as_of"]),
    ],
)
def test_an_instant_outside_the_data(
    refused: Callable[..., str], shop_data: Dataset, as_of: str, parts: list[str]
) -> None:
    has(refused("train", "history", "--data", shop_data.folder, "--as-of", as_of), *parts)


def test_what_training_refuses(refused: Callable[..., str], shop_data: Dataset) -> None:
    data = shop_data.folder
    has(refused("train", "oracle", "--data", data), "model must be registered", "'oracle'", "choose one of bestsellers")
    has(refused("train", "history", "--data", data, "--device", "cuda"), "--device must be auto or cpu", "'cuda'")
    has(refused("train", "history", "--data", data, "--checkpoints", "ck"), "--checkpoints must be left out", "'ck'")
    line = refused("train", "transformer", "--data", data, "--device", "abacus")
    has(line, "device must be one", "'abacus'", "auto or cpu")
    for horizon in ("0", "-1", "nan", "inf", "1e30"):
        line = refused("train", "history", "--data", data, "--horizon-days", horizon)
        has(line, "horizon_days must be above 0 and at most 3650", str(float(horizon)))


ARMS = {"popular": {"model": "bestsellers", "by": []}, "history": {"model": "history"}}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"metrik": "ndcg"}, ["experiment: metrik", "is not a known key", "'ndcg'", "spelling"]),
        ({"metric": "clicks"}, ["metric must be one of ndcg", "'clicks'"]),
        ({"k": 0}, ["experiment: k", "greater than or equal to 1", "received 0"]),
        ({"k": 10**9}, ["experiment: k", "less than or equal to 1000", "received 1000000000"]),
        ({"k": "ten"}, ["experiment: k", "integer", "'ten'"]),
        ({"control": "nobody"}, ["control must be one of the arms", "'nobody'", "choose from popular, history"]),
        ({"arms": {"popular": ARMS["popular"]}}, ["experiment: arms"]),
        ({"arms": [1, 2]}, ["experiment: arms"]),
        ({"arms": {**ARMS, "a": {"model": "oracle"}}}, ["model must be registered", "'oracle'", "choose one of"]),
        ({"arms": {**ARMS, "a": {"model": "history", "depth": 3}}}, ["model history: depth", "is not a known key"]),
        ({"arms": {**ARMS, "a": {"model": "transformer", "epochs": 0}}}, ["model transformer: epochs", "received 0"]),
        ({"arms": {**ARMS, "a": {"recommendations": "nope.parquet"}}}, ["nope.parquet", "must be a file"]),
        ({"arms": {**ARMS, "a": {"recommendations": 3}}}, ["arms.a.recommendations", "must be a path", "received 3"]),
        ({"arms": {**ARMS, "../a": {"model": "history"}}}, ["arms", "letters", "'../a'"]),
        ({"arms": {**ARMS, "a": {}}}, ["arms.a", "must have either model or recommendations"]),
        ({"arms": {**ARMS, "b": {"model": "blend", "parts": ["x"]}}}, ["arms.b.parts", "'x'", "choose from popular"]),
        ({"as_of": "2999-01-01"}, ["as_of", "must be inside the data"]),
        ({"horizon_days": -1}, ["experiment: horizon_days", "greater than 0", "received -1"]),
        ({"horizon_days": float("inf")}, ["experiment: horizon_days", "received inf"]),
        ({"policy": {"off": ["L4"]}}, ["policy.off", "must not name L1 or L4", "'L4'", "force"]),
        ({"policy": {"of": []}}, ["policy: of", "is not a known key"]),
        ({"register": ["nobody"]}, ["register must be arms with a model", "'nobody'"]),
        ({"data": "no-such"}, ["no-such", "must be a data set", "stellar data ingest"]),
        ({"replay": "never"}, ["experiment: replay", "'never'"]),
    ],
)
def test_a_bad_experiment(
    refused: Callable[..., str], shop_data: Dataset, tmp_path: Path, change: dict, parts: list[str]
) -> None:
    experiment = {"name": "x", "data": str(shop_data.folder), "horizon_days": 14, "control": "popular", "arms": ARMS}
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({**experiment, **change}, sort_keys=False))
    has(refused("compare", path), *parts)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"- a\n- b\n", ["must hold keys and values", "list"]),
        (b"", ["must hold keys and values", "NoneType"]),
        (b"just words", ["must hold keys and values", "str"]),
        (b"a: [1", ["must be YAML"]),
        (b"\xff\xfe\x00", ["must be YAML"]),
        (b"!!python/object/apply:os.getcwd []", ["must be YAML"]),
        (b"name: x\n", ["experiment: data"]),
    ],
)
def test_a_file_that_is_no_experiment(
    refused: Callable[..., str], tmp_path: Path, content: bytes, parts: list[str]
) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    line = refused("compare", path)
    has(line, *parts)
    has(refused("compare", tmp_path / "no-such.yaml"), "no-such.yaml", "must be a file", "give the path")


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ({"user_id": ["u"], "item_id": ["i"]}, ["column 'rank'", "is missing", "user_id, item_id", "add it"]),
        ({"user_id": ["u", "u"], "item_id": ["i", "j"], "rank": [1, 1]}, ["rank must be distinct", "1 for user u"]),
        ({"user_id": ["u", "u"], "item_id": ["i", "i"], "rank": [1, 2]}, ["item_id must be distinct", "i for user u"]),
        ({"user_id": ["u"], "item_id": ["i"], "rank": [0]}, ["rank must be a whole number from 1", "received 0"]),
        ({"user_id": ["u"], "item_id": ["i"], "rank": ["first"]}, ["rank must be a whole number", "first"]),
        ({"user_id": ["u"], "item_id": ["i"], "rank": [1.5]}, ["rank must be a whole number", "1.5"]),
        ({"user_id": [], "item_id": [], "rank": []}, ["must have rows", "none"]),
        (None, ["must be Parquet", "write it again"]),
    ],
)
def test_bad_recommendations(
    refused: Callable[..., str], shop_data: Dataset, tmp_path: Path, rows: dict | None, parts: list[str]
) -> None:
    path = tmp_path / "lists.parquet"
    if rows is None:
        path.write_bytes(b"PAR1 but not really")
    else:
        pd.DataFrame(rows).to_parquet(path)
    data = ["--data", shop_data.folder, "--horizon-days", "14"]
    has(refused("evaluate", "--recommendations", path, *data), "lists.parquet", *parts)


def test_what_evaluate_refuses(refused: Callable[..., str], shop_data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    data = ["--data", shop_data.folder]
    has(refused("evaluate", "--recommendations", path, *data), "lists.parquet", "must be a file", "give a Parquet file")
    pd.DataFrame({"user_id": ["u"], "item_id": ["i"], "rank": [1]}).to_parquet(path)
    line = refused("evaluate", "--recommendations", path, *data, "--replay", "never")
    has(line, "replay must be one of as_of, live", "'never'")
    line = refused("evaluate", "--recommendations", path, *data, "--horizon-days", "nan")
    has(line, "horizon_days must be above 0", "nan")
    end = str(np.datetime64(shop_data.last_ms + 1, "ms"))
    line = refused("evaluate", "--recommendations", path, *data, "--as-of", end)
    has(line, "as_of must leave a label window before the end of the data", "2025-04-30")


def test_no_champion_yet(refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STELLAR_HOME", str(tmp_path / "home"))
    has(refused("recommend", "--out", tmp_path / "x.parquet"), "champion is not set", "stellar promote")
    has(refused("promote"), "challenger is not set", "stellar compare")
    line = refused("promote", "--version", "7")
    has(line, "version must be registered", "received 7", "stellar ui")
    line = refused("recommend", "--out", tmp_path / "x.parquet", "--bundle", tmp_path)
    has(line, "bundle must hold bundle.json", str(tmp_path.name))
    assert not (tmp_path / "x.parquet").exists()
    has(refused("related", "x"), "champion is not set", "stellar promote")


def test_what_is_bought_together_is_told_with_its_numbers(
    run: Run, refused: Callable[..., str], shop_data: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    together = bundle_as_of(shop_data, shop_data.last_ms, folder).together
    assert together is not None
    anchor = pd.read_parquet(folder / "catalogue.parquet").index[np.flatnonzero(np.diff(together.offsets))[0]]
    status, told, _ = run("related", anchor, "nonsense", "--bundle", folder, "--json", tmp_path / "x.json")
    written = json.loads((tmp_path / "x.json").read_text())
    assert status == 0 and written["items"] and written["items"][0]["item_id"] in told
    assert "not known: nonsense" in told
    has(refused("related", "nonsense", "--bundle", folder), "anchors.0 must be an item", "'nonsense'")


def test_a_path_that_cannot_be_written(refused: Callable[..., str], shop_data: Dataset, tmp_path: Path) -> None:
    """It is found out before the work, not after."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x.json", tmp_path / "folder"):
        told = refused("benchmark", "leave-one-out", "--data", shop_data.folder, "--json", path)
        has(told, "--json must be a file that can be written", str(path), "name a file in another folder")


def test_the_installed_command_refuses_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stellar", "data", "ingest", str(tmp_path / "no-such"), "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "STELLAR_HOME": str(tmp_path / "home")}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith(f"stellar: {tmp_path / 'no-such'} must be a folder")
    assert list(tmp_path.iterdir()) == []


def test_help_loads_nothing_that_takes_time() -> None:
    heavy = ["torch", "mlflow", "pandas", "numpy", "bentoml", "ibis"]
    code = f"import sys, stellar\nprint([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"
