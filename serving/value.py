"""What a person will be worth: asked of all their orders, those just posted too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serving.profile import Current
from serving.value_answer import PredictedValue, ValueReason
from training.bundle import Bundle
from training.intent.heads import belongs
from training.intent.values import Worth


def values_now(now: Current, names: Sequence[str] | None, bundle: Bundle, now_ms: int) -> list[PredictedValue]:
    """Orders and money of every horizon, or of those that are named; none of a bundle that has not learned them."""
    if bundle.values is None:
        return []
    wanted = None if names is None else [name for name in names if name in bundle.values.heads]
    row: Mapping[str, object] = now.row
    found = bundle.values.answer(
        [ts for ts, _ in now.orders],
        [cents for _, cents in now.orders],
        # A snapshot that is dated ahead of the server's clock is still known.
        max(now_ms, bundle.as_of_ms),
        lambda segment: belongs(row, segment),
        wanted,
    )
    return [_predicted(worth) for worth in found]


def _predicted(worth: Worth) -> PredictedValue:
    return PredictedValue(
        name=worth.target.name,
        horizon_days=worth.target.horizon_days,
        expected_orders=worth.orders,
        expected_cents=worth.cents,
        rank=worth.rank,
        rank_only_because=worth.refused,
        reasons=[ValueReason(feature=each.group, value=each.value, log_value=each.log_value) for each in worth.reasons],
    )


__all__ = ["values_now"]
