"""The policy on a small simulated shop's blend: slates, the ladder, surfaces, and parts that break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from features.errors import ConfigError
from features.schema import EventType
from serving import policy
from serving.policy import PolicyConfig, Request, Slate, decide
from serving.state import LiveEvent
from training.bundle import Bundle

LEVELS = frozenset({"L1", "L2", "L3", "L4"})


@pytest.fixture
def bundle(shop_bundle: Bundle, tmp_path: Path) -> Iterator[Bundle]:
    """A fresh view of the small shop's bundle, whose parts a test may break."""
    parts = dict(shop_bundle.blend.parts)
    yield shop_bundle
    shop_bundle.blend.parts = parts


def event(bundle: Bundle, item: str | None, kind: EventType = EventType.VIEW, after_ms: int = 1_000) -> LiveEvent:
    ts = bundle.as_of_ms + after_ms
    return LiveEvent(f"e{after_ms}", "user", kind, ts, ts, item_id=item)


def ask(bundle: Bundle, user_id: str, k: int = 10, **others: Any) -> Request:
    return Request(user_id, k, now_ms=bundle.as_of_ms + 3_600_000, **others)


def ids(slate: Slate) -> list[str]:
    return [item.item_id for item in slate.items]


def levels(slate: Slate) -> set[str]:
    return {item.level for item in slate.items}


def busiest(bundle: Bundle, n: int = 1) -> list[str]:
    """The users with the longest histories."""
    order = np.argsort(-bundle.sequences.lengths, kind="stable")[:n]
    return [str(bundle.sequences.user_ids[row]) for row in order]


def strong(bundle: Bundle) -> str:
    """An item that leads to many others within a visit."""
    live = bundle.blend.parts["live"]
    return str(bundle.items.ids[int(np.argmax(np.diff(live._towards.indptr)))])  # type: ignore[attr-defined]


def assert_well_formed(slate: Slate, bundle: Bundle, k: int) -> None:
    assert len(slate.items) == k == len(set(ids(slate)))
    assert [item.rank for item in slate.items] == list(range(1, k + 1))
    scores = [item.score for item in slate.items]
    assert np.isfinite(scores).all() and scores == sorted(scores, reverse=True)
    assert levels(slate) <= {*LEVELS, "popular"}
    assert all(bundle.catalogue.loc[item, "available"] for item in ids(slate))
    assert all(item.reason and "{" not in item.reason and item.propensity == 1.0 for item in slate.items)
    assert (slate.bundle_digest, slate.arm) == (bundle.digest, "blend")


@pytest.mark.parametrize("k", [1, 7, 100])
def test_a_slate_has_k_distinct_available_items_in_order(bundle: Bundle, k: int) -> None:
    for user_id in [*busiest(bundle, 5), "nobody"]:
        slate = decide(ask(bundle, user_id, k), [event(bundle, strong(bundle))], bundle)
        assert_well_formed(slate, bundle, k)
        assert slate.notes == []


def test_items_that_are_not_available_are_never_shown(bundle: Bundle) -> None:
    user_id = busiest(bundle)[0]
    shown = ids(decide(ask(bundle, user_id), [], bundle))
    catalogue = bundle.catalogue.copy()
    catalogue.loc[shown[:4], "available"] = False
    sold_out = replace(bundle, catalogue=catalogue)
    after = decide(ask(bundle, user_id), [], sold_out)
    assert_well_formed(after, sold_out, 10)
    assert ids(after)[:6] == shown[4:]


def test_an_event_changes_the_next_answer_and_the_same_events_give_the_same_answer(bundle: Bundle) -> None:
    user_id, item = busiest(bundle)[0], strong(bundle)
    before = decide(ask(bundle, user_id), [], bundle)
    after = decide(ask(bundle, user_id), [event(bundle, item)], bundle)
    assert "L4" not in levels(before)
    assert "L4" in levels(after)
    assert ids(after) != ids(before)
    assert decide(ask(bundle, user_id), [event(bundle, item)], bundle) == after
    assert decide(ask(bundle, user_id), [], bundle) == before
    without = decide(ask(bundle, user_id), [event(bundle, item)], bundle, frozenset({"L4"}))
    assert ids(without) == ids(before)


