"""Contrast of every text with what it stands on, from the page's own style sheet: a cascade in small.

Selectors may be made of tags, classes, ids, attributes, ``:root``, states and descent; anything else on a rule that
sets a colour is an error, so that no colour goes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: WCAG 2.2, success criterion 1.4.3, for text of any size; nothing is excused for being large.
ENOUGH = 4.5

_PART = re.compile(
    r"(?P<tag>[a-z][a-z0-9]*|\*)|\.(?P<class>[\w-]+)|#(?P<id>[\w-]+)|\[(?P<key>[\w-]+)(?:=\"(?P<value>[^\"]*)\")?\]"
)
#: What selectors may look at: texts that are alike in this look alike.
_SEEN = ("class", "id", "style", "data-label")
_STATES = re.compile(r":(?:hover|focus-visible|focus)")


@dataclass(frozen=True)
class Rule:
    """A selector with its declarations; ``order`` decides between equal weights."""

    selector: str
    declarations: dict[str, str]
    order: int

    @property
    def weight(self) -> tuple[int, int, int, int]:
        ids, tags = self.selector.count("#"), len(re.findall(r"(?:^|\s)[a-z]", self.selector))
        return ids, len(re.findall(r"[.\[]|:(?!:)", self.selector)), tags, self.order


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, from 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def low_contrasts(page: Any, medium: str = "") -> list[str]:
    """Texts whose contrast is not enough, where the media query that contains ``medium`` holds."""
    rules = list(_rules("".join(node.own_text for node in page.root.all("style")), medium))
    found: dict[tuple[Any, ...], list[str]] = {}
    for node in page.root.all():
        if node.tag in ("style", "title") or not node.own_text.strip():
            continue
        alike = tuple((each.tag, tuple(each.attrs.get(key) for key in _SEEN)) for each in (node, *node.above()))
        if alike not in found:
            ground = _background(node, rules)
            low = [colour for colour in _colours(node, rules) if contrast(colour, ground) < ENOUGH]
            found[alike] = [f"{node.tag} {node.own_text.strip()[:30]!r}: {colour} on {ground}" for colour in low]
    return [problem for problems in found.values() for problem in problems]


def _rules(style: str, medium: str) -> Iterator[Rule]:
    """The rules that hold, their variables resolved."""
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    plain = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", style)
    blocks = [plain]
    for query, body in re.findall(r"@media([^{]*)\{((?:[^{}]*\{[^{}]*\})*)\s*\}", style):
        if medium and medium in query:
            blocks.append(body)
    variables = dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6})\s*;", style))
    pairs = [pair for block in blocks for pair in re.findall(r"([^{}]+)\{([^{}]*)\}", block)]
    for order, (selectors, body) in enumerate(pairs):
        declared = dict(re.findall(r"([\w-]+):\s*([^;]+?)\s*(?:;|$)", body))
        colours = {
            name: re.sub(r"var\((--[\w-]+)\)", lambda found: variables[found[1]], value)
            for name, value in declared.items()
            if name in ("color", "background", "background-color")
        }
        for value in colours.values():
            assert re.fullmatch(r"#[0-9a-f]{6}", value), f"a colour that is not understood: {value}"
        if colours:
            for selector in selectors.split(","):
                yield Rule(selector.strip(), colours, order)


def _background(node: Any, rules: list[Rule]) -> str:
    for each in (node, *node.above()):
        for name in ("background", "background-color"):
            if declared := _declared(each, name, rules):
                return declared
    return "#ffffff"


def _colours(node: Any, rules: list[Rule]) -> Iterator[str]:
    """The colour of the text, or of each text before it that the style sheet adds."""
    inside = [node, *node.above()]
    if any(each.tag == "svg" for each in inside):
        own = [re.search(r"fill:\s*(#[0-9a-f]{6})", each.attrs.get("style", "")) for each in inside]
        yield next((found[1] for found in own if found), "#000000")
        return
    yield next((colour for each in inside if (colour := _declared(each, "color", rules))), "#000000")
    if colour := _declared(node, "color", rules, pseudo="::before"):
        yield colour


def _declared(node: Any, name: str, rules: list[Rule], pseudo: str = "") -> str | None:
    holding = [
        rule
        for rule in rules
        if name in rule.declarations and (rule.selector.endswith("::before")) == bool(pseudo) and _matches(node, rule)
    ]
    return max(holding, key=lambda rule: rule.weight).declarations[name] if holding else None


def _matches(node: Any, rule: Rule) -> bool:
    *above, last = _STATES.sub("", rule.selector.removesuffix("::before")).split()
    if not _is(node, last):
        return False
    ancestors = node.above()
    return all(any(_is(each, part) for each in ancestors) for part in reversed(above))


def _is(node: Any, compound: str) -> bool:
    if compound == ":root":
        return bool(node.tag == "html")
    rest = _PART.sub("", compound)
    assert not rest, f"a selector that is not understood: {compound}"
    for part in _PART.finditer(compound):
        if part["tag"] not in (None, "*", node.tag) or (part["class"] and part["class"] not in node.classes):
            return False
        if part["id"] and node.attrs.get("id") != part["id"]:
            return False
        if part["key"] and node.attrs.get(part["key"]) != (part["value"] or node.attrs.get(part["key"])):
            return False
    return True
