"""A catalogue of any size with planted tastes, as the snapshot that models are fitted on, and as vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.schema import DAY_MS, Columns, EventType
from features.sequences import Histories
from features.snapshot import Snapshot
from training.recommender import Ids, Scores

#: Items of one kind, events of one user, kinds that a user likes.
KIND, PER_USER, LIKES = 250, 20, 3

#: The share of a user's events that their likes explain; the others are of any kind.
LIKED = 0.85

DAYS = 90

_NOW_MS = 1_760_000_000_000


@dataclass(frozen=True, slots=True)
class Planted:
    """A log and what comes next.

    Attributes:
        snapshot: Of all events but each user's last.
        answers: (n_users,) int32: the item of the last one, which is a purchase.
    """

    snapshot: Snapshot
    answers: Ids


def planted(n_items: int, n_events: int, seed: int = 0) -> Planted:
    """Users like a few kinds of items, and within a kind what is popular.

    The features of the item matrix are those that models of this benchmark read. A simulated shop knows far more of
    each item and each user than can be drawn a million times in reasonable time.
    """
    rng = np.random.default_rng(seed)
    n_kinds, n_users = max(n_items // KIND, 2), max(n_events // PER_USER, 2)
    kinds = np.sort(rng.integers(n_kinds, size=n_items))
    # Nobody knows how popular an item will be by where it stands among others of its kind.
    reach = np.cumsum(rng.lognormal(sigma=1.5, size=n_items))
    bounds = np.searchsorted(kinds, np.arange(n_kinds + 1))
    likes = rng.integers(n_kinds, size=(n_users, LIKES))
    drawn = likes[np.arange(n_users)[:, None], rng.integers(LIKES, size=(n_users, PER_USER + 1))]
    anything = rng.random(drawn.shape) >= LIKED
    drawn = np.where(anything, kinds[rng.integers(n_items, size=drawn.shape)], drawn)
    low, high = (np.append(0.0, reach)[bounds[drawn + side]] for side in (0, 1))
    items = np.searchsorted(reach, low + rng.random(drawn.shape) * (high - low), side="right")
    items = np.minimum(items, n_items - 1).astype(np.int32)
    snapshot = _snapshot(items[:, :-1], _catalogue(kinds, n_kinds, items[:, :-1], rng), rng, seed)
    return Planted(snapshot, items[:, -1])


def _snapshot(items: Ids, catalogue: pd.DataFrame, rng: np.random.Generator, seed: int) -> Snapshot:
    n_users, per_user = items.shape
    user_ids = np.char.add("u", np.arange(n_users).astype(str)).astype(object)
    visits = np.sort(rng.integers(DAYS, size=items.shape), axis=1)
    minutes = np.arange(per_user) % 30
    sequences = Histories(
        user_ids=user_ids,
        as_of_ms=np.full(n_users, _NOW_MS, np.int64),
        snapshot_ms=np.full(n_users, _NOW_MS, np.int64),
        offsets=np.arange(n_users + 1, dtype=np.int64) * per_user,
        items=items.ravel(),
        event_types=np.where(rng.random(items.size) < 0.3, EventType.PURCHASE.code, EventType.VIEW.code).astype(
            np.int8
        ),
        ts=(_NOW_MS - DAYS * DAY_MS + visits * DAY_MS + minutes * 60_000).ravel().astype(np.int64),
    )
    users = pd.DataFrame(index=pd.Index(user_ids, name=Columns.USER_ID))
    return Snapshot(_NOW_MS, f"planted {seed}", (), users, catalogue, sequences)


def _catalogue(kinds: NDArray[Any], n_kinds: int, taken: Ids, rng: np.random.Generator) -> pd.DataFrame:
    """Kinds are leaves of forty departments; brands and prices say nothing of what is liked."""
    n_items = len(kinds)
    department = rng.integers(40, size=n_kinds)
    paths = np.array([f"d{top}/k{kind}" for kind, top in enumerate(department)], dtype=object)
    brands = np.array([f"b{brand}" for brand in range(max(n_items // 500, 2))], dtype=object)
    return pd.DataFrame(
        {
            Columns.CATEGORY: paths[kinds],
            Columns.BRAND: brands[rng.integers(len(brands), size=n_items)],
            Columns.PRICE_CENTS: np.round(1_000 * rng.lognormal(sigma=1.0, size=n_items)).astype(np.int64),
            Columns.AVAILABLE: rng.random(n_items) < 0.9,
            "popularity": np.bincount(taken.ravel(), minlength=n_items),
        },
        index=pd.Index(np.char.add("i", np.arange(n_items).astype(str)).astype(object), name=Columns.ITEM_ID),
    )


def planted_vectors(n_items: int, n_users: int, width: int = 64, seed: int = 0) -> tuple[Scores, Scores]:
    """(n_items, width + 1) and (n_users, width + 1) float32 as of a trained network.

    Items are directions in clusters within departments, with a bias for popularity in the last place; users are near
    two clusters, and their length is the steepness of the softmax.
    """
    rng = np.random.default_rng(seed)
    n_kinds = max(n_items // KIND, 20)
    departments = rng.normal(size=(40, width)).astype(np.float32)
    centres = 0.7 * departments[rng.integers(40, size=n_kinds)] + rng.normal(size=(n_kinds, width)).astype(np.float32)
    items = np.empty((n_items, width + 1), dtype=np.float32)
    items[:, :-1] = centres[rng.integers(n_kinds, size=n_items)]
    items[:, :-1] += 0.9 * rng.standard_normal(size=(n_items, width), dtype=np.float32)
    items[:, :-1] /= np.linalg.norm(items[:, :-1], axis=1, keepdims=True)
    items[:, -1] = 0.8 * rng.gumbel(size=n_items)
    users = np.ones((n_users, width + 1), dtype=np.float32)
    users[:, :-1] = centres[rng.integers(n_kinds, size=n_users)] + 0.5 * centres[rng.integers(n_kinds, size=n_users)]
    users[:, :-1] += 0.9 * rng.standard_normal(size=(n_users, width), dtype=np.float32)
    users[:, :-1] *= 22 / np.linalg.norm(users[:, :-1], axis=1, keepdims=True)
    return items, users


__all__ = ["Planted", "planted", "planted_vectors"]
