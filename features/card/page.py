"""The card as one page: everything in it comes from the JSON content, and every text is escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from features.card import plots, views, wording
from features.card.questions.need import SOURCES
from features.card.svg import printable
from features.dataset import Dataset
from features.home import home

_TEMPLATES = "templates"


def card_html(card: Mapping[str, Any]) -> str:
    """A self-contained page: no script, nothing loaded from elsewhere, plots as SVG within it.

    Args:
        card: What ``features.card.card.data_card`` returns, or the same read from JSON.
    """
    loader = PackageLoader("features.card", _TEMPLATES)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"thousands": wording.count, "percent": wording.share}
    style = (Path(__file__).parent / _TEMPLATES / "card.css").read_text(encoding="utf-8")
    return environment.get_template("card.html").render(
        card=card,
        style=Markup(style),
        sources=SOURCES,
        summary=views.summary(card),
        tally=views.tally(card),
        figures={name: _figure(name, card) for name in ("timeline", "types", "users", "popularity", "drift")},
        tables=views.tables(card),
        complete=views.complete(card),
    )


def write_card(card: Mapping[str, Any], html: Path | None, json_file: Path | None) -> None:
    """Write the page and the JSON content to those of the files that are named, making their folders."""
    for path in (html, json_file):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if html is not None:
        html.write_text(card_html(card), encoding="utf-8")
    if json_file is not None:
        text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
        json_file.write_text(text + "\n", encoding="utf-8")


def default_page(dataset: Dataset, as_of_ms: int | None = None) -> Path:
    """Where a data set's page goes if nobody says otherwise: under the home folder, by folder name and digest."""
    instant = "" if as_of_ms is None else f"-{as_of_ms}"
    return home() / "cards" / f"{dataset.folder.resolve().name}-{dataset.digest[:12]}{instant}.html"


def _figure(name: str, card: Mapping[str, Any]) -> Markup | None:
    """A picture as markup; None where there is nothing to draw."""
    label = views.label(name, card)
    match name:
        case "timeline":
            drawn = plots.timeline_plot(card["timeline"], label)
        case "types":
            drawn = plots.types_plot(card["events_by_type"], label)
        case "users":
            drawn = plots.users_plot(card["users_by_interactions"], label)
        case "popularity" if card["popularity_curve"]:
            drawn = plots.popularity_plot(card["popularity_curve"], label)
        case "drift" if card["drift"].get("features"):
            drawn = plots.drift_plot(card["drift"]["features"], label)
        case _:
            return None
    return Markup(drawn)


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


__all__ = ["card_html", "default_page", "write_card"]
