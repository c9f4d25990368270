"""C69: one row per shown item with rank, level, arm, propensity and digest, which features read as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from features.append import with_recorded
from features.dataset import Dataset
from features.engine import Engine
from serving.service import Api, Backend
from serving.state import State
from training.bundle import Bundle

LEVELS = {"popular": 0, "L1": 1, "L2": 2, "L3": 3, "L4": 4}


def test_what_is_shown_is_recorded_and_read_back(shop_bundle: Bundle, shop_data: Dataset, tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    users = [str(shop_bundle.users.ids[0]), str(shop_bundle.users.ids[-1]), "somebody-new"]

    async def talk() -> list[dict[str, Any]]:
        transport = httpx.ASGITransport(Api(Backend(state, shop_bundle)))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            view = {"user_id": users[0], "event_type": "view", "item_id": str(shop_bundle.items.ids[3])}
            assert (await client.post("/events", json={**view, "event_id": "now"})).status_code == 200
            asked = [{"user_id": user_id, "k": 4} for user_id in users]
            return [(await client.post("/recommend", json=body)).json() for body in asked]

    answers = asyncio.run(talk())
    data = with_recorded(shop_data, state.events_frame(), state.impressions_frame(), tmp_path / "recorded")
    untouched = with_recorded(shop_data, state.events_frame(), state.impressions_frame()[:0], tmp_path / "without")
    state.close()
    with Engine.duckdb() as engine:
        table = data.impressions(engine)
        assert table is not None
        rows = engine.to_pandas(table).set_index(["request_id", "rank"])
        events = data.events(engine)
        posted = engine.to_pandas(events.filter(events["event_id"] == "now"))
        assert untouched.impressions(engine) is None and untouched.digest != data.digest
    assert posted["user_id"].tolist() == [users[0]]
    assert len(rows) == sum(len(answer["items"]) for answer in answers) == 12
    for answer in answers:
        for item in answer["items"]:
            row = rows.loc[(answer["request_id"], item["rank"])]
            assert (row["item_id"], row["user_id"]) == (item["item_id"], answer["user_id"])
            assert (row["level"], row["score"]) == (LEVELS[item["level"]], item["score"])
            assert (row["propensity"], row["arm"], row["surface"]) == (1.0, "blend", "home")
            assert (row["bundle_digest"], row["ts"]) == (shop_bundle.digest, answer["served_ms"])
