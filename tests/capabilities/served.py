"""A small shop whose events are known one by one, trained on what happened before an instant, and served after it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd

from features.dataset import Dataset
from features.engine import Engine
from features.remember import remember
from features.schema import DAY_MS
from features.snapshot import Snapshot, build_snapshot
from serving.posted import EARLIEST_MS
from serving.service import Api, Backend
from serving.state import State
from tests.features.by_hand import Tables, write
from training.blend import Blend
from training.bundle import Bundle, save_bundle
from training.recommender import TrainingSet
from training.train import build_models, train

NOW = 20_000 * DAY_MS
PEOPLE = ("ann", "bob", "cleo", "dan", "eve", "finn", "gus", "hal", "ida", "jon", "kim", "leo")
REFUSER, VISITOR = "pat", "tablet"
ATTRIBUTES = ("country", "tier")
MODELS: dict[str, dict[str, Any]] = {"told": {"model": "bestsellers", "minimum_sales": 1, "minimum_buyers": 1}}


def event(name: str, kind: str, user: str, ts: int, item: str | None = None, **more: Any) -> dict[str, Any]:
    return {"event_id": name, "event_type": kind, "user_id": user, "ts": ts, "item_id": item, **more}


def shop() -> Tables:
    """Everybody does a bit of everything for forty days; the visitor is known to be ann, and pat refuses."""
    rng = np.random.default_rng(3)
    kinds = ["view", "view", "view", "add_to_cart", "purchase", "visit"]
    events = [event("merge", "identify", "ann", NOW - 5 * DAY_MS, anonymous_id=VISITOR)]
    for number in range(600):
        user = str(rng.choice([*PEOPLE, REFUSER, VISITOR]))
        ts, kind = NOW - 1 - int(rng.integers(40 * DAY_MS)), str(rng.choice(kinds))
        item = None if kind == "visit" else f"i{rng.integers(9)}"
        order = f"o{number // 40}" if kind == "purchase" else None
        channel = json.dumps({"channel": "web"}) if rng.random() < 0.3 else None
        events.append(
            event(f"e{number}", kind, user, ts, item, order_id=order, unit_price_cents=500, properties=channel)
        )
    items = [
        {"item_id": f"i{number}", "valid_from": 1, "category": f"c{number % 3}", "available": True, "price_cents": 600}
        for number in range(9)
    ]
    users = [
        {"user_id": user, "valid_from": 1, "country": "CH", "tier": "gold" if user < "d" else None, "consents": None}
        for user in PEOPLE
    ]
    users.append({"user_id": REFUSER, "valid_from": 1, "country": "DE", "tier": None, "consents": "email"})
    return {"events": events, "items": items, "users": users}


def trained(
    folder: Path, tables: Tables, models: Mapping[str, Mapping[str, Any]] = MODELS, segments: Any = None
) -> tuple[Bundle, Snapshot]:
    """The bundle of the last of ``models`` as of ``NOW``, and the snapshot that it was made from."""
    folder.mkdir(parents=True, exist_ok=True)
    with Engine.duckdb(threads=1) as engine:
        data = write(folder / "data", [tables], ATTRIBUTES)
        found = train(engine, data, build_models(models), NOW, 10 * DAY_MS, segments=segments)
    name, model = list(found.models.items())[-1]
    blend = model if isinstance(model, Blend) else Blend.of_one(name, model, found.snapshot)
    return save_bundle(folder / "bundle", blend, found.snapshot, arm=name, policy={}), found.snapshot


def bundle_as_of(data: Dataset, as_of_ms: int, folder: Path) -> Bundle:
    """What was bought before an instant, ranked by how often, and all that the service knows besides."""
    with Engine.duckdb(threads=1) as engine:
        snapshot = remember(engine, data, build_snapshot(engine, data, as_of_ms))
    model = build_models({"popular": {"model": "bestsellers", "by": []}})["popular"].fit(TrainingSet(snapshot))
    return save_bundle(folder, Blend.of_one("popular", model, snapshot), snapshot, arm="popular", policy={})


def next_snapshot(folder: Path, tables: Tables, state: State, border_ms: int) -> Snapshot:
    """What is known at the next border of everything before ``NOW`` and of all that the service took in since."""
    since: Tables = {"events": rows(state.events_frame()), "impressions": rows(state.impressions_frame())}
    with Engine.duckdb(threads=1) as engine:
        return build_snapshot(engine, write(folder, [tables, since], ATTRIBUTES), border_ms)


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[assignment]
    return records


class Service:
    """A service whose clock stands still until it is told to go on."""

    def __init__(self, bundle: Bundle, state: State, after_ms: int = 3_600_000) -> None:
        assert bundle.as_of_ms > EARLIEST_MS
        self.state, self.bundle, self.now_ms = state, bundle, bundle.as_of_ms + after_ms
        self.api = Api(Backend(state, bundle, clock=lambda: self.now_ms))

    def send(self, method: str, path: str, **content: Any) -> httpx.Response:
        async def sent() -> httpx.Response:
            transport = httpx.ASGITransport(self.api)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.request(method, path, **content)

        return asyncio.run(sent())

    def post(self, kind: str, user: str, item: str | None = None, before_s: int = 1, **more: Any) -> None:
        """One event, some seconds ago."""
        told = {"event_type": kind, "user_id": user, "ts": self.now_ms - 1_000 * before_s, **more}
        answer = self.send("POST", "/events", json=told | ({} if item is None else {"item_id": item}))
        assert answer.status_code == 200, answer.text

    def recommend(self, user: str, **more: Any) -> dict[str, Any]:
        answer = self.send("POST", "/recommend", json={"user_id": user, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def related(self, *anchors: str, **more: Any) -> dict[str, Any]:
        answer = self.send("POST", "/related", json={"anchors": list(anchors), **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def profile(self, user: str) -> dict[str, Any]:
        answer = self.send("GET", "/profile", params={"user_id": user})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def apart(profile: Mapping[str, Any], matrix: pd.DataFrame, but: Sequence[str] = ()) -> list[tuple[str, Any, Any]]:
    """Features of the profile that are not those of the person's row; ``but`` those whose names begin so."""
    row, found = matrix.loc[profile["person_id"]], []
    for name, told in profile["features"].items():
        if name.startswith(tuple(but)) or name not in matrix:
            continue
        value = None if pd.isna(row[name]) or row[name] == "missing" else row[name]
        if told["value"] != (value.item() if isinstance(value, np.generic) else value):
            found.append((name, told["value"], value))
    return found
