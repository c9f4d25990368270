"""What customers will be worth, over every declared horizon: numbers where the contract held, else only their order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from training.intent.order_summaries import OrderLog, Summaries, summarise
from training.intent.value import ValueModel
from training.intent.value_contract import ValueJudgement
from training.intent.value_reasons import mixed, shapley, shown
from training.intent.value_targets import ValueTarget

Floats = NDArray[np.float64]

#: Why there is no number for whoever has never ordered: the model knows customers by their orders.
NO_ORDERS = "no_orders"
#: Of the expected cents of those it was judged on, kept to rank by.
QUANTILES = 1_001

_ABOUT, _MODEL, _MIDDLE = "values.json", "model", "middle.npz"


class WorthMoved(NamedTuple):
    """What one side of a customer's buying added to the logarithm of their expected cents, and what it was."""

    group: str
    value: float | int | None
    log_value: float


class Worth(NamedTuple):
    """What is expected of one customer within a horizon; None where it may not be told as a number.

    Attributes:
        rank: The share of the customers it was judged on who are worth less; 0 of whoever never ordered.
        refused: The segment that broke the contract, or ``no_orders``.
    """

    target: ValueTarget
    orders: float | None
    cents: float | None
    rank: float
    refused: str | None
    reasons: list[WorthMoved]


@dataclass(frozen=True, slots=True)
class Worths:
    """The same of (m,) customers: NaN for None, and an empty ``refused`` where nothing is."""

    customer: NDArray[np.int64]
    orders: Floats
    cents: Floats
    rank: Floats
    refused: NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class JudgedValue:
    """What was found of one horizon's predictions on customers whose horizon had passed.

    Attributes:
        judgements: Of the contract; all customers first.
        quantiles: (q,) ascending expected cents of the customers it was judged on.
    """

    target: ValueTarget
    judgements: tuple[ValueJudgement, ...]
    quantiles: Floats

    def rank(self, cents: Floats) -> Floats:
        """(m,) the share of the customers it was judged on who are expected to spend less."""
        ranks: Floats = np.searchsorted(self.quantiles, cents) / len(self.quantiles)
        return ranks


@dataclass(frozen=True, slots=True)
class CustomerValues:
    """A model of all horizons, and what may be said of its numbers.

    Attributes:
        heads: By target.
        middle: One customer, the median of those that it was fitted on: reasons compare with them.
    """

    model: ValueModel
    heads: Mapping[str, JudgedValue]
    middle: Summaries

    def worths(self, name: str, summaries: Summaries, members: Callable[[str], NDArray[np.bool_]]) -> Worths:
        """Of many customers; ``members`` gives (m,) who of them is in a segment."""
        head = self.heads[name]
        values = self.model.predict(summaries, head.target.horizon_days)
        refused = np.full(len(summaries), "", dtype=object)
        for judgement in head.judgements:
            if not judgement.numbers:
                refused[members(judgement.segment) & (refused == "")] = judgement.segment
        told = refused == ""
        orders, cents = (np.where(told, each, np.nan) for each in (values.orders, values.cents))
        return Worths(summaries.customer, orders, cents, head.rank(values.cents), refused)

    def answer(
        self,
        ts_ms: Sequence[int],
        cents: Sequence[int],
        now_ms: int,
        belongs: Callable[[str], bool],
        names: Sequence[str] | None = None,
        most: int = 3,
    ) -> list[Worth]:
        """Of one customer by their orders, all before ``now_ms``, with reasons; fast enough for an endpoint.

        Args:
            ts_ms: Instants of the orders, in any order.
            cents: What each cost.
            belongs: Whether they are in a segment.
            names: Of the targets that are wanted; all if None.
            most: Reasons, the strongest first.
        """
        asked = [self.heads[name] for name in dict.fromkeys(self.heads if names is None else names)]
        if not len(ts_ms):
            return [Worth(head.target, None, None, 0.0, NO_ORDERS, []) for head in asked]
        one = summarise(OrderLog.of(np.zeros(len(ts_ms), dtype=np.int64), ts_ms, cents), now_ms)
        blends, values = mixed(one, self.middle), shown(one)
        return [self._worth(head, blends, values, belongs, most) for head in asked]

    def _worth(
        self,
        head: JudgedValue,
        blends: Summaries,
        values: Mapping[str, float | int | None],
        belongs: Callable[[str], bool],
        most: int,
    ) -> Worth:
        expected = self.model.predict(blends, head.target.horizon_days)
        # The last of them is the customer.
        orders, cents = float(expected.orders[-1]), float(expected.cents[-1])
        rank = float(head.rank(expected.cents[-1:])[0])
        added = shapley(np.log(np.maximum(expected.cents, 1e-9)))
        strongest = sorted(added, key=lambda group: -abs(added[group]))[:most]
        reasons = [WorthMoved(group, values[group], added[group]) for group in strongest]
        for judgement in head.judgements:
            if not judgement.numbers and belongs(judgement.segment):
                return Worth(head.target, None, None, rank, judgement.segment, reasons)
        return Worth(head.target, orders, cents, rank, None, reasons)

    def prepare(self) -> None:
        """Make what answering needs, so that the first question is answered as soon as the others."""
        self.model.prepare()

    def save(self, folder: Path) -> None:
        """JSON, npz and what the model writes."""
        folder.mkdir(parents=True, exist_ok=True)
        heads = [
            {
                "target": head.target.model_dump(mode="json"),
                "judgements": [asdict(judgement) for judgement in head.judgements],
                "quantiles": head.quantiles.tolist(),
            }
            for head in self.heads.values()
        ]
        (folder / _ABOUT).write_text(json.dumps(heads, indent=2), encoding="utf-8")
        np.savez_compressed(folder / _MIDDLE, **{name: getattr(self.middle, name) for name in Summaries.__slots__})
        self.model.save(folder / _MODEL)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        heads = {}
        for each in json.loads((folder / _ABOUT).read_text(encoding="utf-8")):
            target = ValueTarget.model_validate(each["target"])
            judgements = tuple(
                ValueJudgement(**{**judged, "orders": tuple(judged["orders"]), "cents": tuple(judged["cents"])})
                for judged in each["judgements"]
            )
            heads[target.name] = JudgedValue(target, judgements, np.array(each["quantiles"]))
        with np.load(folder / _MIDDLE, allow_pickle=False) as arrays:
            middle = Summaries(**{name: arrays[name] for name in Summaries.__slots__})
        return cls(ValueModel.load(folder / _MODEL), heads, middle)


__all__ = ["NO_ORDERS", "QUANTILES", "CustomerValues", "JudgedValue", "Worth", "WorthMoved", "Worths"]
