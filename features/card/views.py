"""What the page shows of a card's content: tables of texts, and sentences that say what each picture shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.card.drift import READINGS
from features.card.plots import BARS, group_name
from features.card.questions.need import Unit
from features.card.svg import printable
from features.card.verdicts import Verdict
from features.card.wording import UNKNOWN, count, days, quantity, share


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell, in this order of precedence.

    Attributes:
        lines: Texts one below the other.
        number: Stands in bold before the text.
        remark: Stands in small below the text.
        href: Of a link inside the page.
        mark: A verdict or reading that colours the text.
        share: From 0 to 1, drawn as a bar behind the text.
    """

    text: str = ""
    number: str = ""
    remark: str = ""
    href: str = ""
    mark: str = ""
    share: float | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableView:
    """A table whose first column names the rows; ``numeric`` are the positions of columns that stand right-aligned."""

    name: str
    caption: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[str | Cell]]
    numeric: tuple[int, ...] = ()


Card = Mapping[str, Any]


def summary(card: Card) -> list[tuple[str, str, str]]:
    """The figures on top: (name, number, remark)."""
    tables = card["tables"]
    rejected = sum(table["rejected"] for table in tables.values())
    return [
        ("Events", count(tables["events"]["rows"]), f"{len(card['events_by_type'])} types"),
        ("Users", count(card["users"]), f"{count(card['cold_users'])} without an interaction"),
        ("Items", count(card["items"]), f"{count(card['cold_items'])} without an interaction"),
        ("Time", days(card["span_days"]), f"{card['first'][:10]} to {card['last'][:10]}"),
        ("Sparsity", share(card["sparsity"]), "of user and item pairs never met"),
        ("Rejected rows", count(rejected), f"of {count(sum(table['rows_in'] for table in tables.values()))} read"),
    ]


def tally(card: Card) -> list[tuple[str, int]]:
    """(verdict, number of questions), best first."""
    counted = Counter(answer["verdict"] for answer in card["learnable"])
    return [(verdict.value, counted[verdict.value]) for verdict in reversed(Verdict)]


def tables(card: Card) -> dict[str, TableView]:
    """Every table of the page by name."""
    views = (
        _verdicts(card),
        _needs(card),
        _rows(card),
        _rejects(card),
        _policies(card),
        _timeline(card),
        _types(card),
        _users(card),
        _popularity(card),
        _missing(card),
        _drift(card),
    )
    return {view.name: view for view in views}


def label(figure: str, card: Card) -> str:
    """What a picture shows, in a sentence or two with its main numbers."""
    match figure:
        case "timeline":
            bars = card["timeline"]["bars"]
            peak = max(bars, key=lambda bar: bar["events"])
            return (
                f"Events per {_bar(card)} from {bars[0]['from']} to {bars[-1]['from']}. The most, "
                f"{count(peak['events'])}, fall on {peak['from']}."
            )
        case "types":
            told = ", ".join(f"{name} {count(n)}" for name, n in card["events_by_type"].items())
            return f"Events by type: {told}."
        case "users":
            told = ", ".join(f"{group_name(group)}: {count(group['users'])}" for group in card["users_by_interactions"])
            return f"Users by number of interactions. {told}."
        case "popularity":
            return (
                f"Interactions of each item against its rank, on logarithmic axes. Gini coefficient "
                f"{_gini(card)}; the top 1 % of items hold {share(card['popularity_top_1_percent_share'])}."
            )
        case _:
            features = card["drift"].get("features", [])[:BARS]
            told = ", ".join(f"{printable(one['feature'], 40)} {one['psi']:.3f}" for one in features)
            return f"Population stability index of the features that moved most: {told}."


def _verdicts(card: Card) -> TableView:
    rows: list[list[str | Cell]] = []
    for answer in card["learnable"]:
        need = answer["needs"][answer["decided_by"]]
        rows.append(
            [
                Cell(answer["title"], remark=answer["use"]),
                Cell(answer["verdict"], mark=answer["verdict"]),
                _found(need),
                _bounds(need),
                answer["reason"],
            ]
        )
    head = ("Question", "Verdict", "Found", "Needed", "Reason")
    return TableView("verdicts", "What can and cannot be learned, each by the need that decides", head, rows)


def _found(need: Mapping[str, Any]) -> Cell:
    number = quantity(need["found"], need["unit"])
    if need["unit"] == Unit.FLAG:
        return Cell(f"{need['what']}: {number}")
    return Cell(need["what"], number=number)


def _bounds(need: Mapping[str, Any]) -> Cell:
    """Both bounds with the word for what they suffice; one where they are the same."""
    weakly, firmly = (quantity(need[bound], need["unit"]) for bound in ("weakly", "yes"))
    most = "at most " if need["at_most"] else ""
    return Cell(lines=(firmly,) if weakly == firmly else (f"weakly: {most}{weakly}", f"firmly: {most}{firmly}"))


