"""Pages as trees, read with the standard library alone, and data sets as files that SQL can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest

from features.card.card import data_card
from features.card.page import card_html
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest

VOID = {"meta", "br", "hr", "img", "input", "link"}


@dataclass
class Node:
    """An element: what stands directly in it, and what it stands in."""

    tag: str
    attrs: dict[str, str]
    parent: Node | None = None
    content: list[Node | str] = field(default_factory=list)

    @property
    def children(self) -> list[Node]:
        return [part for part in self.content if isinstance(part, Node)]

    @property
    def own_text(self) -> str:
        """What stands directly in it."""
        return "".join(part for part in self.content if isinstance(part, str))

    def all(self, *tags: str) -> Iterator[Node]:
        """This node and all below it, of the tags if any are given."""
        if not tags or self.tag in tags:
            yield self
        for child in self.children:
            yield from child.all(*tags)

    def above(self) -> Iterator[Node]:
        """What it stands in, from the inside outwards."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    @property
    def text(self) -> str:
        """All text in it, in one line."""
        return " ".join(" ".join(part if isinstance(part, str) else part.text for part in self.content).split())

    @property
    def classes(self) -> set[str]:
        return set(self.attrs.get("class", "").split())


class TreeBuilder(HTMLParser):
    """Builds a tree and notes what does not nest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("document", {})
        self.open = [self.root]
        self.problems: list[str] = []
        self.doctype = ""

    def handle_decl(self, decl: str) -> None:
        self.doctype = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = self._add(tag, attrs)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1].tag != tag:
            self.problems.append(f"</{tag}> closes <{self.open[-1].tag}>")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)

    def _add(self, tag: str, attrs: list[tuple[str, str | None]]) -> Node:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.problems.append(f"<{tag}> has an attribute twice")
        node = Node(tag, {name: value or "" for name, value in attrs}, self.open[-1])
        self.open[-1].content.append(node)
        return node


@dataclass
class Page:
    """A parsed page; ``problems`` are about its nesting."""

    root: Node
    doctype: str
    problems: list[str]

    def table(self, name: str) -> list[list[str]]:
        """The texts of the body of the table whose caption's id begins with ``name``."""
        for table in self.root.all("table"):
            if any(caption.attrs["id"] == f"{name}-caption" for caption in table.all("caption")):
                body = next(table.all("tbody"))
                return [[cell.text for cell in row.children] for row in body.all("tr")]
        raise LookupError(name)


ReadPage = Callable[[str], Page]


@pytest.fixture(scope="session")
def read_page() -> ReadPage:
    def read(html: str) -> Page:
        builder = TreeBuilder()
        builder.feed(html)
        builder.close()
        unclosed = [f"<{node.tag}> is not closed" for node in builder.open[1:]]
        return Page(builder.root, builder.doctype, builder.problems + unclosed)

    return read


@dataclass(frozen=True)
class Sql:
    """Hand-written queries on a data set's files; ``{events}`` and so on stand for the tables."""

    folder: Path

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            return connection.execute(query.format(**self.tables)).fetchall()

    def one(self, query: str) -> Any:
        return self.rows(query)[0][0]

    @property
    def tables(self) -> dict[str, str]:
        """A log may be kept in parts: a folder of files instead of one."""
        found = {}
        for name in ("events", "items", "users", "impressions"):
            path = self.folder / f"{name}.parquet"
            pattern = path if path.is_file() else self.folder / name / "*.parquet"
            found[name] = f"(SELECT * FROM read_parquet('{pattern}', union_by_name = true))"
        return found


@pytest.fixture(scope="session")
def sql() -> type[Sql]:
    return Sql


@pytest.fixture(scope="session")
def shop_card(shop_data: Dataset) -> dict[str, Any]:
    """The card of the small simulated shop."""
    with Engine.duckdb() as engine:
        return data_card(engine, shop_data)


@pytest.fixture(scope="session")
def shop_html(shop_card: dict[str, Any]) -> str:
    """Its page."""
    return card_html(shop_card)


@dataclass(frozen=True)
class Example:
    """A data set, its card and its page."""

    name: str
    dataset: Dataset
    card: dict[str, Any]
    html: str


@pytest.fixture(scope="session", params=["shop", "retailrocket"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The simulated shop, and the sessions of buyers of a real one."""
    if request.param == "shop":
        parts = (request.getfixturevalue(name) for name in ("shop_data", "shop_card", "shop_html"))
        return Example("shop", *parts)
    out = tmp_path_factory.mktemp("real") / request.param
    ingest(request.getfixturevalue("real_data") / request.param, request.param, out)
    dataset = Dataset.open(out)
    with Engine.duckdb() as engine:
        card = data_card(engine, dataset)
    return Example(request.param, dataset, card, card_html(card))
