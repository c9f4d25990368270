"""``POST /intent``: what a person will be worth is what the model says of all their orders, those just posted too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.engine import Engine
from features.orders import read_orders
from features.schema import DAY_MS
from serving.service import Api, Backend
from serving.state import State
from tests.capabilities.served import ATTRIBUTES, NOW, REFUSER, VISITOR, Service, rows, shop, trained
from tests.features.by_hand import write
from tests.training.intent.planted_orders import bg_nbd_orders
from training.bundle import Bundle, save_bundle
from training.intent.fit_values import config_for, order_log
from training.intent.order_summaries import summarise
from training.intent.value import ValueModel
from training.intent.value_contract import ValueJudgement
from training.intent.value_reasons import middle_customer
from training.intent.value_targets import ValueTarget
from training.intent.values import CustomerValues, JudgedValue

NOTHING = (1.0, 1.0, 1.0)


def judged(segment: str, held: bool) -> ValueJudgement:
    return ValueJudgement(segment, 500, held, "held" if held else "orders_off", NOTHING, NOTHING)


@pytest.fixture(scope="module")
def values() -> CustomerValues:
    """The shop is too small to learn from: what customers are like is learned elsewhere."""
    log, _ = order_log(bg_nbd_orders(400, 150, NOW - 150 * DAY_MS, 60, seed=1))
    horizons = (30, 45)
    model = ValueModel.fit(log, NOW, horizons, config_for(log, NOW, horizons))
    summaries = summarise(log, NOW)
    heads = {
        name: JudgedValue(
            ValueTarget(name=name, horizon_days=days),
            (judged("all", True), judged("tier=gold", days == 30)),
            np.quantile(model.predict(summaries, days).cents, np.linspace(0, 1, 101)),
        )
        for name, days in (("value_30d", 30), ("value_45d", 45))
    }
    return CustomerValues(model, heads, middle_customer(summaries))


@pytest.fixture(scope="module")
def bundle(values: CustomerValues, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return replace(trained(tmp_path_factory.mktemp("shop"), shop())[0], values=values)


@pytest.fixture
def service(bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(bundle, state)
    state.close()


def asked(service: Service, user: str, **body: Any) -> Any:
    return service.send("POST", "/intent", json={"user_id": user, **body}).json()


def test_it_is_what_the_model_says_of_all_orders(service: Service, values: CustomerValues, tmp_path: Path) -> None:
    before = asked(service, "ann")["values"][0]["expected_cents"]
    service.post("purchase", "ann", "i3", order_id="new", unit_price_cents=64, quantity=3, before_s=9)
    service.post("purchase", "ann", "i4", order_id="new", unit_price_cents=100, before_s=8)
    service.post("purchase", VISITOR, "i5", unit_price_cents=10_000, before_s=7)
    service.post("purchase", "bob", "i5", before_s=7)
    service.post("purchase", "phone", "i7", unit_price_cents=900, before_s=6)
    service.post("identify", "cleo", anonymous_id="phone", before_s=5)
    service.post("purchase", "newcomer", "i1", unit_price_cents=800, before_s=4)
    service.post("refund", "newcomer", "i1", unit_price_cents=800, before_s=3)
    assert asked(service, "ann")["values"][0]["expected_cents"] != before
    since = {"events": rows(service.state.events_frame())}
    with Engine.duckdb(threads=1) as engine:
        data = write(tmp_path / "next", [shop(), since], ATTRIBUTES)
        log, ids = order_log(read_orders(engine, data, service.now_ms))
    summaries = summarise(log, service.now_ms)
    assert REFUSER not in ids and VISITOR not in ids and "phone" not in ids
    for name in ("value_30d", "value_45d"):
        expected = values.worths(name, summaries, lambda segment: np.zeros(len(summaries), dtype=bool))
        for user in ("ann", "bob", "cleo", "newcomer", "dan"):
            place = ids[summaries.customer].get_loc(user)
            [told] = asked(service, user, targets=[name])["values"]
            if told["rank_only_because"] is None:
                assert told["expected_orders"] == pytest.approx(expected.orders[place], rel=1e-9)
                assert told["expected_cents"] == pytest.approx(expected.cents[place], rel=1e-9)
            assert told["rank"] == pytest.approx(expected.rank[place], abs=0.01)
    assert asked(service, "phone")["values"] == asked(service, "cleo")["values"]


def test_numbers_that_are_not_right_are_not_told(service: Service) -> None:
    short, long = asked(service, "ann")["values"]
    assert short["expected_cents"] > 0 and short["expected_orders"] > 0 and short["rank_only_because"] is None
    assert long["expected_cents"] is None and long["expected_orders"] is None
    assert long["rank_only_because"] == "tier=gold" and 0 <= long["rank"] <= 1
    assert asked(service, "hal")["values"][1]["expected_cents"] > 0
    for told in (short, long):
        strengths = [abs(reason["log_value"]) for reason in told["reasons"]]
        assert len(strengths) == 3 and strengths == sorted(strengths, reverse=True)
        assert {reason["feature"] for reason in told["reasons"]} < {"recency", "frequency", "spacing", "amounts"}


def test_only_what_is_asked_for_and_allowed_is_answered(service: Service) -> None:
    assert [each["name"] for each in asked(service, "ann", targets=["value_45d"])["values"]] == ["value_45d"]
    refuses = asked(service, REFUSER)
    assert refuses["personalised"] is False and refuses["values"] == []
    wrong = service.send("POST", "/intent", json={"user_id": "ann", "targets": ["value_30d", "marry"]})
    assert wrong.status_code == 422 and wrong.json()["error"]["field"] == "targets.1"
    assert wrong.json()["error"]["mend"] == "choose from value_30d, value_45d"


def test_whoever_never_ordered_is_last(service: Service) -> None:
    service.post("view", "newcomer", "i4")
    for told in asked(service, "newcomer")["values"]:
        assert told["rank"] == 0 and told["rank_only_because"] == "no_orders" and told["reasons"] == []
        assert told["expected_orders"] is told["expected_cents"] is None


def test_the_version_is_told_where_it_is_known(service: Service) -> None:
    assert asked(service, "ann")["model_version"] is None
    service.api = Api(Backend(service.state, service.bundle, clock=lambda: service.now_ms, version=7))
    assert asked(service, "ann")["model_version"] == 7


def test_a_bundle_keeps_them(bundle: Bundle, tmp_path: Path) -> None:
    made, snapshot = trained(tmp_path / "one", shop())
    again = save_bundle(tmp_path / "two", made.blend, snapshot, arm="told", policy={}, values=bundle.values)
    assert made.values is None and again.values is not None and again.digest != made.digest
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    one, two = Service(bundle, state), Service(again, state)
    assert asked(one, "ann")["values"] == asked(two, "ann")["values"] != []
    refusal = Service(made, state).send("POST", "/intent", json={"user_id": "ann"})
    assert refusal.status_code == 503 and "values" in refusal.json()["error"]["mend"]
    state.close()
