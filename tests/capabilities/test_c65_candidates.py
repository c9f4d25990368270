"""C65: the caller's candidates come back ordered; those that cannot be ranked are reported, none is dropped."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.policy import Request, Slate, decide
from serving.service import Api, Backend
from serving.state import State
from training.bundle import Bundle


def asked(bundle: Bundle, user_id: str, k: int, **others: Any) -> Slate:
    return decide(Request(user_id, k, now_ms=bundle.as_of_ms + 1, **others), (), bundle)


def post(bundle: Bundle, folder: Path, **body: Any) -> tuple[httpx.Response, list[str]]:
    """The answer, and the items whose impressions were recorded."""
    state = State.open(f"sqlite:///{folder / 'state.db'}")

    async def answered() -> httpx.Response:
        transport = httpx.ASGITransport(Api(Backend(state, bundle)))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.post("/recommend", json={"user_id": "ann", **body})

    answer = asyncio.run(answered())
    shown = list(state.impressions_frame()["item_id"])
    state.close()
    return answer, shown


@pytest.fixture
def some(shop_bundle: Bundle) -> list[str]:
    """Forty available items, in no order."""
    known = np.flatnonzero(shop_bundle.available)
    return [str(item) for item in shop_bundle.items.ids[np.random.default_rng(1).permutation(known)[:40]]]


def test_candidates_are_in_the_order_of_the_whole_catalogue(shop_bundle: Bundle, some: list[str]) -> None:
    for user_id in [*map(str, shop_bundle.users.ids[::50]), "nobody"]:
        everything = [item.item_id for item in asked(shop_bundle, user_id, int(shop_bundle.available.sum())).items]
        slate = asked(shop_bundle, user_id, len(some), candidates=some)
        assert [item.item_id for item in slate.items] == [item for item in everything if item in some]
        assert [item.rank for item in slate.items] == list(range(1, len(some) + 1))
        assert (slate.unranked, slate.notes) == ({}, [])


def test_no_candidate_is_lost(shop_bundle: Bundle, some: list[str], tmp_path: Path) -> None:
    looked_at, refused, gone, *others = some
    catalogue = shop_bundle.catalogue.copy()
    catalogue.loc[gone, "available"] = False
    candidates = ["never-heard-of", looked_at, gone, *others, refused, others[0]]
    sold_out = replace(shop_bundle, catalogue=catalogue)
    answer, shown = post(sold_out, tmp_path, candidates=candidates, item_id=looked_at, exclude=[refused])
    told = answer.json()
    assert sorted(item["item_id"] for item in told["items"]) == sorted(others)
    assert [(item["item_id"], item["why"]) for item in told["unranked"]] == [
        ("never-heard-of", "unknown"),
        (looked_at, "excluded"),
        (gone, "unavailable"),
        (refused, "excluded"),
    ]
    assert shown == [item["item_id"] for item in told["items"]]


def test_with_a_length_only_the_best_come_back(shop_bundle: Bundle, some: list[str], tmp_path: Path) -> None:
    whole, _ = post(shop_bundle, tmp_path, candidates=some)
    best, _ = post(shop_bundle, tmp_path, candidates=some, k=3)
    assert [item["item_id"] for item in best.json()["items"]] == [item["item_id"] for item in whole.json()["items"]][:3]


def test_of_unknown_candidates_none_is_shown_and_all_are_named(shop_bundle: Bundle, tmp_path: Path) -> None:
    answer, shown = post(shop_bundle, tmp_path, candidates=["x", "y"])
    assert (answer.status_code, answer.json()["items"], shown) == (200, [], [])
    assert answer.json()["unranked"] == [{"item_id": "x", "why": "unknown"}, {"item_id": "y", "why": "unknown"}]


@pytest.mark.parametrize("candidates", [[], ["x"] * 501, "x", [1], [""]])
def test_what_is_no_list_of_candidates_is_refused(shop_bundle: Bundle, tmp_path: Path, candidates: Any) -> None:
    answer, shown = post(shop_bundle, tmp_path, candidates=candidates)
    assert (answer.status_code, shown) == (422, [])
    assert answer.json()["error"]["field"].startswith("candidates")
