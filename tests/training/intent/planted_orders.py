"""Orders of customers who behave as BG/NBD and Gamma-Gamma say."""

from __future__ import annotations

import numpy as np
import pandas as pd

from features.schema import DAY_MS


def bg_nbd_orders(n: int, days: int, start_ms: int, joined_days: int, seed: int) -> pd.DataFrame:
    """``user_id``, ``ts``, ``cents`` of n customers whose first order is on one of the first ``joined_days``.

    Mean rate .05 a day (gamma, shape 1.5), leaving after a repeated order with beta(1, 6), as in the paper never after
    the first; orders are gamma distributed (4) around a mean of the customer's own, inverse gamma distributed (3).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for customer in range(n):
        rate, leaves = rng.gamma(1.5, 0.05 / 1.5), rng.beta(1.0, 6.0)
        mean = 3_000 * 2.0 / rng.gamma(3.0)
        day, first = rng.uniform(0, joined_days), True
        while day < days:
            rows.append((f"u{customer:05d}", start_ms + int(day * DAY_MS), int(rng.gamma(4.0, mean / 4.0)) + 1))
            if not first and rng.random() < leaves:
                break
            first = False
            day += rng.exponential(1 / rate)
    return pd.DataFrame(rows, columns=["user_id", "ts", "cents"]).sort_values(["user_id", "ts"], ignore_index=True)


__all__ = ["bg_nbd_orders"]
