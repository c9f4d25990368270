"""B14, the features: late, duplicated and reordered deliveries give the snapshot of one delivery in order."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.schema import DAY_MS
from stellar import app

NOW, TODAY, YESTERDAY = 20_000 * DAY_MS, "2024-10-04", "2024-10-03"

Rows = list[dict[str, Any]]


def stellar(*words: object) -> str:
    """Run a verb; what it printed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def events() -> Rows:
    """Of 12 users over 40 days, with orders and sessions of several events; the last at the instant asked of."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(150):
        kind = str(rng.choice(["view", "view", "add_to_cart", "purchase", "refund", "search"]))
        row = {"event_id": f"e{number}", "user_id": f"u{rng.integers(12)}", "event_type": kind}
        ts = NOW - 1 - int(rng.integers(40)) * DAY_MS - int(rng.integers(4)) * 1_500_000
        order = f"o{rng.integers(20)}" if kind == "purchase" else None
        rows.append({**row, "item_id": f"i{rng.integers(6)}", "ts": ts, "order_id": order, "unit_price_cents": 700})
    late = {"user_id": "u0", "item_id": "i0", "order_id": None, "unit_price_cents": None}
    identity = {**late, "event_type": "identify", "anonymous_id": "u11", "ts": NOW - 9 * DAY_MS}
    after = {**late, "event_type": "view", "anonymous_id": None, "ts": NOW, "event_id": "after"}
    return [*({**row, "anonymous_id": None} for row in rows), {**identity, "event_id": "identified"}, after]


def delivered(folder: Path, rows: Rows, *, first: bool) -> Path:
    """A folder as the shop gives it; items come with the first."""
    folder.mkdir()
    pd.DataFrame(rows).to_parquet(folder / "events.parquet", index=False)
    if first:
        items = [{"item_id": f"i{n}", "valid_from": 1, "category": f"c{n % 2}", "available": True} for n in range(6)]
        pd.DataFrame(items).to_parquet(folder / "items.parquet", index=False)
    return folder


def digest(data: Path, out: Path, *options: object) -> str:
    """Of the snapshot that `stellar features build` makes of a data set."""
    stellar("features", "build", data, "--out", out, "--json", f"{out}.json", "--as-of", TODAY, *options)
    told: dict[str, Any] = json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))
    return str(told["digest"])


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of everything at once, each event once and in order of time."""
    folder: Path = tmp_path_factory.mktemp("in_order")
    rows = sorted(events(), key=lambda row: row["ts"])
    stellar("data", "ingest", delivered(folder / "all", rows, first=True), "--out", folder / "data")
    return digest(folder / "data", folder / "snapshot")


@pytest.mark.parametrize("seed", [0, 1])
def test_late_duplicated_and_reordered_events(in_order: str, tmp_path: Path, seed: int) -> None:
    """Three deliveries in any order of time, each with a third of what came before again."""
    rng = np.random.default_rng(seed)
    shuffled = [events()[place] for place in rng.permutation(len(events()))]
    data, cuts = tmp_path / "data", [0, 60, 100, len(shuffled)]
    for number, (start, end) in enumerate(pairwise(cuts)):
        rows = [*shuffled[start:end], *(shuffled[place] for place in rng.integers(start, size=start // 3))]
        folder = delivered(tmp_path / f"delivery {number}", rows, first=number == 0)
        if number == 0:
            stellar("data", "ingest", folder, "--out", data)
            # What was known, and published, before the rest came.
            early = tmp_path / "early"
            stellar("features", "build", data, "--out", early, "--as-of", YESTERDAY)
        else:
            stellar("data", "append", data, folder)
    assert digest(data, tmp_path / "snapshot", "--since", early) == in_order
    if seed == 0:
        assert digest(data, tmp_path / "from nothing") == in_order


def test_when_it_happened_does_matter(in_order: str, tmp_path: Path) -> None:
    """So that the property above is not true of features that read no times."""
    rows = events()
    rows[0], rows[1] = {**rows[0], "ts": rows[0]["ts"] - DAY_MS}, {**rows[1], "ts": rows[1]["ts"] - 3 * DAY_MS}
    stellar("data", "ingest", delivered(tmp_path / "all", rows, first=True), "--out", tmp_path / "data")
    assert digest(tmp_path / "data", tmp_path / "snapshot") != in_order
