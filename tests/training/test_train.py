"""Training as of an instant: two stages, and nothing of the future."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.dataset import Dataset, table_file
from features.engine import Engine
from features.errors import ConfigError, NotFoundError
from features.ingest import ingest
from features.schema import DAY_MS, EventType
from training.blend import Blend
from training.train import Trained, build_models, train

HORIZON_MS = 20 * DAY_MS


@pytest.fixture
def shop_with_an_absurd_future(shop_data: Dataset, as_of_ms: int, tmp_path: Path) -> Dataset:
    """From the instant on everybody buys one and the same item all the time."""
    folder = Path(shutil.copytree(shop_data.folder, tmp_path / "future"))
    path = table_file(folder, "events") / "part-00000.parquet"
    events = pq.read_table(path)
    before = events.filter(pa.compute.less(events["ts"], as_of_ms))
    template = before.slice(0, 3_000)
    ts = pa.array(as_of_ms + np.arange(3_000), template.schema.field("ts").type)
    changes = {
        "event_id": pa.array([f"future{n}" for n in range(3_000)]),
        "item_id": pa.array([str(before["item_id"].drop_null()[0])] * 3_000),
        "event_type": pa.array([EventType.PURCHASE.value] * 3_000),
        "ts": ts,
        "quantity": pa.array([1_000_000] * 3_000),
    }
    for name, values in changes.items():
        place = template.schema.get_field_index(name)
        template = template.set_column(
            place, template.schema.field(name), values.cast(template.schema.field(name).type)
        )
    pq.write_table(pa.concat_tables([before, template]), path)
    return Dataset.open(folder)


def test_nothing_from_the_instant_on_reaches_any_model(
    trained: Trained, fit_small: Callable[..., Trained], shop_with_an_absurd_future: Dataset
) -> None:
    other = fit_small(shop_with_an_absurd_future)
    assert other.snapshot.digest == trained.snapshot.digest
    assert other.early.digest == trained.early.digest
    assert np.array_equal(other.validation.labels.values, trained.validation.labels.values)
    questions = trained.snapshot.sequences.take(np.arange(0, len(trained.snapshot.users), 5))
    for name, model in trained.models.items():
        for one, two in zip(model.recommend(questions, 20), other.models[name].recommend(questions, 20), strict=True):
            assert np.array_equal(one, two), name
    assert other.curves["transformer"].validation == trained.curves["transformer"].validation


def test_decisions_are_taken_one_horizon_earlier_and_kept(trained: Trained, as_of_ms: int) -> None:
    assert trained.snapshot.as_of_ms == as_of_ms
    assert trained.early.as_of_ms == as_of_ms - HORIZON_MS
    assert (trained.snapshot.sequences.ts < as_of_ms).all()
    assert (trained.early.sequences.ts < as_of_ms - HORIZON_MS).all()
    early, late = trained.decided["champion"], trained.models["champion"]
    assert isinstance(early, Blend) and isinstance(late, Blend)
    assert np.array_equal(early.quiet, late.quiet) and np.array_equal(early.live, late.live)
    assert all(late.parts[name] is trained.models[name] for name in late.parts)
    assert all(early.parts[name] is trained.decided[name] for name in early.parts)
    assert late.live_is_measured
    best = trained.curves["transformer"].best_epoch
    curve = trained.models["transformer"].curve
    assert curve is not None and len(curve.loss) == best
    assert {f"fit_{name}" for name in trained.models} <= trained.seconds.keys()


def test_progress_is_told_from_zero_to_the_end(engine: Engine, shop_data: Dataset, as_of_ms: int) -> None:
    told: list[tuple[str, int, int]] = []
    models = build_models({"best": {"model": "bestsellers"}, "all": {"model": "blend", "parts": ["best"]}})
    train(
        engine, shop_data, models, as_of_ms, HORIZON_MS, lambda stage, done, of, metrics: told.append((stage, done, of))
    )
    assert told == [(stage, done, 1) for stage in ("tripwires", "best", "all", "best, refit") for done in (0, 1)]


def test_without_a_whole_label_window_there_is_nothing_to_decide_on(engine: Engine, shop_data: Dataset) -> None:
    models = build_models({"best": {"model": "bestsellers"}})
    for as_of_ms in (shop_data.first_ms, shop_data.first_ms + HORIZON_MS):
        with pytest.raises(ConfigError, match=r"as_of must leave a label window .*shorter horizon"):
            train(engine, shop_data, models, as_of_ms, HORIZON_MS)
    whole = train(engine, shop_data, models, shop_data.first_ms + HORIZON_MS + 2 * DAY_MS, HORIZON_MS)
    assert len(whole.validation) > 0


def test_blends_come_after_what_they_blend() -> None:
    built = build_models(
        {"both": {"model": "blend", "parts": ["a", "b"]}, "a": {"model": "history"}, "b": {"model": "live", "share": 0}}
    )
    assert list(built) == ["a", "b", "both"]
    assert built["b"].config.share == 0


@pytest.mark.parametrize(
    ("specifications", "error", "message"),
    [
        ({"a": {}}, ConfigError, r"arms\.a\.model is required"),
        ({"a": {"model": "oracle"}}, NotFoundError, "model must be registered, received 'oracle'"),
        ({"a": {"model": "history", "vew": 1}}, ConfigError, "model history: vew is not a known key"),
        ({"a": {"model": "history", "view": "x"}}, ConfigError, "model history: view is not usable"),
        (
            {"a": {"model": "history"}, "both": {"model": "blend", "parts": ["a", "b"]}},
            ConfigError,
            r"arms\.both\.parts must be names of single models, received 'b'; choose from a",
        ),
        (
            {"a": {"model": "blend", "parts": ["b"]}, "b": {"model": "blend", "parts": ["a"]}},
            ConfigError,
            "must be names of single models",
        ),
        ({"t": {"model": "transformer", "width": 16, "heads": 3}}, ConfigError, "must be a multiple of heads 3"),
    ],
)
def test_models_that_cannot_be_built(specifications: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build_models(specifications)


def test_a_shop_without_order_inside_its_visits_still_trains(engine: Engine, tmp_path: Path) -> None:
    """An export of orders: purchases only, one instant per order, items listed after they were first sold."""
    rng = np.random.default_rng(3)
    day = DAY_MS
    start = 1_700_000_000_000
    bought = EventType.PURCHASE.value
    orders = [(user, start + int(rng.integers(0, 60)) * day) for user in range(60) for _ in range(4)]
    events = pd.DataFrame(
        [
            {"event_id": f"{n}-{line}", "user_id": f"u{user}", "item_id": f"i{item}", "ts": ts, "event_type": bought}
            for n, (user, ts) in enumerate(orders)
            for line, item in enumerate(rng.choice(12, 3, replace=False))
        ]
    )
    items = pd.DataFrame({"item_id": [f"i{item}" for item in range(12)], "category": "c", "available": True})
    items["valid_from"] = np.where(items["item_id"] == "i3", start + 59 * day, start - day)
    events.to_csv(tmp_path / "events.csv", index=False)
    items.to_csv(tmp_path / "items.csv", index=False)
    ingest(tmp_path, "tables", tmp_path / "data")
    models = build_models(
        {name: {"model": name} for name in ("bestsellers", "history", "cooccurrence", "live")}
        | {"transformer": {"model": "transformer", "width": 16, "epochs": 1}}
        | {"all": {"model": "blend", "parts": ["bestsellers", "history", "cooccurrence", "live", "transformer"]}}
    )
    trained = train(engine, Dataset.open(tmp_path / "data"), models, start + 50 * day, 10 * day)
    blend = trained.models["all"]
    assert isinstance(blend, Blend) and not blend.live_is_measured
    ids, _ = blend.recommend(trained.snapshot.sequences, 5)
    assert (ids >= 0).all()