def test_a_stale_event_changes_nothing_but_what_was_recently_viewed(bundle: Bundle) -> None:
    user_id, item = busiest(bundle)[0], strong(bundle)
    question = ask(bundle, user_id)
    oldest_ms = 3_600_000 - 1_000 * 900
    fresh, stale = event(bundle, item, after_ms=oldest_ms), event(bundle, item, after_ms=oldest_ms - 1)
    strict = replace(bundle, policy={"live_fresh_s": 900})
    quiet = decide(question, [], bundle)
    assert decide(question, [stale], strict).items == quiet.items
    assert "L4" in levels(decide(question, [fresh], strict))
    # By the default of two hours both are fresh, and what is fresh is not changed by what is not.
    assert "L4" in levels(decide(question, [stale], bundle))
    other = str(bundle.items.ids[0])
    both = [stale._replace(event_id="e", item_id=other), fresh]
    assert decide(question, both, strict).items == decide(question, [fresh], strict).items
    assert decide(question, both, bundle).items != decide(question, [fresh], bundle).items
    viewed = decide(ask(bundle, "nobody", surface="recently_viewed"), [stale], strict)
    assert (viewed.items[0].item_id, viewed.items[0].level) == (item, "L2")


@pytest.mark.parametrize("bad", [0, 59, 86_401, 1.5, "an hour"])
def test_a_limit_that_would_turn_l4_off_or_never_bind_is_refused(bad: object) -> None:
    with pytest.raises(ValidationError, match="live_fresh_s"):
        PolicyConfig.model_validate({"live_fresh_s": bad})


def test_a_user_who_was_a_visitor_has_the_visitors_past(bundle: Bundle) -> None:
    visitor, user_id = busiest(bundle, 2)
    of = {name: bundle.question(name, bundle.as_of_ms) for name in (visitor, user_id)}

    def asked(name: str, *visitors: str) -> Slate:
        return decide(ask(bundle, name, visitors=visitors, surface="recently_viewed"), [], bundle)

    # Somebody new takes over all of it, but not the attributes.
    took_over, alone = asked("somebody-new", visitor, "never-seen"), asked(visitor)
    n_seen = [item.reason for item in alone.items].count("you looked at it before")
    assert n_seen and ids(took_over)[:n_seen] == ids(alone)[:n_seen]
    assert {age.freshness for age in took_over.ages.attributes.values()} == {"missing"}
    assert took_over.ages.history == alone.ages.history != asked("somebody-new").ages.history
    # Two pasts become one, in order of time.
    events = sorted(zip(*(np.concatenate([getattr(of[n], part) for n in of]) for part in ("ts", "items")), strict=True))
    question = policy._question(ask(bundle, user_id, visitors=(visitor,)), [], bundle, 7_200)
    assert sorted(zip(question.ts, question.items, strict=True)) == events
    assert (np.diff(question.ts) >= 0).all() and question.lengths.tolist() == [len(events)]
    assert asked(user_id, visitor) == asked(user_id, visitor) != asked(user_id)


def test_an_event_after_the_question_is_not_read(bundle: Bundle) -> None:
    late = event(bundle, strong(bundle), after_ms=3_600_000)
    user_id = busiest(bundle)[0]
    assert decide(ask(bundle, user_id), [late], bundle) == decide(ask(bundle, user_id), [], bundle)


