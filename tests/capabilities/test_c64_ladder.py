"""C64: the ladder never ends in an empty page; the answer says which level spoke and what failed."""

from __future__ import annotations

from typing import Any

import pytest

from features.schema import EventType
from serving.policy import Request, Slate, decide
from serving.state import LiveEvent
from training.bundle import Bundle


def answer(bundle: Bundle, gone: frozenset[str] = frozenset()) -> Slate:
    ts = bundle.as_of_ms + 1_000
    anchor = str(bundle.items.ids[int(bundle.sequences.items[-1])])
    events = [LiveEvent("e", "user", EventType.VIEW, ts, ts, item_id=anchor)]
    return decide(Request(str(bundle.sequences.user_ids[-1]), 15, now_ms=ts + 1), events, bundle, gone)


def assert_whole(slate: Slate) -> None:
    assert len({item.item_id for item in slate.items}) == 15
    assert all(item.level and item.reason for item in slate.items)


def test_each_stage_may_be_killed_and_then_all(shop_bundle: Bundle) -> None:
    gone: set[str] = set()
    for level in ("L4", "L3", "L2", "L1"):
        assert_whole(answer(shop_bundle, frozenset({level})))
        gone.add(level)
        slate = answer(shop_bundle, frozenset(gone))
        assert_whole(slate)
        assert not {item.level for item in slate.items} & gone
    assert {(item.level, item.reason) for item in slate.items} == {("popular", "popular now")}


def test_each_stage_may_break_and_then_all(shop_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(shop_bundle).notes == []

    def broken(*_: Any) -> None:
        raise MemoryError

    failed: list[str] = []
    for name in reversed(shop_bundle.blend.config.parts):
        monkeypatch.setattr(shop_bundle.blend.parts[name], "score_all", broken)
        failed.append(name)
        slate = answer(shop_bundle)
        assert_whole(slate)
        assert slate.notes == [f"did without {', '.join(sorted(failed))}, which failed"]
    assert {item.level for item in slate.items} == {"popular"}
