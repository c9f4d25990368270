"""The users of a simulated shop: what is known of them, and the hidden tastes, habits and projects that drive them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.schema import DAY_MS, NO_CONSENT, Columns
from features.shop.catalogue import TASTE_AXES, Catalogue, Floats, Ints, consumable_leaves
from features.shop.config import ShopConfig

#: Values and shares of the demographic attributes.
ATTRIBUTES: dict[str, dict[str, float]] = {
    "country": {"DE": 0.35, "FR": 0.25, "GB": 0.2, "NL": 0.12, "IE": 0.08},
    "gender": {"female": 0.5, "male": 0.46, "other": 0.04},
    "age_band": {"18-24": 0.18, "25-34": 0.27, "35-44": 0.23, "45-54": 0.17, "55+": 0.15},
}

#: Share of users who allow each use of their data.
CONSENTS = {"personalisation": 0.97, "email": 0.6, "push": 0.35, "location": 0.2, "search_history": 0.14}

#: A project (a category that someone is busy with) lasts this long.
PROJECT_DAYS = 28

STAPLES = 3
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Population:
    """Users by dense index, in random order.

    Attributes:
        table: One row per user with the contract's columns; an attribute that is unknown is null.
        taste: (n, TASTE_AXES) float32, the group's part and the user's own.
        activity: (n,) float32, how often a user comes, relative to the others.
        joined_day: (n,) int64, the first day of the log on which the user can come.
        staples: (n, STAPLES) int64, items that the user buys again and again.
        period_days: (n, STAPLES) int64, how long each lasts.
        projects: (n, n_projects) int16, the leaf of each successive project.
        shift_days: (n,) int64, puts the users' projects and staples out of step.
    """

    table: pd.DataFrame
    taste: Floats
    activity: Floats
    joined_day: Ints
    staples: Ints
    period_days: Ints
    projects: NDArray[np.int16]
    shift_days: Ints

    def project(self, users: Ints, day: Ints) -> Ints:
        """(n,) the leaf that each user is busy with on that day."""
        leaf: Ints = self.projects[users, (day + self.shift_days[users]) // PROJECT_DAYS].astype(np.int64)
        return leaf

    def run_out(self, users: Ints, day: Ints) -> NDArray[np.bool_]:
        """(n, STAPLES) whether the user's stock of each staple is in the last third of its time."""
        age = (day + self.shift_days[users])[:, None] % self.period_days[users]
        return 3 * age >= 2 * self.period_days[users]


def settle(config: ShopConfig, catalogue: Catalogue, rng: np.random.Generator) -> Population:
    """Draw the users of a shop; those of the null shop have attributes, but no tastes."""
    n = config.n_users
    codes = {name: _draw(np.cumsum(list(shares.values())), rng.random(n)) for name, shares in ATTRIBUTES.items()}
    joined_day = np.where(rng.random(n) < config.new_users, rng.integers(0, config.days, n), 0)
    registered_ms = config.start_ms + np.where(joined_day > 0, joined_day, -rng.integers(1, 700, n)) * DAY_MS
    taste = _taste(config, codes, rng)
    staples = _staples(catalogue, taste, rng)
    return Population(
        table=_table(config, codes, registered_ms, rng),
        taste=taste,
        activity=rng.gamma(3.0, size=n).astype(np.float32) + np.float32(0.1),
        joined_day=joined_day,
        staples=staples,
        period_days=rng.integers(10, 40, staples.shape),
        projects=_projects(config, catalogue, taste, rng),
        shift_days=rng.integers(0, PROJECT_DAYS, n),
    )


def _taste(config: ShopConfig, codes: dict[str, Ints], rng: np.random.Generator) -> Floats:
    n = config.n_users
    scale = 1.0 / np.sqrt(TASTE_AXES)
    taste = (config.user_taste * scale * rng.standard_normal((n, TASTE_AXES))).astype(np.float32)
    taste[:, -1] = config.price_taste * rng.standard_normal(n)
    for name, shares in ATTRIBUTES.items():
        effect = config.group_taste * scale / np.sqrt(len(ATTRIBUTES)) * rng.standard_normal((len(shares), TASTE_AXES))
        # What all groups like would be popularity, not the taste of a group.
        effect -= np.array(list(shares.values())) @ effect
        taste += effect[codes[name]].astype(np.float32)
    return np.zeros_like(taste) if config.null else taste


