"""What is known after each event, against plain loops over each user's events."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from features.schema import DAY_MS, SESSION_GAP_S, EventType
from features.sequences import Histories
from training.session.followers import followers, known_elsewhere
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


def test_unknown_items_that_are_told_apart_are_looked_at_again_and_lie_in_the_cart() -> None:
    histories = random_histories(11)
    apart = histories.where(np.ones(len(histories.items), dtype=bool))
    apart.items[:] = np.where(histories.items >= 3, -histories.items + 1, histories.items)  # 3, 4, 5 are unknown
    one, other = steps_of(histories), steps_of(apart)
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_array_equal(one.cart, other.cart)
    groups = np.array([0, 1, 0], dtype=np.int32)
    found = outcomes_of(other, groups).next_group
    hidden = outcomes_of(steps_of(histories), np.append(groups, [-1, -1, -1]).astype(np.int32)).next_group
    np.testing.assert_array_equal(found, hidden)


def near_by_hand(histories: Histories, groups: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(n_items, n_groups) over the events that are ``counted``."""
    expected = np.zeros((len(groups), groups.max() + 1))
    row, items = histories.rows, histories.items
    for one in range(len(items)):
        for other in range(max(one - 10, 0), min(one + 11, len(items))):
            near = one != other and row[one] == row[other] and counted[one] and counted[other]
            if near and items[one] >= 0 and items[other] >= 0:
                expected[items[one], groups[items[other]]] += (groups[items[other]] >= 0) / abs(one - other)
    return expected


def test_groups_near_an_item_are_counted_without_its_own_user() -> None:
    histories = random_histories(7)
    groups = np.array([0, 0, 1, 1, 2, -1], dtype=np.int32)
    steps = steps_of(histories)
    learned = np.arange(0, len(steps), 2)
    total, known = known_elsewhere(steps, groups, 3, learned, seed=0, are_found=True)
    session, row = steps.session, histories.rows
    counted = np.isin(session, learned)
    expected = near_by_hand(histories, groups, counted)
    np.testing.assert_allclose(total.toarray()[:-1], expected, rtol=1e-5)
    assert total.toarray()[-1].sum() == 0
    own = known.near.toarray()[known.row]
    unfolded = np.flatnonzero(~counted & (histories.items >= 0))
    np.testing.assert_allclose(own[unfolded], expected[histories.items[unfolded]], rtol=1e-5)
    # Users of one fold hear the others: which fold, only the users themselves say.
    for user in np.unique(row[counted]):
        mine = np.flatnonzero(counted & (row == user) & (histories.items >= 0))
        left_out = near_by_hand(histories, groups, counted & (row != user))
        assert (own[mine] <= 1.25 * left_out[histories.items[mine]] + 1e-4).all()
    # An item is of the group that came near most often, the first of equals; of none where none did.
    likeliest = np.where(own.sum(axis=1) > 0, own.argmax(axis=1), -1)
    np.testing.assert_array_equal(known.groups, likeliest)
    catalogued = known_elsewhere(steps, groups, 3, learned, seed=0, are_found=False)[1]
    np.testing.assert_array_equal(catalogued.groups, np.append(groups, -1)[histories.items])
    assert followers(steps, groups, 3, np.zeros(len(steps), dtype=bool)).sum() == 0


def test_what_only_one_user_has_seen_is_unknown_where_it_is_learned_from() -> None:
    histories = random_histories(8)
    steps = steps_of(histories)
    groups = np.array([0, 0, 1, 1, 2, 2], dtype=np.int32)
    alone = np.flatnonzero(steps.row == steps.row[3])
    total, known = known_elsewhere(steps, groups, 3, alone, seed=0, are_found=True)
    mine = np.isin(steps.session, alone)
    assert (known.groups[mine] == -1).all() and known.near.toarray()[known.row[mine]].sum() == 0
    others = np.flatnonzero(~mine & (histories.items >= 0))
    np.testing.assert_array_equal(known.near.toarray()[known.row[others]], total.toarray()[histories.items[others]])
    assert (known.groups[others] >= 0).any()