@pytest.mark.parametrize("killed", [*sorted(LEVELS), "L3 L4", "L2 L3 L4", "L1 L2 L3 L4"])
def test_whatever_is_unavailable_the_rest_answers(bundle: Bundle, killed: str) -> None:
    gone = frozenset(killed.split())
    for user_id in [*busiest(bundle, 3), "nobody"]:
        slate = decide(ask(bundle, user_id), [event(bundle, strong(bundle))], bundle, gone)
        assert_well_formed(slate, bundle, 10)
        assert not levels(slate) & gone
    if gone == LEVELS:
        assert levels(slate) == {"popular"}
        popular = bundle.blend.popular[bundle.items.encode(ids(slate))]
        assert list(popular) == sorted(bundle.blend.popular[bundle.available], reverse=True)[:10]


class Broken:
    """A part that raises, or whose scores are not numbers."""

    def __init__(self, part: Any, score: float | None) -> None:
        self._part, self._score = part, score

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    def score_all(self, histories: Any) -> Any:
        if self._score is None:
            raise RuntimeError("broken")
        return np.full((len(histories), self._part.n_items), self._score, np.float32)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["bestsellers", "history", "cooccurrence", "transformer", "live"])
def test_a_part_that_breaks_is_found_out_and_the_rest_answers(bundle: Bundle, name: str, score: float | None) -> None:
    user_id, events = busiest(bundle)[0], [event(bundle, strong(bundle))]
    part = bundle.blend.parts[name]
    bundle.blend.parts[name] = Broken(part, score)  # type: ignore[assignment]
    slate = decide(ask(bundle, user_id), events, bundle)
    assert_well_formed(slate, bundle, 10)
    assert slate.notes == [f"did without {name}, which failed"]
    bundle.blend.parts[name] = part
    if name != "cooccurrence" and name != "history":  # those two share the level L2
        assert ids(slate) == ids(decide(ask(bundle, user_id), events, bundle, frozenset({part.level.label})))