def _needs(card: Card) -> TableView:
    rows: list[list[str | Cell]] = []
    for answer in card["learnable"]:
        for need in answer["needs"]:
            href = f"#source-{need['source']}" if need["source"] else ""
            rows.append(
                [
                    answer["title"],
                    need["what"],
                    quantity(need["found"], need["unit"]),
                    _bounds(need),
                    Cell(need["verdict"], mark=need["verdict"]),
                    Cell(need["basis"], href=href),
                ]
            )
    head = ("Question", "Number", "Found", "Needed", "Verdict", "Where the bounds come from")
    return TableView("needs", "Every need of every question", head, rows)


def _rows(card: Card) -> TableView:
    rows = [
        [name, *(count(table[key]) for key in ("rows_in", "rejected", "added", "rows"))]
        for name, table in card["tables"].items()
    ]
    head = ("Table", "Read", "Rejected", "Added", "In the data set")
    return TableView("rows", "Rows of each table", head, rows, (1, 2, 3, 4))


def _rejects(card: Card) -> TableView:
    rows = [
        [reason, name, kind, count(n), share(n / table["rows_in"] if table["rows_in"] else None)]
        for name, table in card["tables"].items()
        for kind in ("policy", "contract")
        for reason, n in table[kind].items()
    ]
    head = ("Reason", "Table", "Kind", "Rows", "Of rows read")
    return TableView("rejects", "Rejected rows by reason", head, rows, (3, 4))


def _policies(card: Card) -> TableView:
    rows = [[name, what] for name, what in card["policies"].items()]
    return TableView("policies", "What the source does with odd rows", ("Case", "What is done"), rows)


def _timeline(card: Card) -> TableView:
    rows = [[bar["from"], count(bar["events"]), count(bar["users"])] for bar in card["timeline"]["bars"]]
    title = "Day" if card["timeline"]["bar_days"] == 1 else "First day"
    caption = f"Events and active users per {_bar(card)}"
    return TableView("timeline", caption, (title, "Events", "Active users"), rows, (1, 2))


def _bar(card: Card) -> str:
    width = card["timeline"]["bar_days"]
    return "day" if width == 1 else f"{width} days"


def _types(card: Card) -> TableView:
    total = sum(card["events_by_type"].values())
    rows = [[name, count(n), share(n / total)] for name, n in card["events_by_type"].items()]
    return TableView("types", "Events by type", ("Type", "Events", "Share"), rows, (1, 2))


def _users(card: Card) -> TableView:
    rows = [
        [group_name(group), count(group["users"]), share(group["users"] / card["users"])]
        for group in card["users_by_interactions"]
    ]
    return TableView("users", "Users by number of interactions", ("Interactions", "Users", "Share"), rows, (1, 2))


def _popularity(card: Card) -> TableView:
    rows = [[count(point["rank"]), count(point["interactions"])] for point in card["popularity_curve"]]
    return TableView("popularity", "Interactions of the item at each rank", ("Rank", "Interactions"), rows, (1,))


def _gini(card: Card) -> str:
    return UNKNOWN if card["popularity_gini"] is None else f"{card['popularity_gini']:.3f}"


def _missing(card: Card) -> TableView:
    rows: list[list[str | Cell]] = []
    for name, table in card["tables"].items():
        for column, missing in table["missing"].items():
            if missing:
                number = count(round(missing * table["rows"]))
                rows.append([column, name, number, Cell(share(missing), share=missing)])
    return TableView("missing", "Columns with missing values", ("Column", "Table", "Missing", "Share"), rows, (2,))


def complete(card: Card) -> list[tuple[str, list[str]]]:
    """(table, columns in which nothing is missing), for every table that has any rows."""
    return [
        (name, [column for column, missing in table["missing"].items() if missing == 0])
        for name, table in card["tables"].items()
        if table["rows"]
    ]


def _drift(card: Card) -> TableView:
    rows: list[list[str | Cell]] = []
    for feature in card["drift"].get("features", []):
        chance = feature["by_chance"]
        word = feature["reading"]
        if word != next(iter(READINGS)) and chance is not None and feature["psi"] <= chance:
            word += ", as chance does"
        missing = {bin_["bin"]: bin_ for bin_ in feature["bins"]}.get("missing", {"first": 0, "then": 0})
        rows.append(
            [
                feature["feature"],
                f"{feature['psi']:.3f}",
                Cell(word, mark=feature["reading"]),
                UNKNOWN if chance is None else f"{chance:.3f}",
                share(missing["first"] / card["drift"]["users_first"]),
                share(missing["then"] / card["drift"]["users_then"]),
            ]
        )
    head = ("Feature", "PSI", "Reading", "By chance up to", "Missing first", "Missing then")
    return TableView("drift", "Drift of every feature, largest first", head, rows, (1, 3, 4, 5))


__all__ = ["Cell", "TableView", "complete", "label", "summary", "tables", "tally"]
