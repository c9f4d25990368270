"""Opening a data set, and describing one whose figures are solved by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from features.dataset import Dataset
from features.describe import describe, render
from features.errors import InputError, NotFoundError
from features.ingest import ingest


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, NotFoundError, "run `stellar data ingest"),
        ("{", InputError, "must be JSON"),
        ('{"format": 99}', InputError, "must be of format 2, received 99"),
        ('{"format": 1}', InputError, "must be of format 2, received 1; run `stellar data ingest"),
        ('{"format": 2, "tables": {"events": {}}}', InputError, "must list the parts of the logs"),
        ('{"format": 2, "parts": {"events": [{"name": "x"}]}}', InputError, "must list the parts of the logs"),
        (
            '{"format": 2, "parts": {"events": [{"name": "part-00000", "rows": 1, "first_ms": 1, "last_ms": 1, '
            '"digest": "0"}]}}',
            InputError,
            "events/part-00000.parquet is missing from the data set",
        ),
    ],
)
def test_a_folder_that_is_no_dataset(tmp_path: Path, content: str | None, error: type[Exception], words: str) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(error) as raised:
        Dataset.open(tmp_path)
    assert words in str(raised.value)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("described")
    what = [
        # user, item, type, ts, order
        *[("u1", "i1", "view", 1, ""), ("u1", "i1", "purchase", 2, "o1"), ("u1", "i2", "purchase", 2, "o1")],
        *[("u1", "i1", "refund", 3, "o1"), ("u2", "i1", "purchase", 4, ""), ("u2", "i1", "purchase", 5, "")],
        *[("u3", "", "search", 6, ""), ("u2", "i1", "view", 999_999_999, "")],
    ]
    keys = ("user_id", "item_id", "event_type", "ts", "order_id")
    events = [{"event_id": f"e{i}", **dict(zip(keys, map(str, row), strict=True))} for i, row in enumerate(what)]
    items = [{"item_id": f"i{i}", "valid_from": 0, "category": "mugs", "available": True} for i in (1, 2, 3, 4)]
    for name, rows in (("events", events), ("items", items)):
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    report = ingest(folder, "tables", folder / "out", max_reject_share=0.2, now_ms=1_000_000)
    return describe(Dataset.open(report.out))


def test_description_solved_by_hand(described: dict[str, Any]) -> None:
    json.dumps(described)
    assert described["events_by_type"] == {"view": 1, "search": 1, "purchase": 4, "refund": 1}
    assert (described["users"], described["items"], described["cold_items"]) == (3, 4, 2)
    assert described["events_per_user_median"] == 2
    assert described["sparsity"] == 1 - 3 / 12
    assert described["users_with_repeat_orders_share"] == 1 / 2
    # Interactions per item: 4, 1, 0, 0.
    assert described["popularity_gini"] == pytest.approx((3 * 4 + 1 * 1) / (4 * 5))
    assert described["popularity_top_1_percent_share"] == 4 / 5
    assert described["first"] == "1970-01-01T00:00:00.001+00:00"
    events = described["tables"]["events"]
    assert (events["rows"], events["contract"]) == (7, {"ts must not be in the future": 1})
    assert events["missing"]["item_id"] == 1 / 7
    assert events["missing"]["order_id"] == 4 / 7


def test_description_is_shown(described: dict[str, Any]) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(described))
    text = console.export_text()
    for words in ("ts must not be in the future", "0.75", "purchase events", "1970-01-01T00:00:00.001+00:00"):
        assert words in text
