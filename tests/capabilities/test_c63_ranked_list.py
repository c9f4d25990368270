"""C63: a ranked list over HTTP per surface; under interleaved load nobody gets another user's list."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.contracts import Surface
from serving.service import Api, Backend
from serving.state import State
from training.bundle import Bundle


async def ask(client: httpx.AsyncClient, user_id: str, surface: str, k: int) -> dict[str, Any]:
    answer = await client.post("/recommend", json={"user_id": user_id, "surface": surface, "k": k})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_lists_are_whole_on_each_surface_and_everyones_own(shop_bundle: Bundle, tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")
    users = [str(user_id) for user_id in shop_bundle.users.ids[::60]]
    questions = [(user_id, surface.value) for surface in Surface for user_id in users]

    async def load() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        transport = httpx.ASGITransport(Api(Backend(state, shop_bundle)))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            together = await asyncio.gather(*(ask(client, user_id, surface, 10) for user_id, surface in questions))
            alone = [await ask(client, user_id, surface, 10) for user_id, surface in questions]
        return list(together), alone

    together, alone = asyncio.run(load())
    shown = state.impressions_frame()
    state.close()
    for (user_id, surface), answer, expected in zip(questions, together, alone, strict=True):
        assert (answer["user_id"], answer["surface"]) == (user_id, surface)
        items = answer["items"]
        told = [[(item["item_id"], item["level"]) for item in each] for each in (items, expected["items"])]
        assert told[0] == told[1]
        scores = [[item["score"] for item in each] for each in (items, expected["items"])]
        # Threads may add floats in another order; a score is a sum of contributions as large as the first one.
        assert scores[0] == pytest.approx(scores[1], rel=1e-6, abs=1e-6 * scores[1][0])
        assert [item["rank"] for item in items] == list(range(1, 11))
        assert len({item["item_id"] for item in items}) == 10
        assert all(shop_bundle.catalogue.loc[item["item_id"], "available"] for item in items)
        assert all(item["level"] and item["reason"] for item in items)
        assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)
        rows = shown[shown["request_id"] == answer["request_id"]]
        assert set(rows["user_id"]) == {user_id} and list(rows["item_id"]) == [item["item_id"] for item in items]
    # The lists differ, so that a mix-up would be seen.
    assert len({str(answer["items"]) for answer in together}) > len(users)


@pytest.mark.parametrize("k", [0, -1, 10**9])
def test_a_length_out_of_bounds_is_refused(shop_bundle: Bundle, tmp_path: Path, k: int) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'state.db'}")

    async def refused() -> httpx.Response:
        transport = httpx.ASGITransport(Api(Backend(state, shop_bundle)))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.post("/recommend", json={"user_id": "ann", "k": k})

    answer = asyncio.run(refused())
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "k")
    assert state.impressions_frame().empty
    state.close()
