"""``POST /intent`` inside a session: after each event it says what the model says of the next snapshot's history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.schema import SESSION_GAP_S, EventType
from features.sequences import Histories
from serving.state import State
from tests.capabilities.served import NOW, REFUSER, Service, next_snapshot, shop, trained
from tests.training.session.test_session_intent import planted
from training.bundle import Bundle, save_bundle
from training.session.intent import SessionIntent
from training.session.outcomes import NEXT
from training.session.steps import steps_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shop is too small to learn sessions from: what they are like is learned elsewhere, about its items."""
    made, snapshot = trained(tmp_path_factory.mktemp("shop"), shop())
    elsewhere = planted(2_000, seed=0)
    elsewhere.items[:] = elsewhere.items % len(snapshot.items)
    users = snapshot.user_matrix.iloc[:0].reindex(elsewhere.user_ids)
    taught = replace(snapshot, user_matrix=users, sequences=elsewhere, as_of_ms=int(elsewhere.as_of_ms[0]))
    return replace(made, session=SessionIntent(epochs=2).fit(taught))


@pytest.fixture
def service(bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(bundle, state)
    state.close()


def session(service: Service, user: str, **body: Any) -> Any:
    return service.send("POST", "/intent", json={"user_id": user, **body}).json()["session"]


def test_after_every_event_it_is_what_the_model_says(service: Service, bundle: Bundle, tmp_path: Path) -> None:
    assert session(service, "ann") is None
    model = bundle.session
    assert model is not None
    for number, (kind, item) in enumerate([("view", "i3"), ("view", "i4"), ("add_to_cart", "i3")], start=1):
        service.post(kind, "ann", item)
        told = session(service, "ann")
        assert told["events"] == number
        snapshot = next_snapshot(tmp_path / str(number), shop(), service.state, NOW + 86_400_000)
        row = np.array([snapshot.users.code("ann")])
        moved = bundle.items.encode(snapshot.items.ids)
        history = snapshot.sequences.take(row)
        expected = model.answer(replace(history, items=moved[history.items].astype(np.int32)))
        for target in told["targets"]:
            assert target["rank"] == pytest.approx(expected.happens[target["name"]].rank[0], abs=0.01)
        likeliest = NEXT[int(expected.next_type[0].argmax())]
        assert told["next_event"][0]["name"] == likeliest
        assert told["next_event"][0]["probability"] == pytest.approx(expected.next_type[0].max(), rel=1e-4)
    assert [target["name"] for target in told["targets"]] == ["buy_in_session", "cart_in_session", "leave_cart_behind"]
    for target in told["targets"]:
        assert target["horizon_days"] is None and target["predictor"] == "session_network"
        assert {reason["value"] for reason in target["reasons"]} == {1, 2, 3}
        assert {reason["feature"] for reason in target["reasons"]} == {"view of i3", "view of i4", "add_to_cart of i3"}


def test_items_that_the_bundle_does_not_know_lie_in_the_cart_too(service: Service, bundle: Bundle) -> None:
    done = [(30, EventType.VIEW, "new1"), (20, EventType.ADD_TO_CART, "new1"), (10, EventType.VIEW, "new2")]
    for before_s, kind, item in done:
        service.post(kind.value, "somebody new", item, before_s=before_s)
    told = session(service, "somebody new")
    history = Histories(
        user_ids=np.array(["somebody new"], dtype=object),
        as_of_ms=np.array([service.now_ms]),
        snapshot_ms=np.array([bundle.as_of_ms]),
        offsets=np.array([0, 3]),
        items=np.array([-2, -2, -3], dtype=np.int32),
        event_types=np.array([kind.code for _, kind, _ in done], dtype=np.int8),
        ts=np.array([service.now_ms - 1_000 * before_s for before_s, _, _ in done]),
    )
    model = bundle.session
    assert model is not None and steps_of(history).cart.tolist() == [0, 1, 1]
    expected, confused = (model.answer(replace(history, items=items)) for items in (history.items, -np.ones(3, "i4")))
    for target in told["targets"]:
        said = sorted((reason["value"], reason["log_odds"]) for reason in target["reasons"])
        assert [added for _, added in said] == pytest.approx(expected.moved[target["name"]][0], abs=1e-5)
        assert [added for _, added in said] != pytest.approx(confused.moved[target["name"]][0], abs=1e-3)
        assert all(reason["feature"].endswith(" of an unknown item") for reason in target["reasons"])


def test_it_ends_with_the_session(service: Service) -> None:
    service.post("view", "bob", "i2")
    assert session(service, "bob")["events"] == 1
    service.now_ms += 1_000 * SESSION_GAP_S - 2_000
    assert session(service, "bob")["events"] == 1
    service.now_ms += 2_000
    assert session(service, "bob") is None


def test_only_what_is_asked_for_and_allowed_is_answered(service: Service) -> None:
    service.post("view", "ann", "i2")
    service.post("view", REFUSER, "i2")
    answer = service.send("POST", "/intent", json={"user_id": "ann", "targets": ["cart_in_session"]}).json()
    assert answer["targets"] == [] and [each["name"] for each in answer["session"]["targets"]] == ["cart_in_session"]
    assert session(service, REFUSER) is None
    wrong = service.send("POST", "/intent", json={"user_id": "ann", "targets": ["marry"]})
    assert wrong.status_code == 422 and "leave_cart_behind" in wrong.json()["error"]["mend"]


def test_a_bundle_keeps_it(bundle: Bundle, tmp_path: Path) -> None:
    made, snapshot = trained(tmp_path / "one", shop())
    again = save_bundle(tmp_path / "two", made.blend, snapshot, arm="told", policy={}, session=bundle.session)
    assert made.session is None and again.session is not None and again.digest != made.digest
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    one, two = Service(bundle, state), Service(again, state)
    one.post("view", "ann", "i3")
    assert session(one, "ann") == session(two, "ann")
    state.close()
