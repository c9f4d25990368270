"""C51: one endpoint says everything that is known of a person now; merges change it and can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from features.definitions import USER_FEATURES
from features.schema import DAY_MS
from serving.state import State
from tests.capabilities.served import NOW, REFUSER, VISITOR, Service, apart, event, next_snapshot, shop, trained
from training.bundle import Bundle

#: Compared with the users of another snapshot, or given a column by what is frequent in it.
OF_ALL = ("affinity:", "recency_score", "frequency_score", "monetary_score")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return trained(tmp_path_factory.mktemp("shop"), shop())[0]


@pytest.fixture
def service(bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    yield Service(bundle, state)
    state.close()


def refused(service: Service, status: int, path: str, method: str = "GET") -> dict[str, Any]:
    answer = service.send(method, path)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"field", "rule", "received", "mend"}
    return error


def test_a_profile_is_what_the_next_snapshot_will_know(service: Service, tmp_path: Path) -> None:
    for user in ("ann", "bob", "newcomer"):
        service.post("view", user, "i3", before_s=900)
        service.recommend(user, k=3)
        service.post("add_to_cart", user, "i3", before_s=60)
        service.post("purchase", user, "i3", order_id=f"new {user}", unit_price_cents=64, quantity=2)
        service.post("visit", user)
    service.post("purchase", "bob", "i8", order_id="new bob", unit_price_cents=100)
    service.post("view", VISITOR, "i8")
    service.post("view", "phone", "i7", before_s=100)
    service.post("identify", "cleo", anonymous_id="phone")
    snapshot = next_snapshot(tmp_path / "next", shop(), service.state, NOW + DAY_MS)
    for user in ("ann", "bob", "newcomer", VISITOR, "cleo", "phone", "dan"):
        told = service.profile(user)
        assert told["features_as_of_ms"] == NOW + DAY_MS
        assert set(told["features"]) >= {declared.name for declared in USER_FEATURES if hasattr(declared, "counter")}
        assert apart(told, snapshot.user_matrix, OF_ALL) == [], user
    assert service.profile("newcomer")["features"]["impressions_1d"]["value"] == 3


def test_a_profile_has_everything(service: Service) -> None:
    service.post("purchase", "ann", "i3", before_s=30, order_id="new", unit_price_cents=64, quantity=2)
    service.post("purchase", "ann", "i4", before_s=20, order_id="new", unit_price_cents=100)
    service.post("search", "ann", before_s=10, query="lamp")
    service.post("view", "ann", "i5", before_s=5, properties={"city": "Bern", "page": 3})
    shown = service.recommend("ann", k=2)
    told = service.profile("ann")
    assert (told["user_id"], told["person_id"], told["ids"]) == ("ann", "ann", ["ann", VISITOR])
    assert told["personalised"] is True and told["notes"] == [] and "offers" not in told
    assert told["consents"]["granted"] == ["personalisation"] and told["consents"]["stated"] is False
    assert {name: value["value"] for name, value in told["attributes"].items()} == {"country": "CH", "tier": "gold"}
    assert (told["as_of_ms"], told["served_ms"]) == (NOW, service.now_ms)
    assert told["bundle_digest"] == service.bundle.digest

    assert told["orders"][0] == {"order_id": "new", "ts": service.now_ms - 20_000, "lines": 2, "units": 3, "cents": 228}
    past = [row for row in shop()["events"] if row["user_id"] in ("ann", VISITOR)]
    orders = {row["order_id"] for row in past if row["event_type"] == "purchase"}
    assert {order["order_id"] for order in told["orders"]} == {"new", *orders}
    assert told["features"]["frequency"]["value"] == 1 + len(orders)

    # Nobody said that the search may be read, nor where it was that she looked.
    events = told["events"]
    assert [(one["event_type"], one["item_id"], one["source"]) for one in events[:3]] == [
        ("view", "i5", "live"),
        ("purchase", "i4", "live"),
        ("purchase", "i3", "live"),
    ]
    assert events[0]["properties"] == {"city": None, "page": 3}
    about = sorted((row for row in past if row["item_id"] is not None), key=lambda row: -row["ts"])
    known = [(row["event_type"], row["item_id"], row["ts"]) for row in about]
    assert [(one["event_type"], one["item_id"], one["ts"]) for one in events[3:]] == known[: len(events) - 3]
    assert len(events) <= 50 and [one["ts"] for one in events] == sorted((one["ts"] for one in events), reverse=True)
    items = [item["item_id"] for item in shown["items"]]
    assert [(one["item_id"], one["rank"], one["surface"]) for one in told["impressions"]] == [
        (item, rank, "home") for rank, item in enumerate(items, 1)
    ]
    assert told["segments"]["member_of"] == [] and told["segments"]["rfm"] != "no purchase"


def test_merge_then_undo_gives_both_their_profiles_back(service: Service) -> None:
    service.post("view", "phone", "i3", before_s=60)
    before = {user: service.profile(user) for user in ("bob", "phone")}
    service.post("identify", "bob", anonymous_id="phone", before_s=50)
    one, other = (service.profile(user) for user in ("bob", "phone"))
    assert one["ids"] == ["bob", "phone"] and one | {"user_id": "phone"} == other
    views = [told["features"]["views_1d"]["value"] for told in (before["bob"], before["phone"], one)]
    assert views[0] + views[1] == views[2] > views[0]
    assert one["attributes"]["tier"]["value"] == "gold"
    service.post("unidentify", "bob", anonymous_id="phone", before_s=40)
    after = {user: service.profile(user) for user in ("bob", "phone")}
    # What was said is itself something that happened.
    assert [one["event_type"] for one in after["bob"]["events"][:2]] == ["unidentify", "identify"]
    after["bob"]["events"] = [*after["bob"]["events"][2:], *before["bob"]["events"][48:]]
    assert after == before


def test_two_whom_the_snapshot_knew_become_one(service: Service, tmp_path: Path) -> None:
    service.post("identify", "bob", anonymous_id="leo")
    snapshot = next_snapshot(tmp_path / "next", shop(), service.state, NOW + DAY_MS)
    told = service.profile("leo")
    assert (told["person_id"], told["ids"]) == ("bob", ["bob", "leo"])
    assert told["notes"] == []
    # Of sessions of two ids it is not known any more whether they were one.
    assert apart(told, snapshot.user_matrix, (*OF_ALL, "session")) == []


def test_a_merge_of_the_snapshot_is_known_and_what_it_added_up_stays_until_the_next(service: Service) -> None:
    merged = service.profile(VISITOR)
    assert merged["person_id"] == "ann" and service.profile("ann") | {"user_id": VISITOR} == merged
    service.post("unidentify", "ann", anonymous_id=VISITOR)
    ann, visitor = service.profile("ann"), service.profile(VISITOR)
    assert (ann["ids"], visitor["ids"]) == (["ann"], [VISITOR])
    assert ann["features"]["purchases_90d"] == merged["features"]["purchases_90d"]
    assert visitor["features"]["purchases_90d"]["value"] == 0
    assert ann["notes"] == [f"what {VISITOR} did before the snapshot counts here until the next snapshot"]
    assert visitor["notes"] == [f"what {VISITOR} did before the snapshot counts for ann until the next snapshot"]


def test_of_whoever_refuses_only_that_is_said_and_nothing_is_read(service: Service) -> None:
    service.post("view", REFUSER, "i3")
    told = service.profile(REFUSER)
    assert set(told) == {
        *("user_id", "consents", "bundle_digest", "as_of_ms", "served_ms", "notes", "personalised"),
    }
    assert told["personalised"] is False and told["consents"]["granted"] == ["email"]
    assert told["notes"] == ["the person refuses personalisation: nothing is read or computed"]
    asked: list[tuple[str, dict[str, Any]]] = [
        (REFUSER, {"attributes": {"country": "CH"}, "item_id": "i1", "k": 5}),
        ("stranger", {"k": 6}),
    ]
    answers = [service.recommend(user, **more) for user, more in asked]
    assert answers[0]["notes"] == ["did without all that is known of the user, who refuses personalisation"]
    assert {item["level"] for item in answers[0]["items"]} == {"popular"}
    assert [item["item_id"] for item in answers[0]["items"]] == [
        item["item_id"] for item in answers[1]["items"] if item["item_id"] != "i1"
    ][:5]
    # The strictest word of all ids of one person counts.
    service.post("identify", "bob", anonymous_id=REFUSER)
    assert service.profile("bob")["personalised"] is False
    assert {item["level"] for item in service.recommend("bob")["items"]} == {"popular"}


def test_what_was_read_under_a_wider_consent_is_left_out(tmp_path: Path) -> None:
    tables = shop()
    tables["users"][0]["consents"] = "personalisation,search_history"
    tables["users"][1]["consents"] = "personalisation"
    tables["events"].append(event("searched", "search", "ann", NOW - DAY_MS, query="lamp"))
    bundle, _ = trained(tmp_path, tables)
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    service = Service(bundle, state)
    before = service.profile("ann")
    assert before["features"]["searches_7d"]["value"] == 1
    bought = service.profile("bob")["features"]["purchases_90d"]
    service.post("identify", "ann", anonymous_id="bob")
    told = service.profile("ann")
    assert told["features"]["searches_7d"] == {"freshness": "missing", "age_ms": None, "value": None}
    assert told["features"]["purchases_90d"] == bought
    assert "what the snapshot read under a wider consent is left out until the next snapshot" in told["notes"]
    state.close()


def test_each_part_has_its_age(service: Service) -> None:
    hour = 3_600_000
    told = service.profile("dan")
    fresh = {"freshness": "fresh", "age_ms": hour}
    missing = {"freshness": "missing", "age_ms": None}
    assert (told["snapshot"], told["live"]) == (fresh, missing)
    assert told["features"]["views_30d"].items() >= fresh.items()
    assert told["attributes"]["country"] == {**fresh, "value": "CH"}
    assert told["attributes"]["tier"] == {**missing, "value": None}
    assert told["features"]["searches_1d"] == {**missing, "value": None}

    service.now_ms += 3 * DAY_MS
    service.post("view", "dan", "i3", before_s=10)
    old, new = {"freshness": "stale", "age_ms": 3 * DAY_MS + hour}, {"freshness": "fresh", "age_ms": 10_000}
    told = service.profile("dan")
    assert (told["snapshot"], told["live"]) == (old, new)
    for name, age in {"views_30d": new, "recency_score": old, "impressions_30d": old, "top_category": new}.items():
        assert {part: told["features"][name][part] for part in age} == age, name
    assert told["attributes"]["country"] == {**old, "value": "CH"}
    service.recommend("dan", k=1)
    assert service.profile("dan")["features"]["impressions_30d"] == {"value": 1, "freshness": "fresh", "age_ms": 0}
    service.now_ms += 7_200_000
    assert service.profile("dan")["live"]["freshness"] == "stale"


@pytest.mark.parametrize("name", ["a/b?c=d&e", "..", "50 %", "\N{GREEK SMALL LETTER ALPHA}+%2F", "user_id=x#y"])
def test_any_id_can_be_asked_for(service: Service, name: str) -> None:
    service.post("view", name, "i1")
    told = service.profile(name)
    assert told["user_id"] == name and told["ids"] == [name]
    assert told["features"]["views_1d"]["value"] == 1 and told["attributes"]["country"]["freshness"] == "missing"


def test_what_is_refused(service: Service) -> None:
    assert refused(service, 404, "/profile?user_id=nobody")["field"] == "user_id"
    assert refused(service, 422, "/profile")["rule"] == "is required"
    assert refused(service, 422, "/profile?user_id=")["field"] == "user_id"
    assert refused(service, 422, "/profile?user_id=ann&user_id=bob")["rule"] == "must be given once"
    assert refused(service, 422, "/profile?user_id=ann&k=3")["field"] == "k"
    assert refused(service, 422, "/profile?user_id=a%00")["rule"] == "must hold no control characters"
    assert refused(service, 405, "/profile?user_id=ann", "POST")["rule"] == "must be GET"
