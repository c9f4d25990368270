"""B12: bestsellers of segments shrunk towards their parent, with a floor on the group's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from features.schema import DAY_MS, MISSING, EventType
from features.sequences import Histories
from features.snapshot import Snapshot
from training.bestsellers import Bestsellers
from training.recommender import TrainingSet

NOW = 100 * DAY_MS
ITEMS, BOUGHT, K = 200, 3, 10

#: Segments by their users, who all buy; ten of 300 make the strength of the shrinkage known.
SIZES = (5, 10, 11, 30, 100, *[300] * 10, 1_000, 3_000, 10_000, 50_000)

#: In how many purchases the planted tastes resemble their parent's.
PLANTED = 300


def asked(categories: list[str], items: np.ndarray, lengths: list[int]) -> Histories:
    """Germans with these categories, each with ``lengths`` purchases of ``items``."""
    n = len(categories)
    return Histories(
        user_ids=np.array([f"u{row}" for row in range(n)], dtype=object),
        as_of_ms=np.full(n, NOW, np.int64),
        snapshot_ms=np.full(n, NOW, np.int64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=items.astype(np.int32),
        event_types=np.full(len(items), EventType.PURCHASE.code, np.int8),
        ts=np.full(len(items), NOW - 1, np.int64),
        attributes={
            "country": np.full(n, "DE", dtype=object),
            "top_category": np.array(categories, dtype=object),
        },
    )


@dataclass(frozen=True)
class Shop:
    """What was planted, what is asked, and what the model answers.

    Attributes:
        snapshot: All users.
        model: Shrinks as strongly as it finds right.
        sold: (segments, ITEMS) sales of each segment.
        question: One user of each segment, then one of whom only the country is known.
        shares: (segments, ITEMS) what the model makes of the sales.
        parent: (ITEMS,) the country's shares.
    """

    snapshot: Snapshot
    model: Bestsellers
    sold: np.ndarray
    question: Histories
    shares: np.ndarray
    parent: np.ndarray


@pytest.fixture(scope="module")
def shop() -> Shop:
    """60,000 Germans of no category and segments of all sizes, whose tastes are drawn around the country's."""
    rng = np.random.default_rng(5)
    base = rng.dirichlet(np.full(ITEMS, 0.5))
    sizes = (60_000, *SIZES)
    tastes = [base, *rng.dirichlet(PLANTED * base + 1e-6, size=len(SIZES))]
    bought = [rng.choice(ITEMS, size=n * BOUGHT, p=taste / taste.sum()) for n, taste in zip(sizes, tastes, strict=True)]
    names = [MISSING, *(f"segment {number}" for number in range(len(SIZES)))]
    categories = [name for name, n in zip(names, sizes, strict=True) for _ in range(n)]
    sequences = asked(categories, np.concatenate(bought), [BOUGHT] * len(categories))
    users = pd.DataFrame(dict(sequences.attributes), index=pd.Index(sequences.user_ids, name="user_id"))
    items = pd.DataFrame({"category": "all"}, index=pd.Index([f"i{item}" for item in range(ITEMS)], name="item_id"))
    snapshot = Snapshot(NOW, "0" * 64, ("country",), users, items, sequences)
    model = Bestsellers(by=("country", "top_category"), half_life_days=None).fit(TrainingSet(snapshot))
    sold = np.array([np.bincount(of, minlength=ITEMS) for of in bought[1:]])
    question = asked([*names[1:], MISSING], np.array([]), [0] * len(names))
    shares = model.score_all(question).astype(np.float64)
    return Shop(snapshot, model, sold, question, shares[:-1], shares[-1])


def weights(shop: Shop) -> np.ndarray:
    """How far each segment's shares are on the way from its parent's to those of its own sales, 0 to 1."""
    own = shop.sold / shop.sold.sum(axis=1, keepdims=True)
    return np.abs(shop.shares - shop.parent).sum(axis=1) / np.abs(own - shop.parent).sum(axis=1)


def test_five_users_get_exactly_their_parents_list(shop: Shop) -> None:
    ids, scores = shop.model.recommend(shop.question, ITEMS)
    for small in (0, 1):  # 5 and 10 users
        np.testing.assert_array_equal(ids[small], ids[-1])
        np.testing.assert_array_equal(scores[small], scores[-1])
    reasons = shop.model.explain(shop.question.take(np.array([0])), ids[0][:1])
    assert [(reason.code, reason.detail) for reason in reasons] == [("bestseller_in", "DE")]


def test_fifty_thousand_users_get_their_own_list(shop: Shop) -> None:
    own = np.argsort(-shop.sold[-1], kind="stable")[:K]
    parents = np.argsort(-shop.parent, kind="stable")[:K]
    largest = shop.question.take(np.array([len(SIZES) - 1]))
    ids = shop.model.recommend(largest, K)[0][0]
    assert ids.tolist() == own.tolist()
    assert ids.tolist() != parents.tolist()
    assert weights(shop)[-1] > 0.99
    assert shop.model.explain(largest, ids)[0].detail == f"DE, segment {len(SIZES) - 1}"


def test_between_them_the_way_from_the_parents_to_the_own_is_smooth(shop: Shop) -> None:
    """Each segment is at ``n / (n + m)``, ``n`` its sales and ``m`` one strength for all: the larger, the nearer."""
    found = weights(shop)
    assert found[:2].tolist() == [0, 0]
    above = np.array(SIZES[2:])
    buyers = np.array([len(set(zip(*pair, strict=True))) for pair in purchases(shop)])[2:]
    strength = np.median(buyers * (1 / found[2:] - 1))
    np.testing.assert_allclose(found[2:], buyers / (buyers + strength), rtol=0.02)
    assert PLANTED / 3 <= strength <= PLANTED * 3
    by_size = [found[2:][above == size].mean() for size in sorted(set(above.tolist()))]
    assert (np.diff(by_size) > 0).all()
    assert by_size[0] < 0.25 < 0.5 < by_size[3] < 0.9 < by_size[-1]


def purchases(shop: Shop) -> list[tuple[list[int], list[int]]]:
    """Of each segment who bought what, repeats and all."""
    sequences = shop.snapshot.sequences
    of = sequences.attributes["top_category"][sequences.rows]
    found = []
    for number in range(len(SIZES)):
        inside = of == f"segment {number}"
        found.append((sequences.rows[inside].tolist(), sequences.items[inside].tolist()))
    return found


def test_lists_change_little_by_little(shop: Shop) -> None:
    """The larger the segment, the more of the hundred items that it bought most are among its hundred best."""
    shared = []
    for number in (2, 4, 5, len(SIZES) - 2, len(SIZES) - 1):  # 11, 100, 300, 10,000 and 50,000 users
        own = np.argsort(-shop.sold[number], kind="stable")[:100]
        shared.append(len(set(own) & set(np.argsort(-shop.shares[number], kind="stable")[:100])))
    assert shared == sorted(shared)
    assert shared[-1] == 100


@pytest.mark.parametrize(("floor", "own"), [(11, 17), (12, 16), (100, 15), (101, 14), (10_000, 2), (50_001, 0)])
def test_the_floor_is_the_shops_to_choose(shop: Shop, floor: int, own: int) -> None:
    model = Bestsellers(by=("country", "top_category"), minimum_buyers=floor).fit(TrainingSet(shop.snapshot))
    segments = model.segments(shop.question)
    assert np.count_nonzero(segments != segments[-1]) == own