def test_a_part_that_cannot_explain_still_ranks(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id = busiest(bundle)[0]
    before = decide(ask(bundle, user_id), [], bundle)

    def explain(*_: object) -> None:
        raise RuntimeError("broken")

    for part in bundle.blend.parts.values():
        monkeypatch.setattr(part, "explain", explain)
    after = decide(ask(bundle, user_id), [], bundle)
    assert_well_formed(after, bundle, 10)
    assert [(i.item_id, i.level) for i in after.items] == [(i.item_id, i.level) for i in before.items]


def test_what_is_excluded_and_what_is_looked_at_is_not_shown(bundle: Bundle) -> None:
    user_id = busiest(bundle)[0]
    shown = ids(decide(ask(bundle, user_id), [], bundle))
    others = decide(ask(bundle, user_id, exclude=[*shown[:3], "no such item"]), [], bundle)
    assert_well_formed(others, bundle, 10)
    assert ids(others)[:7] == shown[3:]
    anchor = strong(bundle)
    beside = decide(ask(bundle, user_id, item_id=anchor), [], bundle)
    assert anchor not in ids(beside)
    assert "L4" in levels(beside)
    assert decide(ask(bundle, user_id, item_id="no such item"), [], bundle).items


def test_recently_viewed_is_newest_first_without_what_was_bought(bundle: Bundle) -> None:
    seen = [str(item) for item in bundle.items.ids[bundle.available][:4]]
    events = [
        event(bundle, seen[0], EventType.VIEW, 1),
        event(bundle, seen[1], EventType.VIEW, 2),
        event(bundle, seen[2], EventType.ADD_TO_CART, 3),
        event(bundle, seen[3], EventType.VIEW, 4),
        event(bundle, seen[0], EventType.VIEW, 5),
        event(bundle, seen[1], EventType.PURCHASE, 6),
        event(bundle, seen[3], EventType.REMOVE_FROM_CART, 7),
        event(bundle, None, EventType.SEARCH, 8),
        event(bundle, "no such item", EventType.VIEW, 9),
    ]
    slate = decide(ask(bundle, "nobody", surface="recently_viewed"), events, bundle)
    assert_well_formed(slate, bundle, 10)
    assert ids(slate)[:3] == [seen[0], seen[3], seen[2]]
    shorter = decide(ask(bundle, "nobody", 2, surface="recently_viewed", exclude=[seen[0]]), events, bundle)
    assert ids(shorter) == [seen[3], seen[2]]
    assert ids(decide(ask(bundle, "nobody"), events, bundle))[:3] != ids(slate)[:3]


def test_on_the_bestsellers_page_only_bestsellers_rank(bundle: Bundle) -> None:
    user_id, events = busiest(bundle)[0], [event(bundle, strong(bundle))]
    slate = decide(ask(bundle, user_id, surface="bestsellers"), events, bundle)
    assert_well_formed(slate, bundle, 10)
    assert levels(slate) <= {"L1", "popular"}
    assert not levels(decide(ask(bundle, user_id), events, bundle)) <= {"L1", "popular"}


def test_an_unknown_user_is_answered_by_attributes_or_by_what_is_popular(bundle: Bundle) -> None:
    nobody = decide(ask(bundle, "nobody"), [], bundle)
    assert levels(nobody) == {"popular"}
    known = bundle.sequences.attributes
    slates = []
    for country in sorted(set(known["country"]) - {"missing"}):
        told = decide(ask(bundle, "nobody", attributes={"country": country}), [], bundle)
        assert_well_formed(told, bundle, 10)
        assert levels(told) in ({"L1"}, {"popular"})  # too few sales in a country make no segment
        if levels(told) == {"L1"}:
            assert all(item.reason == f"bestseller in {country}" for item in told.items)
            slates.append(ids(told))
    assert len(slates) >= 2 and len({tuple(slate) for slate in slates}) == len(slates)
    assert decide(ask(bundle, "nobody", attributes={"country": "Atlantis"}), [], bundle).items == nobody.items


def test_of_whoever_refuses_personalisation_nothing_is_read(bundle: Bundle) -> None:
    (user,) = busiest(bundle)
    item = strong(bundle)
    told = {"attributes": {"country": "DE"}, "item_id": item, "visitors": tuple(busiest(bundle, 2)[1:])}
    slate = decide(ask(bundle, user, personal=False, **told), [event(bundle, item)], bundle)
    nobody = decide(ask(bundle, "nobody", exclude=[item]), [], bundle)
    assert levels(slate) == {"popular"} and ids(slate) == ids(nobody) and item not in ids(slate)
    assert slate.ages.model_copy(update={"attributes": {}}) == nobody.ages.model_copy(update={"attributes": {}})
    assert slate.notes == ["did without all that is known of the user, who refuses personalisation"]


def test_a_catalogue_smaller_than_the_slate_is_said(bundle: Bundle) -> None:
    n = int(bundle.available.sum())
    slate = decide(ask(bundle, busiest(bundle)[0], n + 5), [], bundle)
    assert_well_formed(slate, bundle, n)
    assert slate.notes == [f"the catalogue has only {n} items to show"]


@pytest.mark.parametrize("off", ["L1", "L4"])
def test_the_ends_of_the_ladder_are_turned_off_by_force_only(bundle: Bundle, off: str) -> None:
    with pytest.raises(ConfigError, match=rf"policy\.off must not name L1 or L4, received '{off}'; say `force: true`"):
        PolicyConfig(off=(off,)).checked()
    with pytest.raises(ConfigError, match="must not name"):
        decide(ask(bundle, "nobody"), [], replace(bundle, policy={"off": [off]}))
    forced = replace(bundle, policy={"off": [off], "force": True})
    events = [event(bundle, strong(bundle))]
    assert off not in levels(decide(ask(bundle, "nobody", attributes={"country": "DE"}), events, forced))
    assert PolicyConfig(off=("L2", "L3")).checked().off == ("L2", "L3")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"policy\.off must be of L1, L2, L3, L4, received 'popular'"):
        PolicyConfig(off=("popular",)).checked()
