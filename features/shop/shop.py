"""A simulated shop: users, items, a log, and answers to "what if?", all from one seed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.errors import InputError
from features.shop.behaviour import Behaviour, Intents, Responses
from features.shop.catalogue import Floats, Ints, stock
from features.shop.chances import purchase_chance
from features.shop.config import ShopConfig
from features.shop.log import Progress, Scribe, write_events
from features.shop.population import settle
from features.shop.truth import purchase_rate
from features.shop.visits import events_per_visit

_CATALOGUE_STREAM, _POPULATION_STREAM = 0, 1


class Shop:
    """A shop of known truth. What it writes is all that a model may see; what it knows stays in this object.

    Attributes:
        users: One row per user in order of dense index, the contract's columns; unknown attributes are null.
        items: One row per item in order of dense index, the contract's columns.
    """

    def __init__(self, config: ShopConfig) -> None:
        self.config = config
        self._catalogue = stock(config, np.random.default_rng([config.seed, _CATALOGUE_STREAM]))
        self._population = settle(config, self._catalogue, np.random.default_rng([config.seed, _POPULATION_STREAM]))
        self._behaviour = Behaviour(config, self._catalogue, self._population)
        self._events_per_visit = events_per_visit(self._behaviour)

    @property
    def users(self) -> pd.DataFrame:
        """One row per user, the contract's columns."""
        return self._population.table

    @property
    def items(self) -> pd.DataFrame:
        """One row per item, the contract's columns."""
        return self._catalogue.table

    def write(self, folder: Path, progress: Progress | None = None, *, block_events: int = 500_000) -> dict[str, int]:
        """Write ``events.parquet``, ``items.parquet`` and ``users.parquet``; returns the rows of each by table name.

        Args:
            folder: Made if absent. A file appears under its name only when it is complete.
            progress: Called after each block.
            block_events: Rows per row group at least; bounds memory, changes no row.
        """
        folder.mkdir(parents=True, exist_ok=True)
        scribe = Scribe(self.users, self.items)
        part = folder / "events.parquet.part"
        events = write_events(part, self._behaviour, self._events_per_visit, scribe, progress, block_events)
        os.replace(part, folder / "events.parquet")
        for name, table in (("items", self.items), ("users", self.users)):
            part = folder / f"{name}.parquet.part"
            table.to_parquet(part, index=False)
            os.replace(part, folder / f"{name}.parquet")
        return {"events": events, "items": len(self.items), "users": len(self.users)}

    def intents(self, users: Ints, now_ms: Ints, rng: np.random.Generator) -> Intents:
        """What a visit of each user (n,) at that instant (n,) would be for."""
        return self._behaviour.intents(users, self._behaviour.day(now_ms), rng)

    def respond(
        self, users: Ints, slates: Ints, now_ms: Ints, rng: np.random.Generator, intent: Intents | None = None
    ) -> Responses:
        """What each user does with a slate shown at an instant: see ``Behaviour.respond``."""
        if np.ndim(slates) != 2 or len(slates) != len(users) or len(now_ms) != len(users):
            shapes = f"{np.shape(users)}, {np.shape(slates)} and {np.shape(now_ms)}"
            raise InputError("users, slates and now_ms", "must have shapes (n,), (n, k) and (n,)", shapes)
        return self._behaviour.respond(users, slates, now_ms, rng, intent)

    def purchase_rate(self, users: Ints, from_ms: int, to_ms: int) -> Floats:
        """(n, n_items) float32 expected purchases in ``[from_ms, to_ms)``: see ``truth.purchase_rate``."""
        return purchase_rate(self._behaviour, self._events_per_visit, users, from_ms, to_ms)

    def purchase_chance(self, users: Ints, from_ms: int, to_ms: int, draws: int = 8) -> NDArray[np.float64]:
        """(n,) float64 chances to buy at least once in ``[from_ms, to_ms)``: see ``chances.purchase_chance``."""
        return purchase_chance(self._behaviour, users, from_ms, to_ms, draws)
