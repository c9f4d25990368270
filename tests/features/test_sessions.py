"""Session starts against a plain loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.engine import Engine
from features.sessions import SESSION_START, with_session_starts


@pytest.mark.parametrize("gap_s", [1, 60])
def test_starts_against_a_loop(engine: Engine, gap_s: int) -> None:
    rng = np.random.default_rng(gap_s)
    n = 400
    log = pd.DataFrame(
        {
            "event_id": rng.permutation(n).astype(str),
            "user_id": rng.choice(["a", "b", "c"], n),
            "ts": 1_000_000 + rng.integers(0, 200, n) * 500 * gap_s,
        }
    )
    found = engine.to_pandas(with_session_starts(engine.memtable(log), gap_s)).set_index("event_id")[SESSION_START]
    last: dict[str, int] = {}
    for row in log.sort_values(["ts", "event_id"]).itertuples():
        is_start = row.user_id not in last or row.ts - last[row.user_id] >= gap_s * 1000
        assert bool(found[row.event_id]) is is_start
        last[row.user_id] = row.ts
    assert 3 < found.sum() < n


def test_a_gap_of_exactly_half_an_hour_begins_a_session(engine: Engine) -> None:
    times = [0, 1_799_999, 1_799_999 + 1_800_000]
    log = pd.DataFrame({"event_id": list("xyz"), "user_id": "u", "ts": times})
    found = engine.to_pandas(with_session_starts(engine.memtable(log)).order_by("ts"))
    assert found[SESSION_START].tolist() == [True, False, True]
