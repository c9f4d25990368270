"""How an item stood when an event happened, and what the event adds to a counter."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from features.catalogue import BAND_BORDERS_CENTS, Catalogue, band_labels, top_category
from features.declarations import HOURS, Amount, Condition, Counter
from features.ids import UNKNOWN, Vocabulary
from features.schema import DAY_MS, Columns

#: An event in the contract's columns; what is missing may be absent or None.
Event = Mapping[str, Any]

_BANDS = tuple(band_labels())


@dataclass(frozen=True, slots=True)
class Listing:
    """How an item stood when an event happened; None where nothing was known."""

    category_top: str | None = None
    brand: str | None = None
    list_cents: int | None = None


class Listed(Protocol):
    """Says how items stood."""

    def at(self, item_id: str | None, ts: int) -> Listing:
        """The listing that held at ``ts``."""


class Listings:
    """The listing of every item at every instant; of a catalogue as of its instant."""

    def __init__(self, catalogue: Catalogue) -> None:
        rows = catalogue.rows
        self._from_ms: defaultdict[str, list[int]] = defaultdict(list)
        self._listings: defaultdict[str, list[Listing]] = defaultdict(list)
        tops = top_category(rows[Columns.CATEGORY])
        columns = (
            rows[Columns.ITEM_ID],
            rows[Columns.VALID_FROM],
            tops,
            rows[Columns.BRAND],
            rows[Columns.PRICE_CENTS],
        )
        for item, valid_from, top, brand, cents in zip(*columns, strict=True):
            self._from_ms[item].append(int(valid_from))
            self._listings[item].append(_listing(top, brand, cents))

    def at(self, item_id: str | None, ts: int) -> Listing:
        """The listing that held at ``ts``."""
        if item_id is None:
            return Listing()
        place = bisect_right(self._from_ms.get(item_id, []), ts)
        return self._listings[item_id][place - 1] if place else Listing()


class LastListings:
    """The last listing of every item that a snapshot knows: what holds for all that has happened since.

    What the shop has changed since is not known before the next snapshot.
    """

    def __init__(self, items: pd.DataFrame) -> None:
        """Of rows by ``item_id`` with ``category``, and ``brand`` and ``price_cents`` if they are known."""
        self._items = Vocabulary(items.index)
        self._tops = top_category(items[Columns.CATEGORY]).to_numpy()
        self._brands, self._cents = (
            items[name].to_numpy(dtype=object) if name in items else None
            for name in (Columns.BRAND, Columns.PRICE_CENTS)
        )

    def at(self, item_id: str | None, ts: int) -> Listing:
        """The item's last listing, whatever the instant."""
        code = UNKNOWN if item_id is None else self._items.code(item_id)
        if code == UNKNOWN:
            return Listing()
        brand, cents = (None if column is None else column[code] for column in (self._brands, self._cents))
        return _listing(self._tops[code], brand, cents)


def _listing(top: Any, brand: Any, cents: Any) -> Listing:
    return Listing(top, None if pd.isna(brand) else brand, None if pd.isna(cents) else int(cents))


def amount(counter: Counter, event: Event, listing: Listing) -> int:
    """What an event adds to a counter of events."""
    if event[Columns.EVENT_TYPE] not in counter.events:
        return 0
    ts, price = int(event[Columns.TS]), whole(event, Columns.UNIT_PRICE_CENTS)
    match counter.condition:
        case None:
            holds = True
        case Condition.WEEKEND:
            holds = (ts // DAY_MS + 3) % 7 >= 5
        case Condition.LISTED:
            holds = price is not None and listing.list_cents is not None
        case Condition.DISCOUNTED:
            holds = price is not None and listing.list_cents is not None and price < listing.list_cents
        case part:
            first, last = HOURS[part]
            holds = first <= ts % DAY_MS // 3_600_000 < last
    if not holds:
        return 0
    n_units = units(event)
    return {Amount.ONE: 1, Amount.UNITS: n_units, Amount.CENTS: n_units * (price or 0)}[counter.amount]


def whole(event: Event, column: str) -> int | None:
    """A whole number of an event, if it tells one."""
    value = event.get(column)
    return None if value is None or pd.isna(value) else int(value)


def units(event: Event) -> int:
    """How many pieces an event is about; one if it does not say."""
    quantity = whole(event, Columns.QUANTITY)
    return 1 if quantity is None else quantity


def band(event: Event, listing: Listing) -> str | None:
    """The price band of what an event is about: by its own price, else by that of the listing."""
    price = whole(event, Columns.UNIT_PRICE_CENTS)
    cents = listing.list_cents if price is None else price
    return None if cents is None else _BANDS[bisect_right(BAND_BORDERS_CENTS, cents)]


__all__ = ["Event", "LastListings", "Listed", "Listing", "Listings", "amount", "band", "units", "whole"]
