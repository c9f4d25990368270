"""``POST /intent``: what the heads say of a person's row now is what they will say of the next snapshot's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.engine import Engine
from features.schema import DAY_MS, EventType
from serving.state import State
from tests.capabilities.served import ATTRIBUTES, NOW, REFUSER, Service, next_snapshot, shop, trained
from tests.features.by_hand import write
from training.bundle import Bundle, save_bundle
from training.intent.contract import Judgement
from training.intent.fit import fit_user_intent, readable_columns
from training.intent.heads import UserIntent
from training.intent.targets import Target

TARGETS = (
    Target(name="buy_3d", events=(EventType.PURCHASE,), horizon_days=3),
    Target(name="away_2d", events=(EventType.VIEW, EventType.PURCHASE), horizon_days=2, absent=True),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("shop")
    made, _ = trained(folder, shop())
    with Engine.duckdb(threads=1) as engine:
        data = write(folder / "again", [shop()], ATTRIBUTES)
        contest = fit_user_intent(engine, data, NOW, TARGETS, contenders={"line": {"predictor": "logistic"}})
    intent = contest.won
    # Of so few users nothing can be judged: here all of one head's numbers are taken to be right.
    head = intent.heads["buy_3d"]
    held = replace(head.judged, judgements=(Judgement("all", 500, True, "held", (0, 0, 0), (1, 1, 1)),))
    return replace(made, intent=UserIntent(NOW, {**intent.heads, "buy_3d": replace(head, judged=held)}))


@pytest.fixture
def service(bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(bundle, state)
    state.close()


def asked(service: Service, **body: Any) -> httpx.Response:
    return service.send("POST", "/intent", json=body)


def test_it_is_what_the_heads_say_of_the_next_snapshot(service: Service, bundle: Bundle, tmp_path: Path) -> None:
    before = asked(service, user_id="ann").json()
    service.post("purchase", "ann", "i3", order_id="new", unit_price_cents=64)
    service.post("view", "newcomer", "i4")
    after = asked(service, user_id="ann").json()
    assert [each["name"] for each in after["targets"]] == ["buy_3d", "away_2d"]
    assert after["targets"][0]["probability"] != before["targets"][0]["probability"]
    snapshot = next_snapshot(tmp_path / "next", shop(), service.state, NOW + DAY_MS)
    assert bundle.intent is not None
    for user in ("ann", "bob", "newcomer"):
        row = readable_columns(snapshot.user_matrix.loc[[user]])
        # Scores compare with other users: those of the bundle's snapshot online, the next one's own there.
        for told, head in zip(
            asked(service, user_id=user).json()["targets"], bundle.intent.heads.values(), strict=True
        ):
            scores = {name: row[name].iloc[0] for name in row if name.endswith("_score")}
            fold = service.profile(user)["features"]
            expected = head.chances(row.assign(**{name: fold[name]["value"] for name in scores}))
            if told["name"] == "buy_3d":
                assert told["probability"] == pytest.approx(expected.probability[0], rel=1e-5)
            assert told["rank"] == pytest.approx(expected.rank[0], abs=0.02)


def test_numbers_that_are_not_right_are_not_told(service: Service) -> None:
    held, refused = asked(service, user_id="bob").json()["targets"]
    assert held["probability"] is not None and held["rank_only_because"] is None
    assert refused["probability"] is None and refused["rank_only_because"] == "all" and 0 <= refused["rank"] <= 1
    assert len(held["reasons"]) == 3 and held["horizon_days"] == 3 and held["predictor"] == "logistic"
    strengths = [abs(reason["log_odds"]) for reason in held["reasons"]]
    assert strengths == sorted(strengths, reverse=True)


def test_only_what_is_asked_for_is_answered(service: Service) -> None:
    answer = asked(service, user_id="ann", targets=["away_2d"]).json()
    assert [each["name"] for each in answer["targets"]] == ["away_2d"] and answer["bundle_digest"]
    refuses = asked(service, user_id=REFUSER).json()
    assert refuses["personalised"] is False and refuses["targets"] == []


@pytest.mark.parametrize(
    ("status", "body", "field"),
    [
        (404, {"user_id": "never seen"}, "user_id"),
        (422, {"user_id": "ann", "targets": ["buy_3d", "marry"]}, "targets.1"),
        (422, {"user_id": "ann", "targets": []}, "targets"),
        (422, {"user_id": 7}, "user_id"),
        (422, {"user_id": "ann", "horizon": 7}, "horizon"),
    ],
)
def test_what_cannot_be_answered_is_named(service: Service, status: int, body: dict[str, Any], field: str) -> None:
    answer = asked(service, **body)
    assert answer.status_code == status and answer.json()["error"]["field"] == field


def test_a_bundle_keeps_its_heads(bundle: Bundle, tmp_path: Path) -> None:
    made, snapshot = trained(tmp_path / "one", shop())
    assert made.intent is None
    again = save_bundle(tmp_path / "two", made.blend, snapshot, arm="told", policy={}, intent=bundle.intent)
    assert again.intent is not None and list(again.intent.heads) == ["buy_3d", "away_2d"]
    assert again.digest != made.digest
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    refusal = asked(Service(made, state), user_id="ann")
    assert refusal.status_code == 503 and refusal.json()["error"]["field"] == "bundle"
    first, second = (asked(Service(each, state), user_id="ann").json()["targets"] for each in (bundle, again))
    assert first == second
    state.close()
