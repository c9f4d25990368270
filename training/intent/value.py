"""How often customers will order within a horizon and what they will pay: a probability model, bettered by a network.

BG/NBD with Gamma-Gamma knows how buying fades with a cohort's age, also beyond what has been seen, and so it gives the
level. How orders are shared among customers, it knows only by their number and the times of the first and the last;
a network learns the rest from earlier instants of the same log. At an instant T it is trained on pairs ``(s, h)`` with
``s + h <= T``: what was known at s, what the probability model fitted at s expected of the next h days, and what came.
Within each pair the expectations are first scaled to what came in all, so that seasons and shocks are not learned as
tastes; and what it predicts is scaled to the total of the probability model fitted at T.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.errors import ConfigError, InputError
from training.intent.lifetime import Lifetime, Money
from training.intent.order_summaries import DAY_MS, OrderLog, Summaries, outcomes, summarise
from training.intent.value_ensemble import Ensemble
from training.intent.value_network import NetworkConfig, Rows, ValueNetwork

Floats = NDArray[np.float64]


class ValueConfig(BaseModel):
    """What it is fitted from.

    Attributes:
        step_days: Between the instants that are learned from.
        history_days: Before the first of them.
        most_instants: The latest are taken.
        windows_days: Horizons that are learned from, as far as they end in time.
        members: Networks that are averaged.
        network: How each is trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step_days: int = Field(default=30, ge=1)
    history_days: int = Field(default=75, ge=1)
    most_instants: int = Field(default=12, ge=1)
    windows_days: tuple[int, ...] = (30, 60, 90, 120, 180)
    members: int = Field(default=3, ge=1)
    network: NetworkConfig = NetworkConfig()


@dataclass(frozen=True, slots=True)
class Values:
    """What is expected of customers within a horizon.

    Attributes:
        customer: (m,) int64, ascending; whoever had ordered.
        orders: (m,) float64.
        cents: (m,) float64.
    """

    customer: NDArray[np.int64]
    orders: Floats
    cents: Floats


