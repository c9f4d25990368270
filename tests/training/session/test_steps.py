"""What is known after each event, against plain loops over each user's events."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from features.schema import DAY_MS, SESSION_GAP_S, EventType
from features.sequences import Histories
from training.session.followers import followers, followers_elsewhere
from training.session.outcomes import NEXT, SESSION_TARGETS, outcomes_of
from training.session.steps import COLUMNS, steps_of

KINDS = (EventType.VIEW, EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE)
N_ITEMS = 6


def random_histories(seed: int, n: int = 30) -> Histories:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 25, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    m = int(offsets[-1])
    ts = np.empty(m, dtype=np.int64)
    for first, stop in pairwise(offsets.tolist()):
        gaps = rng.choice([0, 40_000, 600_000, SESSION_GAP_S * 1000, 3 * DAY_MS], stop - first)
        ts[first:stop] = 1_700_000_000_000 + np.cumsum(gaps)
    return Histories(
        user_ids=np.array([f"u{number}" for number in range(n)], dtype=object),
        as_of_ms=np.full(n, 2_000_000_000_000),
        snapshot_ms=np.full(n, 2_000_000_000_000),
        offsets=offsets,
        items=rng.integers(-1, N_ITEMS, m).astype(np.int32),
        event_types=rng.choice([kind.code for kind in KINDS], m, p=[0.5, 0.25, 0.1, 0.15]).astype(np.int8),
        ts=ts,
    )


def sessions_by_hand(histories: Histories) -> list[list[int]]:
    """Flat positions of each session's events."""
    found: list[list[int]] = []
    for row in range(len(histories)):
        for at in range(histories.offsets[row], histories.offsets[row + 1]):
            new = at == histories.offsets[row] or histories.ts[at] - histories.ts[at - 1] >= SESSION_GAP_S * 1000
            if new:
                found.append([])
            found[-1].append(at)
    return found


def cart_after(events: list[tuple[int, int]]) -> set[int]:
    cart: set[int] = set()
    for item, kind in events:
        if item >= 0 and kind == EventType.ADD_TO_CART.code:
            cart.add(item)
        elif kind in (EventType.REMOVE_FROM_CART.code, EventType.PURCHASE.code):
            cart.discard(item)
    return cart


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_those_of_a_plain_loop(seed: int) -> None:
    histories = random_histories(seed)
    steps = steps_of(histories)
    by_hand = sessions_by_hand(histories)
    assert [len(session) for session in by_hand] == np.diff(steps.offsets).tolist()
    rows, items, kinds, ts = histories.rows, histories.items, histories.event_types, histories.ts
    for number, session in enumerate(by_hand):
        earlier = [one for one in by_hand[:number] if rows[one[0]] == rows[session[0]]]
        before = [at for one in earlier for at in one]
        assert steps.row[number] == rows[session[0]]
        for place, at in enumerate(session):
            sofar = session[: place + 1]
            cart = cart_after([(int(items[e]), int(kinds[e])) for e in sofar])
            known = items[at] >= 0
            days = (ts[session[0]] - ts[before[-1]]) / DAY_MS if before else 365.0
            expected = {
                "events": len(sofar),
                "seconds_in_session": (ts[at] - ts[session[0]]) / 1000,
                "seconds_since_last_event": (ts[at] - ts[at - 1]) / 1000 if place else 0,
                "items": len({int(items[e]) for e in sofar} - {-1}),
                "times_this_item": sum(items[e] == items[at] for e in sofar) * known,
                "in_cart": len(cart),
                "this_item_in_cart": int(items[at]) in cart,
                "carted": sum(kinds[e] == EventType.ADD_TO_CART.code for e in sofar),
                "bought": sum(kinds[e] == EventType.PURCHASE.code for e in sofar),
                "earlier_sessions": len(earlier),
                "earlier_purchases": sum(kinds[e] == EventType.PURCHASE.code for e in before),
                "days_since_last_session": days,
                "times_this_item_earlier": sum(items[e] == items[at] for e in before) * known,
            }
            found = dict(zip(COLUMNS, steps.numbers[at].tolist(), strict=True))
            for name, value in expected.items():
                assert found[name] == pytest.approx(math.log1p(value), rel=1e-6), name
            assert steps.cart[at] == len(cart)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_said_of_an_event_depends_on_a_later_one(seed: int) -> None:
    histories = random_histories(seed)
    whole = steps_of(histories)
    rng = np.random.default_rng(seed)
    keep = np.ones(len(histories.items), dtype=bool)
    for first, stop in pairwise(histories.offsets.tolist()):
        keep[first + rng.integers(0, stop - first + 1) : stop] = False
    early = steps_of(histories.where(keep))
    np.testing.assert_array_equal(early.numbers, whole.numbers[keep])
    np.testing.assert_array_equal(early.cart, whole.cart[keep])


@pytest.mark.parametrize("seed", range(4))
def test_outcomes_are_those_of_a_plain_loop(seed: int) -> None:
    histories = random_histories(seed)
    groups = np.array([0, 0, 1, 1, 2, -1], dtype=np.int32)
    steps = steps_of(histories)
    outcomes = outcomes_of(steps, groups)
    items, kinds = histories.items, histories.event_types
    buy, cart, behind = (outcomes.happened[target.name] for target in SESSION_TARGETS)
    for session in sessions_by_hand(histories):
        left = cart_after([(int(items[e]), int(kinds[e])) for e in session])
        for place, at in enumerate(session):
            rest = [int(kinds[e]) for e in session[place + 1 :]]
            assert buy[at] == (EventType.PURCHASE.code in rest)
            assert cart[at] == (EventType.ADD_TO_CART.code in rest)
            assert behind[at] == (EventType.PURCHASE.code not in rest and bool(left))
            if rest:
                following = items[session[place + 1]]
                assert NEXT[outcomes.next_type[at]] == list(EventType)[rest[0]].value
                assert outcomes.next_group[at] == (groups[following] if following >= 0 else -1)
            else:
                assert NEXT[outcomes.next_type[at]] == "leave" and outcomes.next_group[at] == -1


def test_groups_near_an_item_are_counted_without_its_own_session() -> None:
    histories = random_histories(7)
    groups = np.array([0, 0, 1, 1, 2, -1], dtype=np.int32)
    steps = steps_of(histories)
    learned = np.arange(0, len(steps), 2)
    total, _, _ = followers_elsewhere(steps, groups, 3, learned, seed=0)
    used = np.zeros(len(steps), dtype=bool)
    used[learned] = True
    expected = np.zeros((N_ITEMS, 3))
    row, session = histories.rows, steps.session
    for one in range(len(histories.items)):
        for other in range(max(one - 10, 0), min(one + 11, len(histories.items))):
            near = one != other and row[one] == row[other] and used[session[one]] and used[session[other]]
            if near and histories.items[one] >= 0 and histories.items[other] >= 0:
                group = groups[histories.items[other]]
                expected[histories.items[one], group] += (group >= 0) / abs(one - other)
    np.testing.assert_allclose(total.toarray()[:-1], expected, rtol=1e-5)
    assert total.toarray()[-1].sum() == 0
    # Of one session alone nothing is said about its own events; others hear all that was counted.
    alone, table, row = followers_elsewhere(steps, groups, 3, learned[3:4], seed=0)
    own = table.toarray()[row]
    assert own[np.flatnonzero(session == learned[3])].sum() == 0
    others = np.flatnonzero((session != learned[3]) & (histories.items >= 0))
    np.testing.assert_array_equal(own[others], alone.toarray()[histories.items[others]])
    assert followers(steps, groups, 3, np.zeros(len(steps), dtype=bool)).sum() == 0
