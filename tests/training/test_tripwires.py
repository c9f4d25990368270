"""Leaks of every kind, injected one at a time, each caught; without one, silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.errors import LeakageError
from features.schema import DAY_MS, Columns, EventType
from features.sequences import Histories
from features.snapshot import Snapshot, build_snapshot
from features.split import Labelled
from training.recommender import Recommender, TrainingSet, model_class
from training.tripwires.alarms import Alarm, auc, void
from training.tripwires.future_canary import future_canary
from training.tripwires.label_shuffle import label_shuffle
from training.tripwires.protocol import protocol
from training.tripwires.time_shift import rates, time_shift

Build = Callable[[Engine, Dataset, int], Snapshot]


# --- features that read the future: the canary -----------------------------------------------------------------------


def _with_user_column(snapshot: Snapshot, name: str, values: pd.Series) -> Snapshot:
    users = snapshot.user_matrix.assign(**{name: values.reindex(snapshot.user_matrix.index)})
    return replace(snapshot, user_matrix=users)


def counts_all_events(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """A feature without ``ts < as_of``."""
    events = dataset.events(engine)
    counted = engine.to_pandas(events.group_by(Columns.USER_ID).aggregate(n=events.count()))
    return _with_user_column(build_snapshot(engine, dataset, as_of_ms), "n", counted.set_index(Columns.USER_ID)["n"])


def counts_the_label_window(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """The target as a feature."""
    events = dataset.events(engine)
    later = events.filter(events[Columns.TS] >= as_of_ms, events[Columns.EVENT_TYPE] == EventType.PURCHASE.value)
    counted = engine.to_pandas(later.group_by(Columns.USER_ID).aggregate(n=later.count()))
    return _with_user_column(build_snapshot(engine, dataset, as_of_ms), "n", counted.set_index(Columns.USER_ID)["n"])


def popularity_of_the_whole_period(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """A statistic over all the data."""
    snapshot, events = build_snapshot(engine, dataset, as_of_ms), dataset.events(engine)
    counted = engine.to_pandas(events.group_by(Columns.ITEM_ID).aggregate(n=events.count()))
    sold = counted.set_index(Columns.ITEM_ID)["n"].reindex(snapshot.item_matrix.index)
    return replace(snapshot, item_matrix=snapshot.item_matrix.assign(popularity=sold))


def last_row_of_items(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """A later price: the last row of an item instead of the one that held."""
    snapshot, items = build_snapshot(engine, dataset, as_of_ms), engine.to_pandas(dataset.items(engine))
    last = items.sort_values(Columns.VALID_FROM).drop_duplicates(Columns.ITEM_ID, keep="last")
    prices = last.set_index(Columns.ITEM_ID)[Columns.PRICE_CENTS].reindex(snapshot.item_matrix.index)
    return replace(snapshot, item_matrix=snapshot.item_matrix.assign(price_cents=prices))


def last_row_of_users(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """A later attribute."""
    snapshot, users = build_snapshot(engine, dataset, as_of_ms), engine.to_pandas(dataset.users(engine))
    last = users.sort_values(Columns.VALID_FROM).drop_duplicates(Columns.USER_ID, keep="last")
    name = dataset.attributes[0]
    return _with_user_column(snapshot, name, last.set_index(Columns.USER_ID)[name])


def later_consents(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """A later consent: whoever takes it back later is left out already."""
    snapshot, users = build_snapshot(engine, dataset, as_of_ms), engine.to_pandas(dataset.users(engine))
    refused = set(users.loc[users[Columns.CONSENTS] == "none", Columns.USER_ID])
    keep = np.array([name not in refused for name in snapshot.user_matrix.index])
    rows = np.flatnonzero(keep)
    return replace(snapshot, user_matrix=snapshot.user_matrix[keep], sequences=snapshot.sequences.take(rows))


def a_day_too_late(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """Sequences cut a day after the instant."""
    snapshot, later = (build_snapshot(engine, dataset, instant) for instant in (as_of_ms, as_of_ms + DAY_MS))
    return replace(snapshot, sequences=later.sequences)


def standardised_with_the_test(engine: Engine, dataset: Dataset, as_of_ms: int) -> Snapshot:
    """A scale learned from the whole period."""
    snapshot, events = build_snapshot(engine, dataset, as_of_ms), dataset.events(engine)
    scale = float(engine.value(events[Columns.UNIT_PRICE_CENTS].max()))
    return replace(snapshot, user_matrix=snapshot.user_matrix.assign(m=snapshot.user_matrix["monetary_cents"] / scale))


@pytest.mark.parametrize(
    ("leaky", "where"),
    [
        (counts_all_events, "user column n"),
        (counts_the_label_window, "user column n"),
        (popularity_of_the_whole_period, "item column popularity"),
        (last_row_of_items, "item column price_cents"),
        (last_row_of_users, "user column country"),
        (later_consents, "user rows"),
        (a_day_too_late, "sequences"),
        (standardised_with_the_test, "user column m"),
    ],
)
def test_features_that_read_the_future(
    engine: Engine, shop_data: Dataset, as_of_ms: int, leaky: Build, where: str
) -> None:
    alarms = future_canary(engine, shop_data, as_of_ms, leaky)
    assert where in [alarm.where for alarm in alarms]
    with pytest.raises(LeakageError, match=f"future canary: {where} changes with what happens later"):
        void(alarms)


# --- data that were written down afterwards: the time shift ----------------------------------------------------------


def until(asked: Labelled, snapshot: Snapshot) -> int:
    return snapshot.as_of_ms + 20 * DAY_MS


def told(snapshot: Snapshot, name: str, values: np.ndarray) -> Snapshot:
    users = snapshot.user_matrix.assign(**{name: values})
    return replace(snapshot, user_matrix=users, attributes=(*snapshot.attributes, name))


def bought_later(snapshot: Snapshot, asked: Labelled) -> np.ndarray:
    return np.isin(snapshot.users.ids, asked.histories.user_ids)


def test_an_attribute_that_is_the_target(snapshot: Snapshot, asked: Labelled) -> None:
    """With three in ten users of the wrong value."""
    wrong = np.random.default_rng(0).random(len(snapshot.users)) < 0.3
    leaky = told(snapshot, "loyal", np.where(bought_later(snapshot, asked) ^ wrong, "yes", "no").astype(object))
    assert [alarm.where for alarm in time_shift(leaky, asked, until(asked, snapshot))] == ["user attribute loyal"]


def test_an_attribute_that_counts_the_whole_period(snapshot: Snapshot, asked: Labelled) -> None:
    """It tells as much of the window before, so only behaviour gives it away."""
    events = snapshot.sequences
    before = np.bincount(events.rows[events.event_types == EventType.PURCHASE.code], minlength=len(snapshot.users))
    later = np.zeros(len(snapshot.users), dtype=np.int64)
    rows = snapshot.users.encode(asked.histories.user_ids)
    later[rows[rows >= 0]] = asked.labels.lengths[rows >= 0]
    spent = np.digitize(before + 5 * later, [1, 3, 5, 8, 12]).astype(str).astype(object)
    leaky = told(snapshot, "value_class", spent)
    assert "user attribute value_class" in [alarm.where for alarm in time_shift(leaky, asked, until(asked, snapshot))]


def test_an_attribute_that_names_what_will_be_bought(snapshot: Snapshot, asked: Labelled) -> None:
    tops = snapshot.item_matrix[Columns.CATEGORY].astype(object).str.split("/").str[0].to_numpy()
    values = np.random.default_rng(0).choice(np.unique(tops), len(snapshot.users)).astype(object)
    rows = snapshot.users.encode(asked.histories.user_ids)
    first = asked.labels.values[asked.labels.offsets[:-1]]
    known = (rows >= 0) & (first < len(tops))
    values[rows[known]] = tops[first[known]]
    leaky = told(snapshot, "taste", values)
    alarms = time_shift(leaky, asked, until(asked, snapshot))
    assert any(alarm.where == "user attribute taste" and "category" in alarm.told for alarm in alarms)


@pytest.mark.parametrize("elsewhere", ["stock", None])
def test_an_attribute_of_items_that_knows_who_will_sell(
    snapshot: Snapshot, asked: Labelled, elsewhere: str | None
) -> None:
    """Filled in for what sold, and of the other items something else, or nothing."""
    sold = np.bincount(asked.labels.values, minlength=len(snapshot.items))[: len(snapshot.items)] > 0
    as_told = snapshot.item_matrix[Columns.CATEGORY].dtype
    flags = pd.Series(np.where(sold, "autumn", elsewhere), index=snapshot.item_matrix.index, dtype=as_told)
    leaky = replace(snapshot, item_matrix=snapshot.item_matrix.assign(campaign=flags))
    assert [alarm.where for alarm in time_shift(leaky, asked, until(asked, snapshot))] == ["item attribute campaign"]


def test_labels_inside_the_lookback(snapshot: Snapshot, asked: Labelled) -> None:
    """Half of the answers stand in the log as views of the day before, as from an export with wrong dates."""
    rows = snapshot.users.encode(asked.histories.user_ids)[asked.labels.rows].astype(np.int64)
    keep = (rows >= 0) & (asked.labels.values < len(snapshot.items)) & (np.arange(len(rows)) % 2 == 0)
    events = snapshot.sequences
    owners = np.concatenate([events.rows, rows[keep]])
    order = np.argsort(owners, kind="stable")
    more = int(keep.sum())
    copied = replace(
        events,
        offsets=np.searchsorted(owners[order], np.arange(len(events) + 1)).astype(np.int64),
        items=np.concatenate([events.items, asked.labels.values[keep].astype(np.int32)])[order],
        event_types=np.concatenate([events.event_types, np.full(more, EventType.VIEW.code, np.int8)])[order],
        ts=np.concatenate([events.ts, np.full(more, snapshot.as_of_ms - DAY_MS // 2)])[order],
    )
    (alarm,) = time_shift(replace(snapshot, sequences=copied), asked, until(asked, snapshot))
    assert alarm.where == "events" and "already in the 1 days before" in alarm.told


# --- models that learn what they are judged by: the shuffle ----------------------------------------------------------


def test_a_model_that_trains_on_its_validation(snapshot: Snapshot, asked: Labelled) -> None:
    history = model_class("history")

    class Cheat(history):  # type: ignore[misc, valid-type]
        """Remembers the answers by user."""

        def fit(self, training_set: TrainingSet, progress: Any = None) -> Recommender:
            super().fit(training_set, progress)
            assert training_set.validation is not None
            asked = training_set.validation
            self.known = {
                user: asked.labels.take(np.array([row])).values for row, user in enumerate(asked.histories.user_ids)
            }
            return self

        def score_all(self, histories: Histories) -> np.ndarray:
            scores = super().score_all(histories)
            for row, user in enumerate(histories.user_ids):
                answers = self.known.get(user, np.zeros(0, np.int32))
                scores[row, answers[answers < self.n_items]] += 1
            return scores

    (alarm,) = label_shuffle("cheat", Cheat(), snapshot, asked)
    assert alarm.wire == "label shuffle" and alarm.where == "model cheat"


@pytest.mark.parametrize(("name", "settings"), [("history", {}), ("cooccurrence", {}), ("transformer", {"width": 16})])
def test_a_model_may_stop_on_its_validation(
    snapshot: Snapshot, asked: Labelled, name: str, settings: dict[str, Any]
) -> None:
    assert label_shuffle(name, model_class(name)(**settings), snapshot, asked) == []


# --- instants in the wrong order -------------------------------------------------------------------------------------


def test_the_protocol(engine: Engine, shop_data: Dataset, snapshot: Snapshot, asked: Labelled) -> None:
    halves = asked.take(np.arange(0, len(asked), 2)), asked.take(np.arange(1, len(asked), 2))
    assert protocol(snapshot, *halves) == []
    later = build_snapshot(engine, shop_data, snapshot.as_of_ms + 5 * DAY_MS)
    assert {alarm.where for alarm in protocol(later, *halves)} >= {"snapshot", "stopping questions"}
    assert [alarm.where for alarm in protocol(snapshot, asked, halves[1])] == ["users"]
    histories = halves[0].histories
    peeking = replace(halves[0], histories=replace(histories, ts=histories.ts + 40 * DAY_MS))
    assert "stopping questions" in {alarm.where for alarm in protocol(snapshot, peeking, halves[1])}


# --- silence ---------------------------------------------------------------------------------------------------------


def test_clean_data_raise_no_alarm(engine: Engine, shop_data: Dataset, snapshot: Snapshot, asked: Labelled) -> None:
    assert future_canary(engine, shop_data, snapshot.as_of_ms) == []
    assert time_shift(snapshot, asked, until(asked, snapshot)) == []
    void([])


def test_what_a_void_run_says() -> None:
    alarms = [Alarm("time shift", f"user attribute a{number}", "tells") for number in range(7)]
    with pytest.raises(LeakageError, match=r"a4 tells \(and 6 more\)"):
        void(alarms)


def test_the_area_against_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 200).astype(float), rng.random(200) < 0.3
    pairs = scores[positive][:, None] - scores[~positive]
    assert auc(scores, positive)[0] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
    assert auc(scores, np.zeros(200, dtype=bool)) == (0.5, np.inf)


def test_rates_do_not_see_their_own_row() -> None:
    """A value of its own for every row tells nothing, whatever the rows' flags are."""
    flags = np.random.default_rng(1).random(500) < 0.4
    assert np.allclose(rates(np.arange(500), flags), flags.mean())
