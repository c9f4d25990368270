"""The sources: a handful of lines solved by hand, and the real files against independent SQL."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import sources
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError, NotFoundError
from features.ingest import IngestReport, ingest
from features.sources import SOURCES, source


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine.duckdb(threads=1) as engine:
        yield engine


def test_every_source_states_what_it_is_and_does() -> None:
    files = {path.stem for path in Path(sources.__file__).parent.glob("*.py")}
    assert set(SOURCES) == files - {"__init__", "published", "made_times", "stand_in"}
    for name in SOURCES:
        assert source(name).name == name
        assert source(name).description
        assert all(policy.strip() for policy in source(name).policies.values())
        assert {"DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"} <= set(
            import_module(source(name).read.__module__).__all__
        )


def test_naming_all_sources_loads_nothing_heavy() -> None:
    code = "import features.sources, sys; print(sorted({'ibis', 'pandas', 'pyarrow', 'duckdb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_source_lists_the_known() -> None:
    with pytest.raises(NotFoundError, match=r"choose one of benchmark_sequences, .*, online_retail, .*, tables"):
        source("online_retial")


_EVENT = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": 1000}


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        (
            {},
            NotFoundError,
            "must hold events.parquet, events.csv, events.jsonl, events/*.parquet, or other tables by name, received",
        ),
        ({"events.csv": {"event_id": "e1"}}, InputError, "events.csv: column 'user_id' is missing"),
        (
            {"events.csv": _EVENT, "items.csv": {"item_id": "i1"}},
            InputError,
            "items.csv: column 'valid_from' is missing",
        ),
        ({"events.csv": {**_EVENT, "colour": "red"}}, InputError, "column 'colour' is not a column of events"),
        ({"events.csv": {**_EVENT, "colour": "red"}}, InputError, "move it into properties"),
        (
            {"events.csv": _EVENT, "events.parquet": _EVENT},
            InputError,
            "must hold events once, received 'events.parquet and events.csv'",
        ),
        (
            {"events.ndjson": _EVENT, "events.csv": _EVENT},
            InputError,
            "must hold events once, received 'events.csv and events.ndjson'",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_of_tables_is_named(
    engine: Engine, tmp_path: Path, files: dict[str, dict[str, Any]], error: type[Exception], words: str
) -> None:
    for name, row in files.items():
        frame = pd.DataFrame([row])
        if name.endswith("csv"):
            frame.to_csv(tmp_path / name, index=False)
        elif name.endswith("json"):
            frame.to_json(tmp_path / name, orient="records", lines=True)
        else:
            frame.to_parquet(tmp_path / name)
    with pytest.raises(error) as raised:
        source("tables").read(engine, tmp_path)
    assert words in str(raised.value)


def test_nested_properties_become_json_and_other_columns_attributes(engine: Engine, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{**_EVENT, "properties": {"a": 1}}]), tmp_path / "events.parquet")
    user = {"user_id": "u1", "valid_from": 0, "age": 31}
    pq.write_table(pa.Table.from_pylist([user]), tmp_path / "users.parquet")
    assert json.loads(_rows(engine, tmp_path, "tables", "events", "ts")[0]["properties"]) == {"a": 1}
    assert _rows(engine, tmp_path, "tables", "users", "user_id")[0]["age"] == "31"


# One invoice line each: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country.
_NOON = datetime(2011, 1, 1, 12)
_NEXT_DAY = datetime(2011, 1, 2, 12)
_LINES: list[tuple[Any, ...]] = [
    ("1", "85123a", " RED HEART HOLDER ", 6, _NOON, 2.55, 17850.0, "United Kingdom"),
    ("1", "22633", "HAND WARMER", 1, _NOON, 1.005, 17850.0, "United Kingdom"),
    ("1", "85123a", " RED HEART HOLDER ", 6, _NOON, 2.55, 17850.0, "United Kingdom"),
    ("2", "85123A", "RED HEART HOLDER, NEW", 1, _NEXT_DAY, 9.99, 17850.0, "France"),
    ("C3", "85123A", "RED HEART HOLDER", -2, _NEXT_DAY, 2.55, 17850.0, "United Kingdom"),
    ("4", "22633", "HAND WARMER", 1, _NOON, 1.85, None, "United Kingdom"),
    ("5", "POST", "POSTAGE", 1, _NOON, 18.0, 12345.0, "France"),
    ("5", "gift_0001_20", "Voucher", 1, _NOON, 18.0, 12345.0, "France"),
    ("5", "DCGS0076", "NIGHT LIGHT", 1, _NOON, 16.13, 12345.0, "France"),
    ("5", "PADS", "PADS TO MATCH ALL CUSHIONS", 1, _NOON, 0.001, 12345.0, "France"),
    ("6", "22633", None, -5, _NOON, 0.0, 12345.0, "France"),
    ("7", "22633", "HAND WARMER", 5, _NOON, 0.0, 12345.0, "France"),
    ("A8", "B", "Adjust bad debt", 1, _NOON, -11062.06, None, "United Kingdom"),
]
_COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    pd.DataFrame(_LINES, columns=_COLUMNS).to_parquet(tmp_path / "online_retail.parquet")
    return tmp_path


def _rows(engine: Engine, folder: Path, name: str, table: str, order: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = engine.to_arrow(source(name).read(engine, folder)[table].order_by(order)).to_pylist()
    return rows


def test_each_kind_of_invoice_line_becomes_what_the_policies_say(engine: Engine, shop: Path) -> None:
    rows = _rows(engine, shop, "online_retail", "events", "source_row")
    assert [row["reject"] for row in rows] == [
        *(None, None, "duplicate line", None, None),
        *("missing customer", "not a product", "not a product", None, None),
        *("stock adjustment", "no price", "bad debt"),
    ]
    noon, next_day = 1_293_883_200_000, 1_293_969_600_000
    kept = [tuple(row[name] for name in ("event_id", "user_id", "item_id", "event_type", "ts")) for row in rows]
    assert [kept[i] for i in (0, 1, 3, 4, 8)] == [
        ("1-1", "17850", "85123A", "purchase", noon),
        ("1-2", "17850", "22633", "purchase", noon),
        ("2-1", "17850", "85123A", "purchase", next_day),
        ("C3-1", "17850", "85123A", "refund", next_day),
        ("5-3", "12345", "DCGS0076", "purchase", noon),
    ]
    assert [(rows[i]["quantity"], rows[i]["unit_price_cents"], rows[i]["order_id"]) for i in (0, 4, 9)] == [
        (6, 255, "1"),
        (2, 255, "C3"),
        (1, 0, "5"),
    ]


def test_items_and_users_are_as_on_their_first_line(engine: Engine, shop: Path) -> None:
    items = {row["item_id"]: row for row in _rows(engine, shop, "online_retail", "items", "item_id")}
    assert sorted(items) == ["22633", "85123A", "DCGS0076", "PADS"]
    assert items["85123A"]["title"] == "RED HEART HOLDER"
    assert items["85123A"]["price_cents"] == 255
    assert items["85123A"]["valid_from"] == 1_293_883_200_000
    users = _rows(engine, shop, "online_retail", "users", "user_id")
    assert [(row["user_id"], row["country"]) for row in users] == [("12345", "France"), ("17850", "United Kingdom")]


def test_a_last_word_that_twenty_titles_share_is_a_category(engine: Engine, tmp_path: Path) -> None:
    titles = [f"{i} BIG MUG" for i in range(20)] + ["RED TRAY 3"] * 19 + ["SIZE S M L"]
    lines = [("1", f"{10_000 + i}", title, 1, _NOON, 1.0, 1.0, "Eire") for i, title in enumerate(titles)]
    pd.DataFrame(lines, columns=_COLUMNS).to_parquet(tmp_path / "online_retail.parquet")
    rows = _rows(engine, tmp_path, "online_retail", "items", "item_id")
    assert [row["category"] for row in rows] == ["mug"] * 20 + ["other"] * 20


def test_later_lines_change_nothing_that_was_known_before(engine: Engine, shop: Path) -> None:
    before = _rows(engine, shop, "online_retail", "items", "item_id")
    later = ("9", "85123A", "SOMETHING ELSE", 1, datetime(2012, 1, 1), 99.0, 17850.0, "Spain")
    pd.DataFrame([*_LINES, later], columns=_COLUMNS).to_parquet(shop / "online_retail.parquet")
    assert _rows(engine, shop, "online_retail", "items", "item_id") == before


def test_a_missing_original_column_is_named(engine: Engine, tmp_path: Path) -> None:
    pd.DataFrame({"user": [1], "item": [1], "timestamp": [1]}).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train\.parquet: column 'behavior' is missing"):
        source("retailrocket").read(engine, tmp_path)


def test_retailrocket_by_hand(engine: Engine, tmp_path: Path) -> None:
    rows = {"user": [7, 7, 7], "item": [5, 5, 5], "behavior": ["view", "cart", "buy"], "timestamp": [10, 20, 30]}
    pd.DataFrame(rows).to_parquet(tmp_path / "train.parquet")
    events = _rows(engine, tmp_path, "retailrocket", "events", "ts")
    assert [(row["event_id"], row["event_type"], row["ts"], row["quantity"]) for row in events] == [
        ("7-5-view-10", "view", 10_000, None),
        ("7-5-cart-20", "add_to_cart", 20_000, None),
        ("7-5-buy-30", "purchase", 30_000, 1),
    ]
    assert {(row["user_id"], row["item_id"]) for row in events} == {("7", "5")}


@pytest.fixture(scope="module")
def retail(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> IngestReport:
    return ingest(real_data / "online_retail", "online_retail", tmp_path_factory.mktemp("retail") / "out")


def test_online_retail_accounts_for_every_line(real_data: Path, retail: IngestReport) -> None:
    """The policies once more, in SQL written independently of the source's expressions."""
    lines = str(real_data / "online_retail" / "online_retail.parquet")
    counts = duckdb.execute(
        r"""
        with lines as (
            select *, regexp_full_match(upper(StockCode), '\d{5}[A-Z]*|DCGS.*|PADS') as product,
                   left(InvoiceNo, 1) as kind
            from read_parquet($lines)
        ), kept as (
            select * exclude (product) from lines
            where kind <> 'A' and CustomerID is not null and product and UnitPrice > 0 and (Quantity > 0 or kind = 'C')
        )
        select
            (select count(*) from lines) as rows,
            (select count(*) from (select distinct * from kept)) as accepted,
            (select count(*) from kept) - (select count(*) from (select distinct * from kept)) as duplicates,
            (select count(*) from lines where kind = 'A') as bad_debt,
            (select count(*) from lines where kind <> 'A' and CustomerID is null) as no_customer,
            (select count(*) from lines where CustomerID is not null and not product) as no_product,
            (select count(*) from (select distinct * from kept) where kind = 'C') as refunds,
            (select sum(Quantity) from (select distinct * from kept) where kind <> 'C') as bought,
            (select sum(round(UnitPrice * 100)) from (select distinct * from kept)) as cents,
            (select count(distinct CustomerID) from kept) as users,
            (select count(distinct upper(StockCode)) from kept) as items
        """,
        {"lines": lines},
    ).fetchdf().iloc[0]  # fmt: skip
    events = retail.tables["events"]
    assert events.rows_in == counts["rows"] == 541_909
    assert events.accepted == counts["accepted"]
    assert events.accepted + events.rejected == events.rows_in
    assert events.contract == {}
    assert events.policy["duplicate line"] == counts["duplicates"]
    assert events.policy["bad debt"] == counts["bad_debt"] == 3
    assert events.policy["missing customer"] == counts["no_customer"] == 135_077
    assert events.policy["not a product"] == counts["no_product"]
    with Engine.duckdb() as engine:
        written = engine.to_pandas(Dataset.open(retail.out).events(engine))
    purchases = written[written["event_type"] == "purchase"]
    assert len(written) - len(purchases) == counts["refunds"]
    assert purchases["quantity"].sum() == counts["bought"]
    assert written["unit_price_cents"].sum() == counts["cents"]
    assert (retail.tables["users"].accepted, retail.tables["items"].accepted) == (counts["users"], counts["items"])