def leaf_chances(catalogue: Catalogue, taste: Floats, day: Ints | None = None) -> Floats:
    """(n, n_leaves) float32: the chance that a fresh wish is for each leaf; with ``day`` (n,), in that season."""
    logits: Floats = taste @ catalogue.leaf_traits.T + catalogue.leaf_appeal
    if day is not None:
        logits += seasonal(catalogue, day)
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def seasonal(catalogue: Catalogue, day: Ints) -> Floats:
    """(n, n_leaves) float32 logits: where in its yearly swing each leaf is."""
    days, position = np.unique(day, return_inverse=True)
    angle = 2 * np.pi * days / 365.25
    wave: Floats = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32) @ catalogue.season.T
    by_row: Floats = wave[position]
    return by_row


def draw_rows(chances: Floats, uniforms: NDArray[np.float64]) -> Ints:
    """(n,) int64: one column of each row of ``chances`` (n, m), at random by those chances; ``uniforms`` is (n,)."""
    cumulative = np.cumsum(chances, axis=1)
    passed = (cumulative < (uniforms * cumulative[:, -1])[:, None]).sum(axis=1)
    column: Ints = np.minimum(passed, chances.shape[1] - 1)
    return column


def _draw(cumulative: NDArray[np.float64], uniforms: NDArray[np.float64]) -> Ints:
    return np.minimum(np.searchsorted(cumulative, uniforms, side="right"), len(cumulative) - 1)


def _staples(catalogue: Catalogue, taste: Floats, rng: np.random.Generator) -> Ints:
    """A consumable leaf by taste, some well known items of it, and of these the one that is liked best."""
    n, shown = len(taste), 6
    consumable = consumable_leaves()
    weight = np.exp(catalogue.quality) * (catalogue.launch_day == 0)
    reach = np.concatenate([[0.0], np.cumsum(weight[catalogue.shelf])])
    edges = np.searchsorted(catalogue.leaf[catalogue.shelf], np.arange(catalogue.leaf.max() + 2))
    staples = np.empty((n, STAPLES), dtype=np.int64)
    for start in range(0, n, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n))
        chances = leaf_chances(catalogue, taste[rows])[:, consumable]
        for place in range(STAPLES):
            leaf = consumable[draw_rows(chances, rng.random(len(chances)))]
            low, high = reach[edges[leaf]], reach[edges[leaf + 1]]
            spot = low[:, None] + rng.random((len(leaf), shown)) * (high - low)[:, None]
            known = catalogue.shelf[np.clip(np.searchsorted(reach, spot, side="right") - 1, 0, len(weight) - 1)]
            liked = np.einsum("nd,nkd->nk", taste[rows], catalogue.traits[known])
            staples[rows, place] = known[np.arange(len(leaf)), liked.argmax(axis=1)]
    return staples


def _projects(config: ShopConfig, catalogue: Catalogue, taste: Floats, rng: np.random.Generator) -> NDArray[np.int16]:
    """The next project follows from a complement of the last one, or from taste."""
    n, count = len(taste), (config.days + PROJECT_DAYS) // PROJECT_DAYS + 1
    projects = np.empty((n, count), dtype=np.int16)
    for start in range(0, n, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n))
        chances = leaf_chances(catalogue, taste[rows])
        for place in range(count):
            leaf = draw_rows(chances, rng.random(len(chances)))
            if place:
                linked = draw_rows(catalogue.links[projects[rows, place - 1]], rng.random(len(chances)))
                leaf = np.where(rng.random(len(chances)) < config.complement, linked, leaf)
            projects[rows, place] = leaf
    return projects


def _table(config: ShopConfig, codes: dict[str, Ints], registered_ms: Ints, rng: np.random.Generator) -> pd.DataFrame:
    n = config.n_users
    columns: dict[str, object] = {
        Columns.USER_ID: [f"u{row:07d}" for row in range(n)],
        Columns.VALID_FROM: registered_ms,
    }
    for name, shares in ATTRIBUTES.items():
        values = np.array([*shares], dtype=object)[codes[name]]
        values[rng.random(n) < config.missing] = None
        columns[name] = pd.array(values, dtype="str")
    allowed = np.stack([rng.random(n) < share for share in CONSENTS.values()], axis=1)
    combinations, which = np.unique(allowed, axis=0, return_inverse=True)
    words = [
        ",".join(name for name, yes in zip(CONSENTS, row, strict=True) if yes) or NO_CONSENT for row in combinations
    ]
    columns[Columns.CONSENTS] = np.array(words, dtype=object)[which]
    return pd.DataFrame(columns)
