"""The dictionary as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from features.dictionary.entries import Entry

_LEGENDS = {"user": "Columns of the user matrix", "item": "Columns of the item matrix"}


def dictionary_html(entries: Sequence[Entry]) -> str:
    """A page with a table per matrix; no script, nothing loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("features.dictionary"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    tables = [(name, legend, [entry for entry in entries if entry.entity == name]) for name, legend in _LEGENDS.items()]
    return environment.get_template("dictionary.html").render(tables=tables)


def write_dictionary(entries: Sequence[Entry], path: Path) -> None:
    """Write the page, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dictionary_html(entries), encoding="utf-8")


__all__ = ["dictionary_html", "write_dictionary"]
