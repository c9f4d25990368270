"""The page: readable by everybody, self-contained, safe whatever the data say, and always the same."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from features.card.card import data_card
from features.card.page import card_html, default_page, write_card
from features.card.plots import AMBER, BLUE, INK, RED, SOFT
from features.dataset import Dataset
from features.describe import render
from features.engine import Engine
from features.home import home
from tests.features.card.accessibility import RULES, problems
from tests.features.card.contrast import contrast, low_contrasts

MEDIA = ("", "max-width", "print")

EVIL = "</title><script>alert('x')</script><img src=x onerror=\"alert(1)\">&amp; $\\frac{1 \u202e\x01{{ 7 * 7 }}"


def test_everybody_can_read_it(example: Any, read_page: Any) -> None:
    page = read_page(example.html)
    assert problems(page) == []
    for medium in MEDIA:
        assert low_contrasts(page, medium) == []


DEFECTS = {
    "id 'main' is there 2 times": ("<footer>", '<footer id="main">'),
    "a href leads nowhere: 'nowhere'": ('href="#drift"', 'href="#nowhere"'),
    "link leaves the page: 'https://x.org'": ('href="#drift"', 'href="https://x.org"'),
    "section aria-labelledby leads nowhere: 'gone'": (
        '<section aria-labelledby="drift"',
        '<section aria-labelledby="gone"',
    ),
    "html has no lang": (' lang="en"', ""),
    "not one title": ("<title>", "<title></title><title>"),
    "h4 follows h2": ("<h3 ", "<h4 "),
    "svg has no role or name": ('role="img"', ""),
    "a column of ['Rows of each table'] has no scope": ('<th scope="col" class="number">Read', "<th>Read"),
    "table has no caption": ('<caption id="rows-caption">Rows of each table</caption>', '<i id="rows-caption"></i>'),
    "<script>": ("<footer>", "<script></script><footer>"),
    "style loads something": ("<style>", "<style>@import 'x.css';"),
    "</main> closes <section>": ("</section>\n</main>", "</main>"),
    "the first stop is no link to main": ('<a class="skip" href="#main">', '<a class="skip" href="#learn">'),
    "figure has no caption": ("<figcaption>Events by type</figcaption>", ""),
    "landmarks {'header': 1, 'nav': 1, 'main': 1}": ("footer>", "div>"),
    "ul holds ['div', 'li', 'li', 'li', 'li', 'li', 'li', 'li']": (
        '<ul class="wide">\n<li>',
        '<ul class="wide"><div></div>\n<li>',
    ),
}


@pytest.mark.parametrize("problem", DEFECTS)
def test_the_check_finds_planted_defects(problem: str, shop_html: str, read_page: Any) -> None:
    good, bad = DEFECTS[problem]
    assert good in shop_html
    assert problem in problems(read_page(shop_html.replace(good, bad)))


def test_the_check_finds_a_planted_low_contrast(shop_html: str, read_page: Any) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)
    faint = read_page(shop_html.replace("--soft: #4a5a6a", "--soft: #8a9aaa"))
    assert any("'Events'" in low for low in low_contrasts(faint))
    drawn = read_page(shop_html.replace("fill: #16212e", "fill: #999999"))
    assert any(low.startswith("text") and "#999999" in low for low in low_contrasts(drawn))
    assert len(RULES) == len({rule.__name__ for rule in RULES})


@pytest.mark.parametrize("colour", [INK, SOFT, BLUE, AMBER, RED])
def test_what_is_drawn_stands_out(colour: str) -> None:
    assert contrast(colour, "#ffffff") >= 3


def poisoned(card: dict[str, Any]) -> dict[str, Any]:
    """The card with every name that comes from outside replaced by something hostile."""
    evil = copy.deepcopy(card)
    evil |= {"name": EVIL, "source": EVIL, "description": EVIL, "digest": EVIL, "policies": {EVIL: EVIL}}
    evil["attributes"] = [EVIL]
    for table in evil["tables"].values():
        table["missing"] = {EVIL + column: 0.5 for column in table["missing"]}
        table["policy"] = table["contract"] = {EVIL: 1}
    for feature in evil["drift"]["features"]:
        feature["feature"] = EVIL + feature["feature"]
    evil["drift"]["only_first"] = [EVIL]
    return evil


def test_nothing_in_the_data_becomes_markup(shop_card: Any, read_page: Any) -> None:
    html = card_html(poisoned(shop_card))
    page = read_page(html)
    assert problems(page) == []
    assert "<script" not in html
    assert "\x01" not in html
    assert "\u202e" not in html
    ((case, _),) = page.table("policies")
    assert case.startswith("</title><script>alert('x')</script>")
    assert "{{ 7 * 7 }}" in case


def test_nothing_in_the_data_breaks_the_terminal(shop_card: Any) -> None:
    evil = poisoned(shop_card)
    evil["tables"]["events"]["contract"] = {"[/bold] of [red]": 1}
    console = Console(width=300, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(evil))
    assert "[/bold] of [red]" in console.export_text()


def test_hostile_rows_end_up_as_text(make_dataset: Any, engine: Engine, read_page: Any) -> None:
    """From the rows to the page: categories become names of features, attributes become columns."""
    events = [
        {"event_id": f"e{i}", "user_id": f"u{i}", "item_id": "i", "event_type": "view", "ts": 1 + i * 10**9}
        for i in range(9)
    ]
    items = [
        {"item_id": "i", "valid_from": 0, "category": "<script>alert(1)</script>", "available": True, "title": EVIL}
    ]
    users = [{"user_id": f"u{i}", "valid_from": 0, "</style><b>x": "<i>y"} for i in range(9)]
    shown = {"surface": "<b>", "score": 1.0, "level": 0, "arm": "</td>", "bundle_digest": "<i>", "rank": 1}
    impressions = [{**shown, "request_id": "<u>", "user_id": "u1", "item_id": "i", "propensity": 0.5, "ts": 2}]
    card = data_card(
        engine, make_dataset({"events": events, "items": items, "users": users, "impressions": impressions})
    )
    html = card_html(card)
    page = read_page(html)
    assert problems(page) == []
    assert ["impressions", "1", "0", "0", "1"] in page.table("rows")
    assert "<script" not in html
    assert "&lt;/style&gt;&lt;b&gt;x" in html
    # A slash begins a subcategory; the affinity is for the top one.
    assert any("<script>alert(1)<" in feature["feature"] for feature in card["drift"]["features"])


def test_one_event_makes_a_page(make_dataset: Any, engine: Engine, read_page: Any) -> None:
    search = {"event_id": "e", "user_id": "u", "event_type": "search", "ts": 1, "query": "x"}
    card = data_card(engine, make_dataset({"events": [search]}))
    assert card["drift"] == {"unknown": "all events are of one instant"}
    assert card["sparsity"] is None
    page = read_page(card_html(card))
    assert problems(page) == []
    assert "Drift cannot be measured: all events are of one instant." in page.root.text


def test_the_page_follows_from_the_json(shop_card: Any, shop_html: str) -> None:
    assert card_html(json.loads(json.dumps(shop_card))) == shop_html


def test_the_page_is_the_same_in_another_process(shop_card: Any, shop_html: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(shop_card), encoding="utf-8")
    code = (
        "import json, sys; from pathlib import Path; from features.card.page import card_html;"
        "sys.stdout.reconfigure(encoding='utf-8', newline='');"
        "print(card_html(json.loads(Path(sys.argv[1]).read_text(encoding='utf-8'))), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "card.json")],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == shop_html


def test_every_table_of_the_page_is_as_wide_as_its_head(shop_html: str, read_page: Any) -> None:
    names = [caption.attrs["id"].removesuffix("-caption") for caption in read_page(shop_html).root.all("caption")]
    assert {"verdicts", "needs", "rows", "timeline", "types", "users", "popularity", "missing", "drift"} <= set(names)


def test_verdicts_stand_in_the_page(shop_card: Any, shop_html: str, read_page: Any) -> None:
    rows = read_page(shop_html).table("verdicts")
    assert len(rows) == len(shop_card["learnable"])
    for row, answer in zip(rows, shop_card["learnable"], strict=True):
        assert row[0].startswith(answer["title"])
        assert (row[1], row[4]) == (answer["verdict"], answer["reason"])
        need = answer["needs"][answer["decided_by"]]
        if need["unit"] == "count":
            assert row[2] == f"{need['found']:,} {need['what']}"
            assert row[3] == f"weakly: {need['weakly']:,} firmly: {need['yes']:,}"


def test_drift_stands_in_the_page(shop_card: Any, shop_html: str, read_page: Any) -> None:
    rows = read_page(shop_html).table("drift")
    features = shop_card["drift"]["features"]
    assert [row[:2] for row in rows] == [[feature["feature"], f"{feature['psi']:.3f}"] for feature in features]


def test_pictures_hold_no_style_of_their_own_page(shop_html: str) -> None:
    assert shop_html.count("<style") == 1
    assert len(re.findall(r"<svg ", shop_html)) == 5


def test_writing(shop_card: Any, shop_html: str, shop_data: Dataset, tmp_path: Path) -> None:
    html, json_file = tmp_path / "new" / "card.html", tmp_path / "other" / "card.json"
    write_card(shop_card, html, json_file)
    assert html.read_text(encoding="utf-8") == shop_html
    assert json.loads(json_file.read_text(encoding="utf-8")) == shop_card
    write_card(shop_card, None, None)
    page = default_page(shop_data)
    assert page.is_relative_to(home() / "cards")
    assert page.name == f"shop-{shop_data.digest[:12]}.html"
    assert default_page(shop_data, 5).name == f"shop-{shop_data.digest[:12]}-5.html"


def test_the_terminal_tells_the_verdicts(shop_card: Any) -> None:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(shop_card))
    text = console.export_text()
    for answer in shop_card["learnable"]:
        assert answer["title"] in text