@dataclass
class ValueModel:
    """Fitted as of one instant.

    Attributes:
        as_of_ms: The instant; nothing at or after it was read.
        lifetime: Fitted on everything before it.
        members: The networks.
        levels: By horizon in days, what the networks' orders and cents are multiplied by.
    """

    as_of_ms: int
    lifetime: Lifetime
    members: list[ValueNetwork]
    levels: dict[int, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        log: OrderLog,
        as_of_ms: int,
        horizons_days: Sequence[int],
        config: ValueConfig | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Learn from orders before ``as_of_ms``; later ones may be in the log and are not read.

        Args:
            horizons_days: That it shall be asked about.
            progress: Told the networks that are done and how many there are.

        Raises:
            InputError: The history is too short to learn from.
        """
        config = config or ValueConfig()
        return cls.learn(training_rows(log, as_of_ms, config), log, as_of_ms, horizons_days, config, seed, progress)

    @classmethod
    def learn(
        cls,
        rows: Rows,
        log: OrderLog,
        as_of_ms: int,
        horizons_days: Sequence[int],
        config: ValueConfig,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """As ``fit``, from the ``training_rows`` of the same log, instant and config: several seeds share them."""
        members = []
        for member in range(config.members):
            members.append(ValueNetwork.fit(rows, config.network, seed * 1000 + member))
            if progress:
                progress(member + 1, config.members)
        summaries = summarise(log, as_of_ms)
        model = cls(as_of_ms, Lifetime.fit(summaries, Money.ALL), members)
        for horizon in horizons_days:
            expected, worth = model.lifetime.orders(summaries, horizon), model.lifetime.order_cents(summaries)
            orders, cents = model._unscaled(summaries, horizon)
            of_orders = float(expected.sum() / orders.sum())
            # Orders are those of the network here: only the worth of an order is brought back to its level.
            model.levels[horizon] = of_orders, float(of_orders * (orders @ worth) / cents.sum())
        return model

    def predict(self, summaries: Summaries, horizon_days: int) -> Values:
        """Expectations for customers as of an instant, which need not be the one of the fit.

        Raises:
            ConfigError: The horizon is not one of those of the fit.
        """
        if horizon_days not in self.levels:
            known = ", ".join(str(days) for days in self.levels)
            raise ConfigError("horizon_days", f"must be one of {known}", horizon_days)
        orders, cents = self._unscaled(summaries, horizon_days)
        of_orders, of_cents = self.levels[horizon_days]
        return Values(summaries.customer, of_orders * orders, of_cents * cents)

    def _unscaled(self, summaries: Summaries, horizon_days: int) -> tuple[Floats, Floats]:
        alive = self.lifetime.alive(summaries)
        expected = self.lifetime.orders(summaries, horizon_days, alive)
        worth = self.lifetime.order_cents(summaries)
        inputs = _inputs(summaries, alive, expected, worth, horizon_days)
        factors = self._ensemble.factors(inputs)
        orders = expected * factors[:, :, 0]
        return orders.mean(axis=0), (orders * worth * factors[:, :, 1]).mean(axis=0)

    @cached_property
    def _ensemble(self) -> Ensemble:
        return Ensemble.of(self.members)

    def prepare(self) -> None:
        """Make what answering needs, so that the first question is answered as soon as the others."""
        _ = self._ensemble

    def save(self, folder: Path) -> None:
        """JSON and safetensors in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.lifetime.save(folder / "lifetime.json")
        for i, member in enumerate(self.members):
            member.save(folder, f"member-{i}")
        about = {"as_of_ms": self.as_of_ms, "members": len(self.members), "levels": list(self.levels.items())}
        (folder / "value.json").write_text(json.dumps(about, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What ``save`` wrote."""
        about = json.loads((folder / "value.json").read_text())
        members = [ValueNetwork.load(folder, f"member-{i}") for i in range(about["members"])]
        levels = {int(days): (float(orders), float(cents)) for days, (orders, cents) in about["levels"]}
        return cls(about["as_of_ms"], Lifetime.load(folder / "lifetime.json"), members, levels)


def training_rows(log: OrderLog, as_of_ms: int, config: ValueConfig) -> Rows:
    """Customers at instants before ``as_of_ms`` and what they did in windows that end by then.

    Raises:
        InputError: No window fits between the first orders and ``as_of_ms``.
    """
    first_ms = int(log.ts_ms.min()) + config.history_days * DAY_MS
    shortest = min(config.windows_days)
    instants = range(as_of_ms - shortest * DAY_MS, first_ms - 1, -config.step_days * DAY_MS)
    parts = []
    for instant in list(instants)[: config.most_instants]:
        summaries = summarise(log, instant)
        lifetime = Lifetime.fit(summaries, Money.ALL)
        alive, worth = lifetime.alive(summaries), lifetime.order_cents(summaries)
        for days in config.windows_days:
            if instant + days * DAY_MS > as_of_ms:
                continue
            expected = lifetime.orders(summaries, days, alive)
            orders, cents = outcomes(log, summaries.customer, instant, days)
            if orders.any():
                inputs = _inputs(summaries, alive, expected, worth, days)
                level, of_worth = orders.sum() / expected.sum(), cents.sum() / (orders @ worth)
                parts.append((inputs, np.log(expected * level), np.log(worth * max(of_worth, 1e-6)), orders, cents))
    if not parts:
        days = config.history_days + shortest
        raise InputError("orders", f"must reach back more than {days} days and go on", mend="take a longer history")
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _inputs(summaries: Summaries, alive: Floats, expected: Floats, worth: Floats, days: int) -> Floats:
    """(m, d) what the network sees: the features, and what the probability model makes of the customer."""
    n = summaries.features.shape[1]
    inputs = np.empty((len(summaries), n + 4))
    inputs[:, :n] = summaries.features
    inputs[:, n] = np.log(np.maximum(alive, 1e-12))
    inputs[:, n + 1] = np.log(np.maximum(expected, 1e-12) / days)
    inputs[:, n + 2] = np.log(worth)
    inputs[:, n + 3] = np.log(days)
    return inputs


__all__ = ["ValueConfig", "ValueModel", "Values", "training_rows"]
