"""From a matplotlib figure to SVG that can stand in a page beside others: named, scalable, always the same bytes."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _XLINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}href"
_LINK = re.compile(r"url\(#([^)]+)\)|^#(.+)$")


@contextmanager
def drawing() -> Iterator[None]:
    """Settings for drawing and writing: text stays text and is never read as a formula, ids depend on content alone."""
    from matplotlib import rc_context

    own = rc_context({"svg.hashsalt": "stellar", "svg.fonttype": "none", "text.parse_math": False})
    with own, warnings.catch_warnings():
        # Only the width of a text is taken from the drawing font; the page's own font shows every script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def to_svg(figure: Figure, name: str, label: str) -> str:
    """One ``<svg role="img">`` without size, in which every id begins with ``name``; to be called while ``drawing``.

    Args:
        name: Unique in the page.
        label: What the picture shows, for those who do not see it.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ET.fromstring(written.getvalue())
    # Its style sheet would hold for the whole page, which has one of its own.
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")]:
            parent.remove(child)
    _rename_ids(root, name)
    for element in root.iter():
        element.tag, element.tail = element.tag.removeprefix(f"{{{_SVG}}}"), None
        if element.text and not element.text.strip():
            element.text = None
        if "style" in element.attrib:
            element.set("style", re.sub(r"font-family:[^;]*;?", "", element.get("style", "")))
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib.update({"role": "img", "aria-label": label})
    return ET.tostring(root, encoding="unicode")


def printable(text: str, limit: int = 0) -> str:
    """``text`` in one line, cut to ``limit``; what XML forbids or turns the direction of reading becomes U+FFFD.

    >>> printable("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    shown = "".join(c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in text)
    shown = " ".join(shown.split())
    return shown if not limit or len(shown) <= limit else f"{shown[: limit - 1]}…"


def _rename_ids(root: ET.Element, name: str) -> None:
    """Drop ids that nothing refers to, and begin all others with ``name``."""
    used = set()
    for element in root.iter():
        if _XLINK in element.attrib:
            element.set("href", element.attrib.pop(_XLINK))
        for key, value in element.attrib.items():
            if key != "id" and (link := _LINK.search(value)):
                old = link[1] or link[2]
                used.add(old)
                element.set(key, value.replace(f"#{old}", f"#{name}-{old}"))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")


__all__ = ["drawing", "printable", "to_svg"]
