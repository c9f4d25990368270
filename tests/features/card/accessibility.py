"""What a page must keep so that everybody can read it, checked on its tree: WCAG 2.2 as far as a tree shows it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
FIELDS = ("input", "select", "textarea")
FOCUSABLE = ("a", "button", "summary", *FIELDS)
REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for", "headers")
EXTERNAL = re.compile(r"^\s*(?:[a-z]+:)?//|^\s*(?:https?|ftp|javascript|data):", re.IGNORECASE)

#: Each rule looks at a page and yields what breaks it.
Rule = Callable[[Any], Iterator[str]]


def problems(page: Any) -> list[str]:
    """All that is wrong with a page."""
    return [*page.problems, *(problem for rule in RULES for problem in rule(page))]


def document(page: Any) -> Iterator[str]:
    root = page.root
    if page.doctype.lower() != "doctype html":
        yield "no doctype"
    if not any(node.attrs.get("lang") for node in root.all("html")):
        yield "html has no lang"
    if [bool(title.text) for title in root.all("title") if title.parent.tag == "head"] != [True]:
        yield "not one title"
    if "width=device-width" not in str([meta.attrs.get("content") for meta in root.all("meta")]):
        yield "no viewport"


def headings(page: Any) -> Iterator[str]:
    levels = [int(node.tag[1]) for node in page.root.all(*HEADINGS)]
    if levels.count(1) != 1 or levels[:1] != [1]:
        yield f"not one h1 in front: {levels}"
    for before, after in pairwise(levels):
        if after > before + 1:
            yield f"h{after} follows h{before}"
    yield from (f"empty {node.tag}" for node in page.root.all(*HEADINGS) if not node.text)


def landmarks(page: Any) -> Iterator[str]:
    counted = Counter(node.tag for node in page.root.all("main", "header", "footer", "nav"))
    if counted != {"main": 1, "header": 1, "footer": 1, "nav": 1}:
        yield f"landmarks {dict(counted)}"
    for node in page.root.all("nav", "section"):
        if not node.attrs.get("aria-label") and not node.attrs.get("aria-labelledby"):
            yield f"{node.tag} has no name"


def skip_link(page: Any) -> Iterator[str]:
    first = next(node for node in page.root.all() if node.tag in FOCUSABLE or "tabindex" in node.attrs)
    main = next(page.root.all("main"))
    if first.attrs.get("href") != f"#{main.attrs.get('id')}":
        yield "the first stop is no link to main"


def ids_and_links(page: Any) -> Iterator[str]:
    ids = Counter(node.attrs["id"] for node in page.root.all() if "id" in node.attrs)
    yield from (f"id {name!r} is there {n} times" for name, n in ids.items() if n > 1 or not name.strip())
    for node in page.root.all():
        for name, value in node.attrs.items():
            wanted = value.split() if name in REFERENCES else re.findall(r"url\(['\"]?#([^)'\"]*)", value)
            if name in ("href", "xlink:href"):
                if not value.startswith("#"):
                    yield f"link leaves the page: {value!r}"
                wanted = [value[1:]]
            yield from (f"{node.tag} {name} leads nowhere: {one!r}" for one in wanted if one not in ids)


def self_contained(page: Any) -> Iterator[str]:
    for node in page.root.all():
        if node.tag in ("script", "iframe", "object", "embed", "link", "base", "form", "foreignobject"):
            yield f"<{node.tag}>"
        for name, value in node.attrs.items():
            if name.startswith("on") or name in ("src", "srcset", "action") or EXTERNAL.search(value):
                yield f"<{node.tag} {name}={value!r}>"
        if node.tag == "style" and re.search(r"@import|url\(|expression", node.own_text):
            yield "style loads something"


def names(page: Any) -> Iterator[str]:
    labelled = {node.attrs.get("for") for node in page.root.all("label")}
    for node in page.root.all():
        named = node.attrs.get("aria-label") or node.attrs.get("aria-labelledby")
        if node.tag == "img" and "alt" not in node.attrs:
            yield "img has no alt"
        if node.tag == "svg" and (node.attrs.get("role") != "img" or not named):
            yield "svg has no role or name"
        if node.tag in ("a", "button", "summary") and not node.text and not named:
            yield f"{node.tag} has no text"
        if node.tag in FIELDS and not named and node.attrs.get("id") not in labelled:
            yield f"{node.tag} has no label"
        if "tabindex" in node.attrs and node.tag != "main" and (not named or not node.attrs.get("role")):
            yield f"{node.tag} can be focused and has no role or name"
        if int(node.attrs.get("tabindex", 0)) > 0:
            yield "tabindex above 0"
        if node.attrs.get("aria-hidden") == "true" and (
            node.text or any(x.tag in FOCUSABLE or "tabindex" in x.attrs for x in node.all())
        ):
            yield f"hidden {node.tag} says something"


def tables(page: Any) -> Iterator[str]:
    for table in page.root.all("table"):
        caption = [child.text for child in table.children if child.tag == "caption"]
        if len(caption) != 1 or not caption[0]:
            yield "table has no caption"
        if any(not cell.text for cell in table.all("th")):
            yield f"empty header in {caption}"
        if any(cell.attrs.get("scope") != "col" for head in table.all("thead") for cell in head.all("th", "td")):
            yield f"a column of {caption} has no scope"
        rows = [row for body in table.all("tbody") for row in body.all("tr")]
        if any([cell.attrs.get("scope") for cell in row.all("th")] != ["row"] for row in rows):
            yield f"a row of {caption} has no header"
        if len({len(row.children) for row in table.all("tr")}) != 1 or not rows:
            yield f"rows of {caption} differ in length, or there are none"
        roles = {tag: {node.attrs.get("role") for node in table.all(tag)} for tag in ("table", "tr", "td", "tbody")}
        if "stacked" in table.classes and roles != {
            "table": {"table"},
            "tr": {"row"},
            "td": {"cell"},
            "tbody": {"rowgroup"},
        }:
            yield f"{caption} loses its roles where it is stacked"


def figures(page: Any) -> Iterator[str]:
    for figure in page.root.all("figure"):
        if not any(child.tag == "figcaption" and child.text for child in figure.children):
            yield "figure has no caption"
        if not list(figure.all("svg", "img")) or not list(figure.all("table")):
            yield "figure has no picture or no table with the same numbers"
    for details in page.root.all("details"):
        if not details.children or details.children[0].tag != "summary":
            yield "details do not begin with a summary"


def lists(page: Any) -> Iterator[str]:
    allowed = {"ul": {"li"}, "ol": {"li"}, "dl": {"div", "dt", "dd"}, "tr": {"th", "td"}}
    for node in page.root.all(*allowed):
        if {child.tag for child in node.children} - allowed[node.tag]:
            yield f"{node.tag} holds {[child.tag for child in node.children]}"


RULES: tuple[Rule, ...] = (
    document,
    headings,
    landmarks,
    skip_link,
    ids_and_links,
    self_contained,
    names,
    tables,
    figures,
    lists,
)
