"""Fitting what customers will be worth without looking ahead, and judging it on the last window.

```
 orders:  .........................|........horizon........|
          model that is judged     origin  what came       as_of
          model that is served ............................
```
The customers, identities and consents of the model that is judged are those of the window's beginning, and whoever has
taken back their consent since teaches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd

from features.audience import revoked
from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError, InputError
from features.instants import iso
from features.orders import CENTS, TS, read_orders
from features.schema import DAY_MS, Columns
from features.snapshot import build_snapshot
from training.intent.contract import MIN_ROWS
from training.intent.fit import SEGMENTED, Notify
from training.intent.heads import segments_of
from training.intent.order_summaries import OrderLog, outcomes, summarise
from training.intent.value import ValueConfig, ValueModel
from training.intent.value_contract import Totals, value_contract
from training.intent.value_network import NetworkConfig
from training.intent.value_reasons import middle_customer
from training.intent.value_targets import ValueTarget
from training.intent.values import QUANTILES, CustomerValues, JudgedValue

#: Smaller than the benchmark's, so that it takes seconds; days before the first instant that is learned from at most
#: and at least, and their share of the history between these.
NETWORK = NetworkConfig(epochs=3, batch=2_048)
MEMBERS, INSTANTS = 2, 6
HISTORY_DAYS = (28, 75)
_HISTORY_SHARE = 1 / 3
#: Windows that are learned from besides the horizons, where one of these is longer.
WINDOWS_DAYS = (30, 60, 90, 120, 180)


def fit_values(
    engine: Engine,
    dataset: Dataset,
    as_of_ms: int,
    targets: Sequence[ValueTarget],
    *,
    seed: int = 0,
    notify: Notify | None = None,
) -> CustomerValues:
    """One model of all horizons as of an instant, and a contract per horizon.

    Each horizon is judged on ``[as_of - horizon, as_of)`` by a model that was fitted at its beginning.

    Raises:
        ConfigError: The orders do not reach far enough back for a horizon, or say too little: nobody ordered twice, or
            nothing cost anything.
    """
    tell = notify or (lambda *_: None)
    heads: dict[str, JudgedValue] = {}
    for number, target in enumerate(targets):
        tell(f"value: {target.name}", number, len(targets) + 1, {})
        heads[target.name] = _judged(engine, dataset, as_of_ms, target, seed)
    tell("value", len(targets), len(targets) + 1, {})
    horizons = sorted({target.horizon_days for target in targets})
    log, _ = order_log(read_orders(engine, dataset, as_of_ms))
    model = _fitted(log, as_of_ms, horizons, targets[-1].name, seed)
    tell("value", len(targets) + 1, len(targets) + 1, {})
    return CustomerValues(model, heads, middle_customer(summarise(log, as_of_ms)))


def order_log(orders: pd.DataFrame) -> tuple[OrderLog, pd.Index]:
    """Orders as ``read_orders`` gives them, and the ids of the customers by their numbers."""
    numbers, ids = pd.factorize(orders[Columns.USER_ID], sort=True)
    return OrderLog.of(numbers.astype(np.int64), orders[TS].to_numpy(), orders[CENTS].to_numpy()), pd.Index(ids)


def config_for(log: OrderLog, as_of_ms: int, horizons_days: Sequence[int]) -> ValueConfig:
    """What is learned from, by the horizons and by how far the orders reach back."""
    days = (as_of_ms - int(log.ts_ms.min())) * _HISTORY_SHARE / DAY_MS
    longest = max(horizons_days)
    return ValueConfig(
        history_days=int(np.clip(days, *HISTORY_DAYS)),
        most_instants=INSTANTS,
        windows_days=tuple(sorted({*horizons_days, *(days for days in WINDOWS_DAYS if days < longest)})),
        members=MEMBERS,
        network=NETWORK,
    )


def _judged(engine: Engine, dataset: Dataset, as_of_ms: int, target: ValueTarget, seed: int) -> JudgedValue:
    origin_ms = as_of_ms - target.horizon_ms
    if origin_ms <= dataset.first_ms:
        rule = "must leave the horizon and orders before it"
        mend = f"data begins on {iso(dataset.first_ms)}: use a later as_of or a shorter horizon"
        raise ConfigError(f"values.{target.name}.horizon_days", rule, target.horizon_days, mend)
    consenting = dataset.without(revoked(engine, dataset, origin_ms, as_of_ms))
    with _named(target.name):
        log, ids = order_log(read_orders(engine, consenting, origin_ms, as_of_ms))
    model = _fitted(log, origin_ms, [target.horizon_days], target.name, seed)
    users = build_snapshot(engine, consenting, origin_ms).user_matrix
    summaries = summarise(log, origin_ms)
    known = ids[summaries.customer].isin(users.index)
    expected = model.predict(summaries, target.horizon_days)
    orders, cents = outcomes(log, summaries.customer, origin_ms, target.horizon_days)
    users = users.loc[ids[summaries.customer[known]]]
    segments = segments_of(users, [*dataset.attributes, *SEGMENTED], MIN_ROWS)
    judgements = value_contract(
        Totals(expected.orders[known], expected.cents[known]), Totals(orders[known], cents[known]), segments, seed=seed
    )
    quantiles = np.quantile(expected.cents[known], np.linspace(0, 1, QUANTILES))
    return JudgedValue(target, tuple(judgements), quantiles)


def _fitted(log: OrderLog, as_of_ms: int, horizons_days: Sequence[int], name: str, seed: int) -> ValueModel:
    with _named(name):
        return ValueModel.fit(log, as_of_ms, horizons_days, config_for(log, as_of_ms, horizons_days), seed)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What is wrong with the orders, as a complaint about the horizon that asked for them."""
    try:
        yield
    except InputError as error:
        rule = f"needs more to learn from: {error.field} {error.rule}"
        mend = "use a later as_of or a shorter horizon, or leave it out"
        raise ConfigError(f"values.{name}.horizon_days", rule, error.received, mend) from error


__all__ = ["config_for", "fit_values", "order_log"]