def test_online_retail_rejects_hold_the_original_lines(real_data: Path, retail: IngestReport) -> None:
    rejects = pq.read_table(retail.rejects).to_pandas()
    assert len(rejects) == retail.tables["events"].rejected
    assert rejects["reason"].value_counts().to_dict() == retail.tables["events"].policy
    lines = pd.read_parquet(real_data / "online_retail" / "online_retail.parquet")
    sample = rejects.sample(200, random_state=0)
    original = pd.DataFrame([json.loads(row) for row in sample["row"]])
    expected = lines.iloc[sample["source_row"].to_numpy() - 1].reset_index(drop=True)
    for name in ("InvoiceNo", "StockCode", "Quantity", "UnitPrice", "Country"):
        assert original[name].tolist() == expected[name].tolist()


def test_retailrocket_takes_in_every_row(engine: Engine, real_data: Path, tmp_path: Path) -> None:
    report = ingest(real_data / "retailrocket", "retailrocket", tmp_path / "out")
    truth = pd.read_parquet(real_data / "retailrocket" / "train.parquet")
    assert report.tables["events"].accepted == len(truth) == 97_381
    assert (report.first_ms, report.last_ms) == (truth["timestamp"].min() * 1000, truth["timestamp"].max() * 1000)
    assert (report.tables["users"].added, report.tables["items"].added) == (
        truth["user"].nunique(),
        truth["item"].nunique(),
    )
    events = Dataset.open(report.out).events(engine)
    types = engine.to_pandas(events[["event_type"]])["event_type"].value_counts().to_dict()
    behaviour = truth["behavior"].value_counts()
    assert types == {"view": behaviour["view"], "add_to_cart": behaviour["cart"], "purchase": behaviour["buy"]}
