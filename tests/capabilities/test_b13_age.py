"""B13: each answer states how old what it was decided from is, and stale real-time state is never used as L4."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from experiments.compare import Comparison
from experiments.replay import replay
from features.dataset import Dataset
from features.engine import Engine
from features.schema import EventType
from features.sequences import LIVE_FRESH_S
from features.split import Moment, ask
from serving.policy import Request, decide
from serving.service import Api, Backend
from serving.state import LiveEvent, State
from training.bundle import Bundle

HOUR_MS = 3_600_000
LIMIT_MS = 1_000 * LIVE_FRESH_S

#: Milliseconds before the question at which an item was viewed, and more of the question, to the answer.
Ask = Callable[..., dict[str, Any]]


def leading(bundle: Bundle) -> str:
    """An item that leads to many others within a visit."""
    towards = bundle.blend.parts["live"]._towards  # type: ignore[attr-defined]
    return str(bundle.items.ids[int(np.argmax(np.diff(towards.indptr)))])


@pytest.fixture
def answer(shop_bundle: Bundle, tmp_path: Path) -> Ask:
    """A shop of its own for each question, a day after the snapshot."""

    def answered(viewed_before_ms: int | None, policy: dict[str, int] | None = None, **question: Any) -> dict[str, Any]:
        now_ms = shop_bundle.as_of_ms + 24 * HOUR_MS
        state = State.open(f"sqlite:///{tmp_path / str(len(list(tmp_path.iterdir())))}.db")
        api = Api(Backend(state, replace(shop_bundle, policy=policy or {}), clock=lambda: now_ms))

        async def talk() -> dict[str, Any]:
            transport = httpx.ASGITransport(api)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                if viewed_before_ms is not None:
                    view = {"user_id": "ann", "event_type": "view", "item_id": leading(shop_bundle)}
                    posted = await client.post("/events", json={**view, "ts": now_ms - viewed_before_ms})
                    assert posted.status_code == 200, posted.text
                told = await client.post("/recommend", json={"user_id": "ann", **question})
                assert told.status_code == 200, told.text
                body: dict[str, Any] = told.json()
                return body

        try:
            return asyncio.run(talk())
        finally:
            state.close()

    return answered


def levels(answer: dict[str, Any]) -> set[str]:
    return {item["level"] for item in answer["items"]}


@pytest.mark.parametrize("before_ms", [1, HOUR_MS, LIMIT_MS, LIMIT_MS + 1, 5 * HOUR_MS, 23 * HOUR_MS])
def test_l4_answers_while_the_newest_event_is_fresh(answer: Ask, before_ms: int) -> None:
    told = answer(before_ms)
    fresh = before_ms <= LIMIT_MS
    assert told["ages"]["live"] == {"freshness": "fresh" if fresh else "stale", "age_ms": before_ms}
    assert ("L4" in levels(told)) == fresh
    if not fresh:
        assert told["items"] == answer(None)["items"]


def test_it_is_the_policys_limit_that_decides(answer: Ask) -> None:
    longer, shorter = {"live_fresh_s": 5 * 3_600}, {"live_fresh_s": 3_599}
    assert "L4" in levels(answer(5 * HOUR_MS, longer)) and "L4" not in levels(answer(5 * HOUR_MS))
    assert "L4" in levels(answer(HOUR_MS)) and "L4" not in levels(answer(HOUR_MS, shorter))
    assert answer(HOUR_MS, shorter)["ages"]["live"]["freshness"] == "stale"


def test_without_live_events_they_are_missing_and_what_is_looked_at_is_live(answer: Ask, shop_bundle: Bundle) -> None:
    quiet = answer(None)
    assert quiet["ages"]["live"] == {"freshness": "missing", "age_ms": None}
    assert "L4" not in levels(quiet)
    beside = answer(5 * HOUR_MS, item_id=leading(shop_bundle))
    assert beside["ages"]["live"] == {"freshness": "fresh", "age_ms": 1}
    assert "L4" in levels(beside)


def test_the_snapshot_grows_stale(answer: Ask) -> None:
    one_day = 24 * HOUR_MS
    fresh, stale = (answer(None, {"snapshot_fresh_s": limit_s})["ages"] for limit_s in (86_400, 86_399))
    assert fresh["snapshot"] == {"freshness": "fresh", "age_ms": one_day}
    assert stale["snapshot"] == {"freshness": "stale", "age_ms": one_day}
    assert answer(None)["served_ms"] - answer(None)["as_of_ms"] == one_day


def test_history_and_attributes_are_told_from_the_snapshot_or_missing(answer: Ask, shop_bundle: Bundle) -> None:
    row = int(np.argmax(shop_bundle.sequences.lengths))
    known = {name: values[row] != "missing" for name, values in shop_bundle.sequences.attributes.items()}
    snapshot = {"freshness": "fresh", "age_ms": 24 * HOUR_MS}
    missing = {"freshness": "missing", "age_ms": None}

    hot = answer(None, user_id=str(shop_bundle.sequences.user_ids[row]), attributes={"country": "FR"})["ages"]
    assert hot["history"] == snapshot
    assert hot["attributes"] == {
        name: {**snapshot, "source": "snapshot"} if is_known else {**missing, "source": None}
        for name, is_known in known.items()
    } | {"country": {"freshness": "fresh", "age_ms": 0, "source": "told"}}

    nobody = answer(None)["ages"]
    assert nobody["history"] == missing
    assert nobody["attributes"] == {name: {**missing, "source": None} for name in known}


def test_replay_and_service_draw_the_same_line(
    shop_bundle: Bundle, shop_comparison: Comparison, shop_data: Dataset
) -> None:
    with Engine.duckdb() as engine:
        until_ms = shop_data.last_ms
        asked = ask(engine, shop_data, shop_comparison.trained.snapshot, until_ms, Moment.LIVE).take(np.arange(40))
    blend = shop_bundle.blend
    # Questions come later than they did, so that of most of them some live events are stale and of some all are.
    questions = asked.histories
    newest = questions.ts[questions.offsets[1:] - 1]
    later = replace(questions, as_of_ms=newest + np.linspace(1, 300_000, len(asked)).astype(np.int64))
    offline = replay(blend, replace(asked, histories=later), 10, shop_bundle.available, live_fresh_s=120)
    alike = replay(blend, replace(asked, histories=questions.past()), 10, shop_bundle.available)
    none_fresh = later.as_of_ms - newest > 120_000
    assert 10 < none_fresh.sum() < 30
    assert np.array_equal(offline.ids[none_fresh], alike.ids[none_fresh])
    assert not np.array_equal(offline.ids[~none_fresh], alike.ids[~none_fresh])

    bundle = replace(shop_bundle, policy={"live_fresh_s": 120})
    kinds = {kind.code: kind for kind in EventType}
    for row in range(len(asked)):
        one = later.take(np.array([row]))
        since = one.where(one.ts >= bundle.as_of_ms)
        items = [str(bundle.items.ids[item]) if item >= 0 else "not in the catalogue" for item in since.items]
        rows = zip(items, since.event_types.tolist(), since.ts.tolist(), strict=True)
        events = [LiveEvent(f"{n}", "x", kinds[kind], ts, ts, item) for n, (item, kind, ts) in enumerate(rows)]
        slate = decide(Request(str(one.user_ids[0]), 10, now_ms=int(one.as_of_ms[0])), events, bundle)
        assert [item.item_id for item in slate.items] == bundle.items.decode(offline.ids[row]).tolist()
        assert (slate.ages.live.freshness == "fresh") == (not none_fresh[row])
