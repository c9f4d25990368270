"""Values from a data set: totals of planted customers within the interval, the future unread, refusals by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.engine import Engine
from features.errors import ConfigError
from features.orders import read_orders
from features.schema import DAY_MS
from tests.features.by_hand import write
from tests.training.intent.planted_orders import bg_nbd_orders
from training.intent.fit_values import config_for, fit_values, order_log
from training.intent.order_summaries import OrderLog, Summaries, outcomes, summarise
from training.intent.value import ValueModel
from training.intent.value_contract import Totals, value_contract
from training.intent.value_targets import ValueTarget
from training.intent.values import CustomerValues

START, AS_OF, HORIZON = 19_000 * DAY_MS, 19_150 * DAY_MS, 45
TARGET = ValueTarget(name="value_45d", horizon_days=HORIZON)
COUNTRIES = ("CH", "DE")


def data_set(folder: Path, orders: pd.DataFrame) -> Dataset:
    events = [
        {
            "event_id": f"e{number}",
            "event_type": "purchase",
            "user_id": order.user_id,
            "item_id": "lamp",
            "ts": order.ts,
            "unit_price_cents": order.cents,
        }
        for number, order in enumerate(orders.itertuples())
    ]
    users = [
        {"user_id": user, "valid_from": 1, "country": COUNTRIES[int(user[1:]) % 2]} for user in orders.user_id.unique()
    ]
    return write(folder, [{"events": events, "users": users}], ["country"])


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    return bg_nbd_orders(1_500, days=196, start_ms=START, joined_days=80, seed=4)


@pytest.fixture(scope="module")
def log(planted: pd.DataFrame) -> OrderLog:
    return order_log(planted)[0]


@pytest.fixture(scope="module")
def values(planted: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> CustomerValues:
    with Engine.duckdb(threads=1) as engine:
        data = data_set(tmp_path_factory.mktemp("planted") / "data", planted)
        return fit_values(engine, data, AS_OF, [TARGET])


@pytest.fixture(scope="module")
def summaries(log: OrderLog) -> Summaries:
    return summarise(log, AS_OF)


def everybody(summaries: Summaries) -> dict[str, np.ndarray]:
    """(m,) who is in a segment; customers are numbered by their sorted ids, all of whom ordered."""
    even = summaries.customer % 2 == 0
    return {"all": np.ones(len(even), dtype=bool), "country=CH": even, "country=DE": ~even}


def test_planted_totals_are_within_the_interval(values: CustomerValues, log: OrderLog, summaries: Summaries) -> None:
    judged = values.heads["value_45d"].judgements
    assert {"all", "country=CH", "country=DE"} <= {each.segment for each in judged}
    whole = judged[0]
    assert whole.numbers and whole.orders[1] < 1 < whole.orders[2] and whole.cents[1] < 1 < whole.cents[2]
    expected = values.model.predict(summaries, HORIZON)
    came = Totals(*outcomes(log, summaries.customer, AS_OF, HORIZON))
    [after] = value_contract(Totals(expected.orders, expected.cents), came)
    assert after.reason == "held" and after.orders[1] < 1 < after.orders[2] and after.cents[1] < 1 < after.cents[2]


def test_a_spoiled_model_is_refused(planted: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = ValueModel.fit

    def spoiled(*args: object) -> ValueModel:
        model = fitted(*args)  # type: ignore[arg-type]
        model.levels = {days: (1.5 * orders, 1.5 * cents) for days, (orders, cents) in model.levels.items()}
        return model

    monkeypatch.setattr(ValueModel, "fit", spoiled)
    with Engine.duckdb(threads=1) as engine:
        values = fit_values(engine, data_set(tmp_path / "data", planted), AS_OF, [TARGET])
    assert values.heads["value_45d"].judgements[0].reason == "orders_off"
    [worth] = values.answer([AS_OF - DAY_MS], [500], AS_OF, lambda segment: segment == "all")
    assert (worth.orders, worth.cents, worth.refused) == (None, None, "all") and 0 < worth.rank < 1
    assert len(worth.reasons) == 3


def test_one_at_a_time_is_as_all_at_once(values: CustomerValues, log: OrderLog, summaries: Summaries) -> None:
    head = values.heads["value_45d"]
    off = [replace(each, numbers=each.segment != "country=DE") for each in head.judgements]
    partly = replace(values, heads={"value_45d": replace(head, judgements=tuple(off))})
    flags = everybody(summaries)
    batch = partly.worths("value_45d", summaries, flags.__getitem__)
    refused = set()
    for place in range(0, len(summaries), 97):
        mine = (log.customer == summaries.customer[place]) & (log.ts_ms < AS_OF)
        [one] = partly.answer(
            log.ts_ms[mine].tolist(),
            log.cents[mine].tolist(),
            AS_OF,
            lambda segment, place=place: bool(flags[segment][place]),
        )
        assert one.refused == (batch.refused[place] or None)
        refused.add(one.refused)
        if one.refused is None:
            assert one.orders == pytest.approx(batch.orders[place], rel=1e-9)
            assert one.cents == pytest.approx(batch.cents[place], rel=1e-9)
        else:
            assert one.orders is one.cents is None and np.isnan(batch.orders[place])
        assert one.rank == pytest.approx(batch.rank[place], abs=0.001)
    assert refused == {None, "country=DE"}


def test_reasons_add_up_to_the_distance_from_the_middle_customer(values: CustomerValues) -> None:
    days, cents = [AS_OF - 5 * DAY_MS, AS_OF - 40 * DAY_MS, AS_OF - 80 * DAY_MS], [9_000, 8_000, 7_000]
    [told] = values.answer(days, cents, AS_OF, lambda segment: False, most=4)
    middle = values.model.predict(values.middle, HORIZON).cents[0]
    assert told.cents is not None
    assert sum(each.log_value for each in told.reasons) == pytest.approx(np.log(told.cents / middle))
    strengths = [abs(each.log_value) for each in told.reasons]
    assert strengths == sorted(strengths, reverse=True)
    by_group = {each.group: each for each in told.reasons}
    assert by_group["amounts"].value == 8_000 and by_group["amounts"].log_value > 0
    assert by_group["recency"].value == 5 and by_group["frequency"].value == 3


def test_whoever_never_ordered_is_ranked_last(values: CustomerValues) -> None:
    [nobody] = values.answer([], [], AS_OF, lambda segment: True)
    assert (nobody.orders, nobody.cents, nobody.rank, nobody.refused, nobody.reasons) == (
        *(None, None, 0.0),
        *("no_orders", []),
    )
    [one] = values.answer([AS_OF - 30 * DAY_MS], [3_000], AS_OF, lambda segment: True)
    assert one.rank > 0


def test_saved_and_loaded_answers_the_same(values: CustomerValues, tmp_path: Path) -> None:
    values.save(tmp_path / "values")
    again = CustomerValues.load(tmp_path / "values")
    asked = ([AS_OF - DAY_MS, AS_OF - 30 * DAY_MS], [500, 900], AS_OF, lambda segment: segment == "all")
    assert again.answer(*asked) == values.answer(*asked)


def test_the_future_is_not_read(
    values: CustomerValues, planted: pd.DataFrame, summaries: Summaries, tmp_path: Path
) -> None:
    changed = planted[planted.ts < AS_OF]
    later = pd.DataFrame({"user_id": ["u00000"] * 9, "ts": AS_OF + np.arange(9) * DAY_MS, "cents": 10**6})
    with Engine.duckdb(threads=1) as engine:
        again = fit_values(engine, data_set(tmp_path / "data", pd.concat([changed, later])), AS_OF, [TARGET])
    np.testing.assert_array_equal(
        again.model.predict(summaries, HORIZON).cents, values.model.predict(summaries, HORIZON).cents
    )
    assert again.heads["value_45d"].judgements == values.heads["value_45d"].judgements


def test_what_is_learned_from_suits_the_history(log: OrderLog) -> None:
    short, long = (config_for(log, START + days * DAY_MS, [45, 14]) for days in (100, 400))
    assert short.windows_days == (14, 30, 45) and short.history_days == 33
    assert long.history_days == 75


@pytest.mark.parametrize(
    ("kept", "horizon", "rule"),
    [
        ("all", 160, "the horizon and orders before it"),
        ("all", 110, "reach back more than"),
        ("first", 45, "ordered again"),
        ("free", 45, "above zero"),
    ],
)
def test_too_little_to_learn_from_is_named(
    kept: str, horizon: int, rule: str, planted: pd.DataFrame, tmp_path: Path
) -> None:
    orders = planted.head(400)
    if kept == "first":
        orders = planted.drop_duplicates("user_id")
    if kept == "free":
        orders = orders.assign(cents=0)
    target = ValueTarget(name="value", horizon_days=horizon)
    with Engine.duckdb(threads=1) as engine:
        data = data_set(tmp_path / "data", orders)
        assert len(read_orders(engine, data, AS_OF))
        with pytest.raises(ConfigError, match=rule) as caught:
            fit_values(engine, data, AS_OF, [target])
    assert caught.value.field == "values.value.horizon_days" and caught.value.mend
