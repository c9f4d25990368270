"""The user matrix and the item matrix as of an instant, as data frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.aggregates import Aggregates
from features.audience import Audience
from features.catalogue import Catalogue
from features.cells import day_of, numbered_day
from features.declarations import Feature, Read, Stream
from features.definitions import ITEM_FEATURES, LOCATION_ATTRIBUTES, TITLE_PREFIX, USER_FEATURES
from features.derived import Population, Values
from features.readings import item_values, user_values
from features.schema import MISSING, Columns, Purpose
from features.titles import TitleSpace


def user_matrix(
    aggregates: Aggregates,
    audience: Audience,
    users: pd.DataFrame,
    attributes: Sequence[str],
    distinct_items: NDArray[np.int64],
    as_of_ms: int,
    population: Population,
) -> pd.DataFrame:
    """(n users) rows indexed by ``user_id``, sorted: attributes, then every declared user feature.

    Rows are the users who may be read and have a row or an event before the instant. Counts of what never happened are
    0; "days since" of it are missing, not large. Of purposes that a user did not consent to everything is missing.

    Args:
        users: Rows that hold just before ``as_of_ms``, one per user, indexed by ``user_id``.
        attributes: Names of the demographic attributes; a missing value reads ``MISSING``.
        distinct_items: (ids of the audience,) different items that each user interacted with.
        population: Filled with what single rows are compared with.
    """
    n = len(audience.users)
    values = user_values(
        aggregates.users,
        aggregates.affinities,
        aggregates.labels,
        distinct_items,
        day_of(as_of_ms),
        n,
        population,
    )
    known = np.isin(np.arange(n), audience.users.encode(users.index))
    known |= aggregates.users[Stream.EVENTS].present(n)
    rows = np.flatnonzero(known & audience.owners)
    index = pd.Index(audience.users.ids[rows], name=Columns.USER_ID, dtype="str")
    told = users.reindex(index)
    located = audience.granted[Purpose.LOCATION][rows]
    columns: dict[str, object] = {}
    for name in attributes:
        texts = told[name].astype(object).to_numpy()
        texts = np.where(pd.isna(texts) | (texts == ""), MISSING, texts)
        columns[name] = np.where(located, texts, MISSING) if name in LOCATION_ATTRIBUTES else texts
    columns |= _typed(values, rows)
    for declared in USER_FEATURES:
        if declared.purpose is not Purpose.PERSONALISATION:
            refused = ~audience.granted[declared.purpose][rows]
            columns[declared.name] = pd.array(np.asarray(columns[declared.name]), dtype="Int64")
            columns[declared.name][refused] = pd.NA  # type: ignore[index]  # an extension array
    return pd.DataFrame(columns, index=index)


def item_matrix(
    aggregates: Aggregates,
    catalogue: Catalogue,
    n_users: int,
    as_of_ms: int,
    population: Population,
    titles: TitleSpace,
) -> pd.DataFrame:
    """(n items) rows indexed by ``item_id``, sorted: the catalogue as it stood, declared features, title embeddings.

    ``age_days`` counts from the item's first listing. Rows are the items listed before the instant.
    """
    latest = catalogue.latest
    rows = catalogue.items.encode(latest.index)
    # The last readable instant is one millisecond before: what began a day before it is 0 days old.
    listed = catalogue.listed_ms.reindex(latest.index).to_numpy(dtype=np.int64)
    ages = day_of(as_of_ms) - 1 - numbered_day(listed, as_of_ms)
    values = item_values(
        aggregates.items,
        aggregates.bought,
        n_users,
        ages.astype(np.float64),
        latest[Columns.PRICE_CENTS].to_numpy(dtype=np.float64, na_value=np.nan),
        latest[Columns.CATEGORY].to_numpy(dtype=object),
        rows.astype(np.int64),
        day_of(as_of_ms),
        len(catalogue.items),
        population,
        learn=True,
    )
    # Whether some item of another day has no price must not show in this one's types.
    columns = latest.drop(columns=Columns.VALID_FROM).astype({Columns.PRICE_CENTS: "Int64"})
    embedded = titles.embed(latest[Columns.TITLE])
    vectors = {f"{TITLE_PREFIX}{number}": embedded[:, number] for number in range(embedded.shape[1])}
    return pd.concat([columns, pd.DataFrame({**_typed(values, slice(None)), **vectors}, index=latest.index)], axis=1)


_DAYS = (Read.DAYS_SINCE_FIRST, Read.DAYS_SINCE_LAST)


def _typed(values: Values, rows: NDArray[np.int64] | slice) -> dict[str, object]:
    """The rows in the types of the matrices: int64, Int64 where some may be missing, float64 or text."""
    days = {
        declared.name
        for declared in (*USER_FEATURES, *ITEM_FEATURES)
        if (isinstance(declared, Feature) and declared.read in _DAYS) or declared.name == "age_days"
    }
    typed: dict[str, object] = {}
    for name, column in values.items():
        chosen = column[rows]
        if name in days:
            missing = np.isnan(chosen)
            typed[name] = pd.arrays.IntegerArray(np.where(missing, 0, chosen).astype(np.int64), missing)
        else:
            typed[name] = chosen
    return typed


__all__ = ["item_matrix", "user_matrix"]
