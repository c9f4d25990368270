"""Experiments as files: what is written comes back, and what does not fit together is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.experiment import Experiment, make_experiment, read_experiment
from features.errors import ConfigError, InputError, NotFoundError
from features.segments.definitions import SegmentRule

ARMS: dict[str, dict[str, Any]] = {
    "popular": {"model": "bestsellers", "by": []},
    "history": {"model": "history", "half_life_days": 14},
    "blend": {"model": "blend", "parts": ["popular", "history"]},
}
FIELDS: dict[str, Any] = {"name": "spring sale", "data": "shop", "control": "popular", "arms": ARMS}


def written(folder: Path, text: str) -> Experiment:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return read_experiment(path)


def test_a_file_round_trips(tmp_path: Path) -> None:
    full = make_experiment(
        **FIELDS,
        as_of="2011-11-09",
        horizon_days=30,
        k=10,
        metric="recall",
        group="warm",
        replay="live",
        register=["history"],
        policy={"off": ["L2"]},
        confidence=0.9,
        resamples=500,
        min_users=50,
        seed=3,
        segments=[
            {"name": "buyers", "where": "frequency > 0"},
            {"name": "often", "where": "1 < 2", "parent": "buyers"},
        ],
        intents=[{"name": "buy_7d", "events": ["purchase"], "horizon_days": 7}],
        values=[{"name": "value_90d", "horizon_days": 90}, {"name": "value_30d", "horizon_days": 30}],
    )
    text = yaml.safe_dump(full.model_dump(mode="json", by_alias=True), sort_keys=False)
    assert written(tmp_path, text) == full.model_copy(update={"data": tmp_path / "shop"})


def test_segments_are_rules_or_a_file_beside_the_experiment(tmp_path: Path) -> None:
    rules = make_experiment(**FIELDS, segments=[{"name": "buyers", "where": "frequency > 0"}]).segments
    assert rules == (SegmentRule(name="buyers", where="frequency > 0"),)
    assert make_experiment(**FIELDS, segments=[]).segments == ()
    read = written(tmp_path, yaml.safe_dump({**FIELDS, "segments": "rules/segments.yaml"}))
    assert read.segments == tmp_path / "rules/segments.yaml"


def test_defaults() -> None:
    plain = make_experiment(**FIELDS)
    assert (plain.k, plain.metric, plain.group, plain.replay) == (20, "ndcg", "hot", "as_of")
    assert (plain.confidence, plain.min_users, plain.seed) == (0.95, 500, 0)
    assert plain.models == ARMS and plain.files == {} and plain.segments is None


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("2011-11-09", "2011-11-09"),
        ("2011-11-09 12:30:00", "2011-11-09 12:30:00"),
        ("'2011-11-09T12:30'", "2011-11-09T12:30"),
        ("80%", "80%"),
        ("null", None),
    ],
)
def test_instants_as_people_write_them(tmp_path: Path, told: str, read: str | None) -> None:
    assert written(tmp_path, yaml.safe_dump(FIELDS) + f"as_of: {told}\n").as_of == read


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    arms = {
        **ARMS,
        "near": {"recommendations": "lists/near.parquet"},
        "far": {"recommendations": str(tmp_path / "far.parquet")},
    }
    monkeypatch.chdir("/")
    read = written(folder, yaml.safe_dump({**FIELDS, "data": "../data/shop", "arms": arms}))
    assert read.data == folder / "../data/shop"
    assert read.files == {"near": folder / "lists/near.parquet", "far": tmp_path / "far.parquet"}
    assert set(read.models) == set(ARMS)
    assert read.arms["history"] == ARMS["history"]


@pytest.mark.parametrize(("register", "registered"), [(None, ("blend",)), (["history"], ("history",)), ([], ())])
def test_what_is_registered(register: list[str] | None, registered: tuple[str, ...]) -> None:
    assert make_experiment(**FIELDS, register=register).registered == registered


def test_without_a_blend_all_models_but_the_control_are_registered() -> None:
    arms = {name: ARMS[name] for name in ("popular", "history")} | {"file": {"recommendations": "x.parquet"}}
    assert make_experiment(**{**FIELDS, "arms": arms}).registered == ("history",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 3}, "experiment: horizon is not a known key, received 3; remove it or correct its spelling"),
        ({"name": ""}, "experiment: name is not usable: .*at least 1 character"),
        ({"name": "../x"}, "experiment: name is not usable: .*pattern"),
        ({"k": 0}, "experiment: k is not usable: .*greater than or equal to 1, received 0"),
        ({"resamples": 150}, "experiment: resamples is not usable"),
        ({"confidence": 1.0}, "experiment: confidence is not usable"),
        ({"horizon_days": 0}, "experiment: horizon_days is not usable"),
        ({"horizon_days": 4_000}, "experiment: horizon_days is not usable"),
        ({"metric": "auc"}, "metric must be one of ndcg, recall, mrr, purchases, received 'auc'"),
        ({"control": "x"}, "control must be one of the arms, received 'x'; choose from popular, history, blend"),
        ({"group": "tepid"}, "experiment: group is not usable"),
        ({"register": ["x"]}, "register must be arms with a model, received 'x'"),
        ({"segments": [{"name": "x"}]}, "experiment: segments.where is not usable: field required"),
        ({"segments": [{"name": "x", "where": "1 < 2", "if": 1}]}, "experiment: segments.if is not a known key"),
        ({"segments": {"name": "x"}}, "experiment: segments"),
        ({"values": [{"name": "v"}]}, "experiment: values.* field required"),
        ({"values": [{"name": "v", "horizon_days": 0}]}, "experiment: values.*horizon_days is not usable"),
        ({"values": [{"name": "v", "horizon_days": 7.5}]}, "experiment: values.*horizon_days is not usable"),
        ({"values": [{"name": "v", "horizon_days": 7, "events": []}]}, "values.*events is not a known key"),
        (
            {"values": [{"name": "v", "horizon_days": days} for days in (7, 30)]},
            "must have different names, received 'v'",
        ),
        (
            {
                "intents": [{"name": "v", "events": ["purchase"], "horizon_days": 7}],
                "values": [{"name": "v", "horizon_days": 7}],
            },
            "intents, session_intents, values must have different names, received 'v'; rename one",
        ),
        ({"policy": {"off": ["L1"]}}, "policy.off must not name L1 or L4"),
        ({"policy": {"on": []}}, "policy: on is not a known key"),
        ({"arms": {**ARMS, "a": {}}}, "arms.a must have either model or recommendations"),
        ({"arms": {**ARMS, "a": {"model": "history", "recommendations": "x"}}}, "arms.a must have either"),
        ({"arms": {**ARMS, "a": {"recommendations": "x", "k": 3}}}, "arms.a.k is not a known key"),
        ({"arms": {**ARMS, "a": {"recommendations": 1}}}, "arms.a.recommendations must be a path, received 1"),
        ({"arms": {**ARMS, "a/b": {"model": "history"}}}, "arms must have names of letters"),
    ],
)
def test_what_does_not_fit_together(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_experiment(**{**FIELDS, **change})


def test_a_level_is_turned_off_by_force() -> None:
    assert make_experiment(**FIELDS, policy={"off": ["L4"], "force": True}).policy["force"] is True


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"experiment: control is not usable: field required$"):
        make_experiment(name="x", data="shop", arms=ARMS)


@pytest.mark.parametrize("text", ["- a", "", "name", "a: [", "!!python/name:os.system x"])
def test_what_is_no_experiment(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"must (hold keys and values|be YAML)"):
        written(tmp_path, text)
    with pytest.raises(NotFoundError, match="must be a file"):
        read_experiment(tmp_path)
