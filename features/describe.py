"""What a data set holds, in numbers: how many, from when to when, how sparse, how skewed, what is missing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from features.card.drift import READINGS
from features.card.figures import figures
from features.card.tables import Tables
from features.card.wording import quantity
from features.dataset import Dataset
from features.engine import Engine

#: What is no figure.
_TITLE = ("source", "digest", "name", "description", "format", "as_of_ms")


def describe(dataset: Dataset) -> dict[str, Any]:
    """The figures of ``features.card.figures``; a whole card also says what can be learned, and what drifts."""
    with Engine.duckdb() as engine:
        return figures(engine, dataset, Tables.of(engine, dataset))


def render(description: dict[str, Any]) -> RenderableType:
    """What ``describe`` or ``features.card.card.data_card`` returns, as tables for the terminal."""
    rows = Table("table", "rows", "rejected", "added", "missing values", title="Tables")
    reasons = Table("table", "why", "reason", "rows", title="Rejected rows")
    for name, table in description["tables"].items():
        missing = ", ".join(f"{column} {share:.0%}" for column, share in table["missing"].items() if share)
        rows.add_row(
            name, f"{table['rows']:,}", f"{table['rejected']:,}", f"{table['added']:,}", escape(missing) or "none"
        )
        for kind in ("policy", "contract"):
            for reason, count in table[kind].items():
                reasons.add_row(name, kind, escape(reason), f"{count:,}")
    numbers = Table("figure", "value", title=f"{description['source']} {description['digest'][:12]}")
    for name, value in description.items():
        if name not in _TITLE and value is not None and _is_plain(value):
            numbers.add_row(name.replace("_", " "), _shown(value))
    for event_type, count in description["events_by_type"].items():
        numbers.add_row(f"{event_type} events", f"{count:,}")
    for reading, count in _drift(description).items():
        numbers.add_row(f"features whose drift is {reading}", f"{count:,}")
    parts = [rows, *([reasons] if reasons.row_count else []), numbers]
    return Group(*parts, *([_verdicts(description["learnable"])] if "learnable" in description else []))


def _verdicts(answers: list[dict[str, Any]]) -> Table:
    table = Table("question", "verdict", "found", "reason", title="What can be learned")
    for answer in answers:
        need = answer["needs"][answer["decided_by"]]
        found = quantity(need["found"], need["unit"])
        table.add_row(answer["title"], answer["verdict"], f"{found} ({need['what']})", answer["reason"])
    return table


def _drift(description: dict[str, Any]) -> dict[str, int]:
    features = description.get("drift", {}).get("features", [])
    counted = Counter(feature["reading"] for feature in features)
    return {reading: counted[reading] for reading in READINGS} if features else {}


def _is_plain(value: Any) -> bool:
    return not isinstance(value, dict | list) or (isinstance(value, list) and all(isinstance(x, str) for x in value))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return escape(", ".join(value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


__all__ = ["describe", "render"]
